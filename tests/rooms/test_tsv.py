"""One's own scans as training data: the layout of the paper's table, BIDS folders, grids, and errors by line."""

import nibabel as nib
import numpy as np
import pytest
import torch

from synthzoo.datasets.brain.phantoms import BrainPhantomDataset
from synthzoo.datasets.brain.sources import training_images
from synthzoo.datasets.participants import TABLE, ParticipantsDataset, crop_and_pad, read_participants, to_grid
from synthzoo.errors import UserError

CONDITIONS = {
    "age": {"type": "number", "minimum": 20, "maximum": 90, "unit": "years"},
    "sex": {"type": "string", "enum": ["F", "M"]},
    "ventricle_ml": {"type": "number", "minimum": 5, "maximum": 120, "unit": "mL"},
    "brain_ml": {"type": "number", "minimum": 900, "maximum": 1600, "unit": "mL"},
}
HEADER = "id\tsex\tage\tventricular\tbrain\tsplit"
LINES = [
    "p1\tF\t63\t31.5\t1150\ttrain",
    "p2\t1\t71\tn/a\t1010\ttrain",
    "sub-03\tmale\t55\t22\t\t",
    "p4\t0\t48\t12\t1300\ttest",
]


def save(path, array, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(np.float32), affine), path)


@pytest.fixture
def folder(tmp_path, phantom):
    """Four subjects: intensities in hundreds, one stored in another axis order, one in a BIDS folder."""
    (tmp_path / TABLE).write_text("\n".join([HEADER, *LINES]) + "\n")
    image, affine = phantom.image * 700 + 30, phantom.anatomy.affine
    save(tmp_path / "images/p1.nii.gz", image, affine)
    turned = nib.Nifti1Image(image.astype(np.float32), affine).as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt("PSL"))
    )
    save(tmp_path / "images/p2.nii.gz", np.asarray(turned.dataobj), turned.affine)
    save(tmp_path / "sub-03/anat/sub-03_T1w.nii.gz", image, affine)
    save(tmp_path / "images/p4.nii.gz", image, affine)
    return tmp_path


def test_rows_are_the_table_in_the_bundles_order_and_units(folder, phantom):
    data = ParticipantsDataset(folder, CONDITIONS, phantom.image.shape, phantom.anatomy.affine)
    assert len(data) == 3
    expected = [[63, 0, 31.5, 1150], [71, 1, np.nan, 1010], [55, 1, 22, np.nan]]
    np.testing.assert_array_equal(torch.stack([row["conditions"] for row in data]).numpy(), np.float32(expected))
    whole = phantom.image / phantom.image.max()
    for row in data:
        assert row["image"].shape == (1, *phantom.image.shape) and row["image"].dtype == torch.float32
        assert float(row["image"].min()) == 0 and float(row["image"].max()) == 1
        np.testing.assert_allclose(row["image"][0].numpy(), whole, atol=2e-3)  # whatever the axis order and scale
    assert len(ParticipantsDataset(folder, CONDITIONS, phantom.image.shape, phantom.anatomy.affine, split="test")) == 1


def test_the_published_box_gives_160_224_160():
    image = np.zeros((193, 240, 256), np.float32)
    image[16, 16, 96] = image[175, 239, 255] = 1
    image[15, 100, 100] = 5
    cut = crop_and_pad(image, [[16, 176], [16, 240], [96, 256]], (160, 224, 160))
    assert cut.shape == (160, 224, 160) and cut.max() == 1 and cut[0, 0, 0] == cut[-1, -1, -1] == 1
    padded = crop_and_pad(image[:170, :, 96:], [[16, 176], [16, 240], [0, 160]], (160, 224, 160))
    assert padded.shape == (160, 224, 160) and padded[3, 0, 0] == 1 and not padded[:3].any()
    with pytest.raises(UserError, match="leaves .* voxels"):
        crop_and_pad(image[..., :90], [[16, 176], [16, 240], [96, 256]], (160, 224, 160))


def test_a_box_is_cut_in_the_axis_order_of_the_networks_grid(folder, phantom):
    shape, box = (40, 50, 44), [[6, 46], [3, 53], [4, 48]]
    left = phantom.anatomy.affine.copy()
    left[:3, 0] *= -1
    right = ParticipantsDataset(folder, CONDITIONS, shape, phantom.anatomy.affine, box)
    whole = phantom.image / phantom.image.max()
    for row in right:
        np.testing.assert_allclose(row["image"][0].numpy(), whole[6:46, 3:53, 4:48], atol=2e-3)
    mirrored = ParticipantsDataset(folder, CONDITIONS, shape, left, box)[1]["image"]
    np.testing.assert_allclose(mirrored[0].numpy(), whole[::-1][6:46, 3:53, 4:48], atol=2e-3)


def test_a_fine_scan_keeps_its_volume_and_place_on_the_coarse_grid():
    fine, coarse = np.diag([1.0, 1.0, 1.0, 1.0]), np.diag([4.0, 4.0, 4.0, 1.0])
    x = np.stack(np.meshgrid(*[np.arange(64.0)] * 3, indexing="ij"))
    ball = (np.sum((x - np.array([30.0, 26.0, 34.0])[:, None, None, None]) ** 2, 0) < 15**2).astype(np.float32)
    small = to_grid(ball, fine, coarse, (16, 16, 16))
    assert small.sum() * 64 == pytest.approx(ball.sum(), rel=0.01)
    centre = [
        float((small.sum(tuple(a for a in range(3) if a != k)) * np.arange(16)).sum() / small.sum()) for k in (0, 1, 2)
    ]
    np.testing.assert_allclose(np.array(centre) * 4, [30, 26, 34], atol=0.1)
    far = coarse.copy()
    far[:3, 3] = 1000
    with pytest.raises(UserError, match="lies outside the network's grid; align it"):
        to_grid(ball, fine, far, (16, 16, 16))


def test_the_cache_is_read_and_follows_the_file(folder, phantom, tmp_path_factory):
    grid = (phantom.image.shape, phantom.anatomy.affine)
    cache = tmp_path_factory.mktemp("cache")
    first = ParticipantsDataset(folder, CONDITIONS, *grid, cache_dir=cache)[0]["image"]
    assert len(list(cache.rglob("*.npy"))) == 1
    again = ParticipantsDataset(folder, CONDITIONS, *grid, cache_dir=cache)
    again.prepare = lambda row: pytest.fail("the cache was not read")
    assert torch.equal(again[0]["image"], first)
    save(folder / "images/p1.nii.gz", phantom.image[::-1], phantom.anatomy.affine)
    assert not torch.equal(ParticipantsDataset(folder, CONDITIONS, *grid, cache_dir=cache)[0]["image"], first)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("p9\tF\t63", "line 3: has 3 cells, but the header names 6 columns"),
        ("p9\tX\t63\t30\t1100\ttrain", "line 3: sex is 'X', but must be one of F, M"),
        ("p9\tF\told\t30\t1100\ttrain", "line 3: age is 'old', but must be a number from 20 to 90 years"),
        ("p9\tF\t63\t30000\t1100\ttrain", "line 3: ventricle_ml is 30000 mL, .*the volumes are in mL"),
        ("p9\tF\t63\t30\t1100\tmaybe", "line 3: split is 'maybe', but must be train, validation or test"),
        ("p1\tF\t63\t30\t1100\ttrain", "line 3: id p1 stands already in line 2"),
        ("../p9\tF\t63\t30\t1100\ttrain", "line 3: id is '../p9'"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, line, sentence):
    (tmp_path / TABLE).write_text("\n".join([HEADER, LINES[0], line]))
    with pytest.raises(UserError, match=sentence):
        read_participants(tmp_path / TABLE, CONDITIONS)


def test_a_folder_that_cannot_be_used_is_told_in_one_sentence(folder, tmp_path, phantom):
    grid = {"shape": phantom.image.shape, "affine": phantom.anatomy.affine}
    with pytest.raises(UserError, match="does not exist: --dataset_dir names a folder"):
        read_participants(tmp_path / "elsewhere" / TABLE, CONDITIONS)
    with pytest.raises(UserError, match="dataset_dir is empty"):
        training_images("tsv", "", CONDITIONS, **grid)
    with pytest.raises(UserError, match="add --data_format tsv"):
        training_images("phantom", folder, CONDITIONS, **grid)
    with pytest.raises(UserError, match="data_format = 'csv': the known ones are phantom, tsv, bids"):
        training_images("csv", folder, CONDITIONS, **grid)
    with pytest.raises(UserError, match="has 3 rows of the split train, but 5 are requested"):
        training_images("tsv", folder, CONDITIONS, size=5, **grid)
    (folder / "images/p1.nii.gz").unlink()
    with pytest.raises(UserError, match="p1: neither .*images/p1.nii.gz nor .*exists"):
        training_images("tsv", folder, CONDITIONS, **grid)
    (folder / TABLE).write_text("name\tage\nx\t50\n")
    with pytest.raises(UserError, match="line 1: has no column id"):
        training_images("tsv", folder, CONDITIONS, **grid)


def test_one_call_gives_phantoms_or_scans(folder, phantom):
    grid = {"shape": phantom.image.shape, "affine": phantom.anatomy.affine}
    scans = training_images("tsv", folder, CONDITIONS, size=2, **grid)
    drawn = training_images("phantom", "", CONDITIONS, size=2, phantom={"spacing_mm": 4.0}, **grid)
    assert isinstance(drawn, BrainPhantomDataset) and len(drawn) == len(scans) == 2
    assert {k: v.shape for k, v in scans[1].items() if k != "row"} == {
        k: v.shape for k, v in drawn[1].items() if k != "row"
    }
