"""The prior's tasks as they are served: each runs its config on a scan of one's own and costs what it declares."""

import nibabel as nib
import numpy as np
import pytest
from bundle_runs import ROOT

from synthzoo.cases.examples import write_example
from synthzoo.errors import UserError
from synthzoo.io.nifti import write_nifti
from synthzoo.serving import served
from synthzoo.serving.cost import cost_of
from synthzoo.serving.served import ServedBundle
from synthzoo.serving.watching import CallCounter

BUNDLE = ROOT / "bundles" / "brain_mr_synthesis_ldm"
FEW = {
    "inpaint": {"steps": 2, "draws": 2},
    "denoise": {"noise": 0.03},
    "reconstruct": {"steps": 2, "draws": 2, "acceleration": 6},
    "interpolate": {"steps": 3, "share": 0.4},
    "edit": {"steps": 3, "ventricle_change_ml": 10},
}
FIRST = {
    "inpaint": "inpainted",
    "denoise": "denoised",
    "reconstruct": "reconstructed",
    "interpolate": "between",
    "edit": "edited",
}


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A T1w phantom as a scanner stores it: integers with a slope, and a mask beside it."""
    folder = tmp_path_factory.mktemp("scans")
    image = nib.load(write_example("brain_t1w", folder, 2))
    stored = nib.Nifti1Image(np.rint(image.get_fdata() * 1000).astype(np.int16), image.affine)
    stored.header.set_slope_inter(0.5, 0.0)
    path = folder / "ann.nii.gz"
    nib.save(stored, path)
    mask = np.zeros(image.shape, np.uint8)
    mask[14:20, 24:30, 24:30] = 1
    write_nifti(folder / "ann_mask.nii.gz", mask, image.affine)
    return path


@pytest.mark.parametrize("task", FEW)
def test_a_task_is_served_and_costs_what_it_declares(task, scan, tmp_path, monkeypatch):
    counters: list[CallCounter] = []
    monkeypatch.setattr(served, "CallCounter", lambda network: counters.append(CallCounter(network)) or counters[-1])
    bundle = ServedBundle(BUNDLE, device="cpu", entry=task)
    values = dict(FEW[task])
    if task == "inpaint":
        with pytest.raises(UserError, match="marks is empty"):
            bundle.run(values, tmp_path / "unmarked", scan)
        values["marks"] = str(scan.with_name("ann_mask.nii.gz"))
        counters.clear()
    case = bundle.run(values, tmp_path / "out", scan, report=lambda *_: None)[0]
    made, before = nib.load(case.files["image"]), nib.load(scan)
    assert case.files["image"].name == f"ann_{FIRST[task]}.nii.gz"
    assert made.shape == before.shape and np.allclose(made.affine, before.affine)
    assert case.sidecar["measured"] and case.sidecar["Synthetic"] is True
    priced = {name: value for name, value in values.items() if name != "marks"}
    declared, counted = cost_of(bundle, priced), counters[0].voxels
    assert counted <= declared <= 3 * counted, f"declared {declared:g}, counted {counted}"
    if task in ("inpaint", "edit"):
        mask = np.asarray(nib.load(case.files["label"]).dataobj) > 0
        after, stored = (np.asarray(image.dataobj.get_unscaled()) for image in (made, before))
        assert after.dtype == stored.dtype == np.int16
        assert (after[~mask] == stored[~mask]).all() and (after[mask] != stored[mask]).any()
    else:
        array = made.get_fdata()
        assert array.min() >= 0 and 0.6 < array.max() <= 1
        assert np.corrcoef(array.ravel(), before.get_fdata().ravel())[0, 1] > 0.8


def test_another_scan_is_needed_to_go_to(scan, tmp_path):
    with pytest.raises(UserError, match="second scan"):
        ServedBundle(BUNDLE, device="cpu", entry="interpolate").run({"other": " "}, tmp_path, scan)
