"""A scan gives one map however its file stores it, and what is no brain gives none."""

from pathlib import Path

import nibabel as nib
import nilearn.datasets
import numpy as np
import pytest
from bundle_runs import ROOT
from monai.data import MetaTensor
from scipy import ndimage as ndi

from synthzoo.bundle.compose import load_config
from synthzoo.errors import UserError
from synthzoo.instruments.brain.extraction import expect_brain
from synthzoo.systems.many_tasks.inferer import AnomalyMapInferer
from synthzoo.transforms.head_grid import FromHeadGridd, ToHeadGridd

TEMPLATE = Path(nilearn.datasets.__file__).parent / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


@pytest.fixture(scope="module")
def scan() -> nib.Nifti1Image:
    """The real ICBM152 template at 2 mm, without skull."""
    image = nib.load(TEMPLATE)
    voxels = np.asarray(image.dataobj)[:196:2, :232:2, :188:2].astype(np.float32)
    return nib.Nifti1Image(voxels, image.affine @ np.diag([2, 2, 2, 1.0]))


@pytest.fixture(scope="module")
def network():
    return load_config(ROOT / "bundles" / "brain_mr_anomaly_map_manytasks").get_parsed_content("network").eval()


def gridded(image: nib.Nifti1Image, voxels=None) -> dict:
    voxels = np.asarray(image.dataobj, np.float32) if voxels is None else voxels.astype(np.float32)
    data = {"image": MetaTensor(voxels[None].copy(), affine=image.affine), "case": "scan"}
    return ToHeadGridd("image", upright=True)(data)


def seen(data: dict) -> np.ndarray:
    return np.asarray(data["image"])[0]


@pytest.mark.parametrize("axes", ["RAS", "LPI", "PSL", "SLA", "IPR", "ALS"])
def test_the_order_of_the_axes_changes_nothing(scan, axes):
    turn = nib.orientations.ornt_transform(nib.io_orientation(scan.affine), nib.orientations.axcodes2ornt(axes))
    turned = scan.as_reoriented(turn)
    one, other = gridded(scan), gridded(turned)
    assert np.array_equal(seen(one), seen(other))
    assert np.allclose(one["image"].affine, other["image"].affine)
    # The way back ends on the scan's own grid.
    back = FromHeadGridd("pred")({**other, "pred": other["image"] / 1024})
    assert back["pred"].shape[1:] == turned.shape and np.allclose(back["pred"].affine, turned.affine)


BRAIN = {
    "tiny": lambda v, m: v * 1e-9,
    "huge": lambda v, m: v * 1e9,
    "from 0 to 1": lambda v, m: np.where(m, (v - v[m].min()) / (v[m].max() - v[m].min()), 0),
    "z-scored": lambda v, m: np.where(m, (v - v[m].mean()) / v[m].std(), 0),
    "half its range added": lambda v, m: np.where(m, v + 0.5 * v.max(), 0),
    "ten times its range added": lambda v, m: np.where(m, v + 10 * v.max(), 0),
    "half its range taken away": lambda v, m: np.where(m, v - 0.5 * v.max(), 0),
    "background of -1000": lambda v, m: 3 * v - 1000,
}


@pytest.mark.parametrize("kind", BRAIN)
def test_the_unit_of_the_intensities_changes_nothing_to_speak_of(scan, network, kind):
    voxels = np.asarray(scan.dataobj)
    inferer = AnomalyMapInferer(smooth_voxels=1.5, progress=False)
    one, other = gridded(scan), gridded(scan, BRAIN[kind](voxels.astype(np.float64), voxels > 0))
    assert np.allclose(one["image"].affine, other["image"].affine, atol=1.0)
    both = (seen(one) > 0) & (seen(other) > 0)
    assert np.corrcoef(seen(one)[both], seen(other)[both])[0, 1] > 0.998
    assert inferer.spacing_mm == 2.0 and both.sum() > 0.97 * max((seen(one) > 0).sum(), (seen(other) > 0).sum())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiny", "z-scored", "half its range added"])
def test_the_map_itself_stays(scan, network, kind):
    voxels = np.asarray(scan.dataobj).astype(np.float64)
    inferer = AnomalyMapInferer(smooth_voxels=1.5, progress=False)
    one, other = (
        inferer(gridded(scan, values)["image"][None], network).numpy()
        for values in (voxels, BRAIN[kind](voxels, voxels > 0))
    )
    inside = (one > 0) | (other > 0)
    assert np.corrcoef(one[inside], other[inside])[0, 1] > 0.99


def things(shape=(96, 112, 96)):
    """What is no brain, of a head's size."""
    rng = np.random.default_rng(0)
    places = np.indices(shape) - (np.array(shape) / 2)[:, None, None, None]
    inside = np.sqrt((places**2).sum(0)) < 40
    return {
        "even noise": rng.uniform(0, 1, shape),
        "Gaussian noise": rng.normal(100, 10, shape),
        "smooth noise": 1000 * ndi.gaussian_filter(rng.normal(size=shape), 6),
        "a ball of noise": inside * (100 + rng.normal(0, 5, shape)),
        "a ball": inside * 100.0,
        "a ramp": places[0] + 60,
    }


@pytest.mark.parametrize("kind", things((2, 2, 2)))
def test_what_is_no_brain_gets_no_map(scan, network, kind):
    image = nib.Nifti1Image(things()[kind].astype(np.float32), np.diag([2.0, 2, 2, 1]))
    with pytest.raises(UserError, match="brain"):
        AnomalyMapInferer(progress=False)(gridded(image)["image"][None], network)


def test_a_brain_is_taken_for_one(scan):
    head = seen(gridded(scan))
    expect_brain(head, head > 0)
