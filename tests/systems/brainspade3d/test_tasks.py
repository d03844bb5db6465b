"""The tasks as they are served: segment, place and heal run their configs on a scan of one's own."""

import json

import nibabel as nib
import numpy as np
import pytest
from small_brain_tasks import NAME, TASKS, small_bundle

from synthzoo.cases.examples import write_example
from synthzoo.errors import UserError
from synthzoo.phantoms.brain.pathology.lesion import PARTS
from synthzoo.serving.served import ServedBundle
from synthzoo.serving.store import ModelStore


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return small_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A FLAIR phantom as a scanner stores it: integers with a slope."""
    folder = tmp_path_factory.mktemp("scans")
    image = nib.load(write_example("brain_flair", folder, 1))
    array = image.get_fdata()
    stored = nib.Nifti1Image(np.rint(array / array.max() * 1000).astype(np.int16), image.affine)
    stored.header.set_slope_inter(0.5, 2.0)
    path = folder / "ann.nii.gz"
    nib.save(stored, path)
    return path


def raw(path):
    image = nib.load(path)
    return np.asarray(image.dataobj.get_unscaled()), (image.dataobj.slope, image.dataobj.inter)


def test_a_bundle_is_served_with_its_tasks(bundle):
    store = ModelStore([bundle])
    assert list(store.bundles) == [NAME, *(f"{NAME}_{task}" for task in TASKS)]
    place, heal = store[f"{NAME}_place"], store[f"{NAME}_heal"]
    assert set(place.options) == {"seed", "kind", "ml", "centre_mm"}
    assert place.options["kind"].default == "tumour"
    assert (place.task, list(place.outputs), place.needs_images) == ("counterfactual", ["image", "label"], True)
    assert heal.mark == {"path": "marks", "values": "mark_values", "above": "above"}
    assert heal.weights() == bundle / "models" / "segmenter.pt"
    assert store[NAME].mark is None
    with pytest.raises(UserError, match="has no task 'shrink': it has segment, place, heal"):
        ServedBundle(bundle, entry="shrink")


def test_a_scan_is_segmented_with_names(bundle, scan, tmp_path):
    case = ServedBundle(bundle, device="cpu", entry="segment").run({}, tmp_path, scan)[0]
    labels = np.asarray(nib.load(case.files["label"]).dataobj)
    assert labels.shape == nib.load(scan).shape
    assert set(np.unique(labels)) == {0, 3}
    assert case.sidecar["labels"]["3"] == "white_matter"
    assert case.sidecar["labels"]["6"] == "lesion_oedema"
    assert case.sidecar["volumes_ml"]["white_matter"] > 700
    assert case.sidecar["lesion_ml"] == 0


def test_a_lesion_is_placed_and_healed_and_the_outside_stays_to_the_bit(bundle, scan, tmp_path):
    before, scaling = raw(scan)
    place = ServedBundle(bundle, device="cpu", entry="place")
    values = {"kind": "stroke", "ml": 12.0, "centre_mm": "30 -20 30", "seed": 3}
    placed = place.run(values, tmp_path / "placed", scan)[0]
    mask = np.asarray(nib.load(placed.files["label"]).dataobj)
    assert (mask > 0).sum() * 0.008 == pytest.approx(12, abs=0.01)
    assert set(np.unique(mask)) == {0, 1 + PARTS.index("stroke")}
    after, same = raw(placed.files["image"])
    assert (after.dtype, same) == (before.dtype, scaling)
    assert (after[mask == 0] == before[mask == 0]).all()
    assert (after[mask > 0] != before[mask > 0]).mean() > 0.5
    middle = nib.affines.apply_affine(nib.load(scan).affine, np.argwhere(mask).mean(0))
    assert np.linalg.norm(middle - (30, -20, 30)) < 12

    heal = ServedBundle(bundle, device="cpu", entry="heal")
    healed = heal.run({"marks": str(placed.files["label"])}, tmp_path / "healed", placed.files["image"])[0]
    region = np.asarray(nib.load(healed.files["label"]).dataobj) > 0
    assert region[mask > 0].mean() > 0.95
    again, same = raw(healed.files["image"])
    assert (again.dtype, same) == (before.dtype, scaling)
    assert (again[~region] == after[~region]).all()
    assert healed.sidecar["healed"]["marked_by"] == "the mask that was given"
    inside = mask > 0
    assert abs(again[inside].astype(float) - before[inside]).mean() < abs(after[inside] - 1.0 * before[inside]).mean()
    assert json.loads(json.dumps(healed.sidecar))["healed"]["ml"] >= 12

    nothing = heal.run({}, tmp_path / "nothing", scan)[0]  # the segmenter marks nothing
    assert (raw(nothing.files["image"])[0] == before).all()
    with pytest.raises(UserError, match=r"centre_mm = 'left': give three numbers in RAS mm"):
        place.run({"centre_mm": "left"}, tmp_path / "left", scan)
