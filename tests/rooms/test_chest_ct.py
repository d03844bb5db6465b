"""CT of chest phantoms holds the volumes that were requested, on the side where they were, and reads as rows."""

import nibabel as nib
import numpy as np
import pytest
import torch

from synthzoo.datasets.chest.ct import SPLITS, ChestCTDataset, grid
from synthzoo.datasets.sources import training_images
from synthzoo.errors import UserError
from synthzoo.phantoms.chest.findings import LESIONS
from synthzoo.phantoms.chest.measured import FINDING_ML, LUNG_ML, MEASURES, draw_volumes, measured_chest

WANTED = {"lung_ml": 4200.0, "effusion_left_ml": 450.0, "nodule_right_ml": 25.0}
COARSE = 8.0


@pytest.fixture(scope="module")
def chest():
    return measured_chest(3, WANTED)


def test_requested_volumes_are_held_and_nothing_else(chest):
    assert set(chest.volumes_ml) == set(MEASURES)
    for name, value in chest.volumes_ml.items():
        assert value == pytest.approx(WANTED.get(name, 0), rel=0.04), name
    again = measured_chest(3, WANTED)
    assert again.volumes_ml == chest.volumes_ml and again.anatomy.patient == chest.anatomy.patient
    assert measured_chest(4, WANTED).anatomy.patient != chest.anatomy.patient


def test_the_volume_shows_what_is_there_on_its_side(chest):
    first, shape, affine = grid(COARSE)
    hu, shares = chest.ct(COARSE, first, shape)
    assert hu.shape == shares.shape[1:] == (48, 48, 40) and hu.dtype == np.float32
    held = dict(zip(("lung", *LESIONS), shares.sum((1, 2, 3)) * COARSE**3 / 1000))
    wanted = {"lung": 4200, "effusion": 450, "nodule": 25}
    assert held == pytest.approx({name: wanted.get(name, 0) for name in held}, rel=0.08)
    x = affine[0, 0] * np.arange(48) + affine[0, 3]  # to the patient's right
    lung, fluid, lump = (shares[place] > 0.5 for place in (0, 1 + LESIONS.index("effusion"), 1))
    assert (x[np.argwhere(fluid)[:, 0]] < 5).all() and (x[np.argwhere(lump)[:, 0]] > -5).all()
    assert hu[lung].mean() < -750 and abs(np.median(hu[fluid]) - 12) < 25


def test_the_field_holds_both_lungs_of_every_size():
    first, shape, affine = grid(4.0)
    assert shape == [96, 96, 80] and np.allclose(np.diag(affine)[:3], 4)
    assert affine[0, 3] == -(first[0] + 95 * 4)
    for seed, lungs in ((0, LUNG_ML[0]), (1, LUNG_ML[1]), (2, LUNG_ML[1])):
        chest = measured_chest(seed, {"lung_ml": lungs})
        begin, size, _ = grid(COARSE)
        lung = chest.ct(COARSE, begin, size)[1][0]
        for edge in (lung[0], lung[-1], lung[:, 0], lung[:, -1], lung[:, :, 0], lung[:, :, -1]):
            assert edge.sum() * COARSE**3 / 1000 < 2
        assert lung.sum() * COARSE**3 / 1000 == pytest.approx(lungs, rel=0.03)


def test_drawn_volumes_lie_in_their_ranges_and_most_subjects_have_a_finding():
    drawn = [draw_volumes(seed) for seed in range(300)]
    counts = np.array([sum(value > 0 for name, value in one.items() if name != "lung_ml") for one in drawn])
    assert set(counts) == {0, 1, 2} and 0.6 < (counts > 0).mean() < 0.9
    for one in drawn:
        assert LUNG_ML[0] <= one["lung_ml"] <= LUNG_ML[1]
        for name, value in one.items():
            low, high = FINDING_ML.get(name.split("_")[0], (0, np.inf))
            assert value == 0 or low <= value <= high
    assert draw_volumes(5, independent=False)["lung_ml"] is None


@pytest.mark.parametrize("kind", FINDING_ML)
@pytest.mark.parametrize("lungs", LUNG_ML)
def test_lungs_of_any_volume_have_room_for_every_finding_of_its_range(kind, lungs):
    for side, volume in zip(("right", "left"), FINDING_ML[kind]):
        found = measured_chest(6, {"lung_ml": lungs, f"{kind}_{side}_ml": volume}).volumes_ml
        assert found[f"{kind}_{side}_ml"] == pytest.approx(volume, rel=0.05, abs=0.5)
        assert found["lung_ml"] == pytest.approx(lungs, rel=0.04)


def test_small_lungs_are_sought_until_a_patient_has_them():
    volumes = draw_volumes(280)  # none of the first 24 patients drawn takes them
    found = measured_chest(280, volumes).volumes_ml
    assert found["lung_ml"] == pytest.approx(volumes["lung_ml"], rel=0.04) and volumes["lung_ml"] < 2600


def test_rows_are_made_once_and_say_what_they_hold(tmp_path):
    rows = ChestCTDataset(2, COARSE, split="test", cache_dir=tmp_path)
    item = rows[1]
    assert item["image"].shape == (1, 48, 48, 40) and item["image"].min() >= 0 and item["image"].max() <= 1
    assert item["conditions"].shape == (len(MEASURES),) and item["row"] == 1
    assert rows.first_seed == SPLITS["test"][0]
    again = ChestCTDataset(2, COARSE, split="test", cache_dir=tmp_path)
    again.subject = lambda row: pytest.fail("made again")
    assert torch.equal(again[1]["image"], item["image"]) and torch.equal(
        again.facts(1)["conditions"], item["conditions"]
    )


def test_requests_replace_what_is_drawn_and_nan_leaves_it(tmp_path):
    wanted = np.full((1, len(MEASURES)), np.nan)
    wanted[0, MEASURES.index("lung_ml")] = 5000
    wanted[0, 1:] = 0
    wanted[0, MEASURES.index("pneumothorax_right_ml")] = 300
    found = ChestCTDataset(1, COARSE, requests=wanted).facts(0)["conditions"].numpy()
    assert found == pytest.approx(np.nan_to_num(wanted[0]), rel=0.04)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measured_chest(0, {"liver_ml": 3}), "'liver_ml' is unknown; a chest phantom measures lung_ml"),
        (lambda: measured_chest(0, {"lung_ml": 90_000}), "none of 96 patients has room"),
        (lambda: ChestCTDataset(1, split="all"), "split = 'all'.*train, validation, test"),
        (lambda: ChestCTDataset(1, conditions=["age"]), "conditions: 'age' is unknown"),
        (lambda: ChestCTDataset(100_001), "holds 100000 phantoms"),
        (lambda: ChestCTDataset(1, spacing_mm=0.2), "spacing_mm = 0.2.*1 to 10"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_a_folder_of_scans_is_windowed_and_laid_on_the_grids_centre(tmp_path):
    hu = np.full((20, 20, 16), -1000, np.int16)
    hu[6:14, 6:14, 4:12] = 40
    hu[9:11, 9:11, 7:9] = 900
    (tmp_path / "images").mkdir()
    far = np.diag([8.0, 8, 8, 1])
    far[0, 3] = 900
    nib.save(nib.Nifti1Image(hu, far), tmp_path / "images/a.nii.gz")
    (tmp_path / "participants.tsv").write_text("id\tlung_ml\tsplit\na\t4100\ttrain\n")
    _, shape, affine = grid(COARSE)
    conditions = {name: {"type": "number", "minimum": 0, "maximum": 8000} for name in MEASURES}
    scans = {"window": [-1000, 1000], "centred": True}
    rows = training_images("tsv", tmp_path, conditions, shape, affine, phantoms=ChestCTDataset, scans=scans)
    image = rows[0]["image"][0]
    assert image.shape == tuple(shape) and image[0].max() == 0
    assert image[24, 24, 20] == pytest.approx(0.95, abs=0.01) and image[20, 24, 20] == pytest.approx(0.52, abs=0.01)
    values = rows[0]["conditions"]
    assert values[0] == 4100 and torch.isnan(values[1:]).all()
    with pytest.raises(UserError, match="outside the network's grid"):
        training_images("tsv", tmp_path, conditions, shape, affine, scans={"window": [-1000, 1000]})[0]
