"""Healing: what is marked is filled from the other side or the template, and the outside stays to the bit."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from synthzoo.cases.marks import LoadMarkd, digest_of_marks, on_grid, read_mark
from synthzoo.errors import UserError
from synthzoo.phantoms.brain.contrast import render
from synthzoo.phantoms.brain.pathology.scans import LABELS
from synthzoo.phantoms.brain.phantom import draw_params, make_anatomy
from synthzoo.systems.brainspade3d.healing import HealLesiond, heal
from synthzoo.systems.brainspade3d.lesion_evaluation import controls
from synthzoo.systems.brainspade3d.mirror_fit import fit_mirror

OEDEMA = LABELS["oedema"]


@pytest.fixture(scope="module")
def anatomy():
    return make_anatomy(draw_params(3), 4.0)


@pytest.fixture(scope="module")
def sick(anatomy):
    """Healthy scan, sick scan, marked, tissues, affine, upright affine and shape of its grid."""
    labels = np.zeros(anatomy.labels.shape, np.uint8)
    for number, name in enumerate(("cortex", "white", "csf", "ventricle"), 1):
        labels[anatomy.labels == number] = LABELS[name]
    healthy = 300 * render(anatomy, "T1w", seed=1)
    mm = np.stack(np.meshgrid(*[np.arange(n) for n in labels.shape], indexing="ij"), -1) * 4.0
    mm = mm + anatomy.affine[:3, 3]
    marked = (np.linalg.norm(mm - (32, -20, 22), axis=-1) < 14) & (labels > 0)
    image, tissue = healthy.copy(), labels.copy()
    image[marked], tissue[marked] = 0.4 * healthy[labels == LABELS["white"]].mean(), OEDEMA
    return healthy, image, marked, tissue, anatomy.affine, anatomy.affine, labels.shape


def far(image, truth, mask):
    return np.abs(image - truth)[mask].mean()


def test_the_region_is_nearer_to_the_truth_than_by_the_controls(sick):
    healthy, image, marked, tissue, affine, upright, shape = sick
    done = heal(image, marked, tissue, affine, upright, shape, grow_mm=0)
    mask = done.mask > 0
    assert (mask == marked).all()
    assert done.ml == pytest.approx(marked.sum() * 0.064)
    assert done.other_side > 0.9
    assert (done.image[~mask] == image[~mask]).all()
    error = far(done.image, healthy, mask)
    assert error < 0.5 * far(image, healthy, mask)
    assert all(error < far(other, healthy, mask) for other in controls(image, mask).values())


def test_a_mark_on_both_sides_is_filled_by_the_template(sick):
    healthy, image, marked, tissue, affine, upright, shape = sick
    both = (marked | marked[::-1]) & (tissue > 0)
    image, tissue = image.copy(), tissue.copy()
    image[both], tissue[both] = image[marked].mean(), OEDEMA
    done = heal(image, both, tissue, affine, upright, shape, grow_mm=0)
    assert done.other_side < 0.6
    assert far(done.image, healthy, both) < 0.7 * far(image, healthy, both)
    again = heal(image, both, tissue, affine, upright, shape, grow_mm=0)
    assert (again.image == done.image).all()


def test_the_mark_grows_and_nothing_marked_leaves_the_scan(sick):
    _, image, marked, tissue, affine, upright, shape = sick
    grown = heal(image, marked, tissue, affine, upright, shape, grow_mm=4).mask > 0
    assert grown.sum() > marked.sum()
    assert not (grown & (tissue == 0)).any()
    none = heal(image, np.zeros_like(marked), tissue, affine, upright, shape)
    assert (none.image == image).all()
    assert none.ml == 0
    with pytest.raises(UserError, match="marks nothing of the brain"):
        heal(image, tissue == 0, tissue, affine, upright, shape)
    with pytest.raises(UserError, match="mask: has shape"):
        heal(image, marked[1:], tissue, affine, upright, shape)
    with pytest.raises(UserError, match=r"grow_mm = 40: a mark grows by 0 to 10 mm"):
        HealLesiond(grow_mm=40)


def test_a_mirror_image_is_fitted_where_it_is_seen():
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (32, 36, 32)], indexing="ij")
    brain = sum(a**2 for a in axes) < 0.8
    left, right = (np.exp(-8 * ((axes[0] + x) ** 2 + (axes[1] - y) ** 2)) for x, y in ((0.4, 0.0), (-0.4, 0.15)))
    volume = (0.5 + left + right).astype(np.float32) * brain
    before = np.abs(volume - volume[::-1])[brain].mean()
    flow = fit_mirror(volume, brain)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in volume.shape], indexing="ij")).astype(np.float32) + flow
    scale = [2 / (n - 1) for n in volume.shape]
    grid = torch.from_numpy(np.stack([index[a] * scale[a] - 1 for a in (2, 1, 0)], -1).astype(np.float32))
    moved = torch.nn.functional.grid_sample(
        torch.from_numpy(volume[::-1].copy())[None, None], grid[None], align_corners=True
    )[0, 0].numpy()
    assert np.abs(volume - moved)[brain].mean() < 0.6 * before


def test_the_sample_says_what_was_healed(sick):
    _, image, marked, tissue, affine, _, _ = sick
    matrix = torch.from_numpy(affine)
    sample = {
        "scan": MetaTensor(torch.from_numpy(image)[None], affine=matrix),
        "image": MetaTensor(torch.from_numpy(image)[None], affine=matrix),
        "dseg": torch.from_numpy(tissue)[None],
    }
    by_segmenter = HealLesiond(grow_mm=0)(sample)
    assert by_segmenter["healed"]["marked_by"] == "the segmenter"
    assert by_segmenter["healed"]["ml"] == pytest.approx(marked.sum() * 0.064, abs=0.01)
    mark = np.zeros_like(marked)
    mark[tuple(np.argwhere(marked)[0])] = True
    given = HealLesiond(grow_mm=0)({**sample, "mark": MetaTensor(torch.from_numpy(mark)[None], affine=matrix)})
    assert given["healed"]["marked_by"] == "the mask that was given"
    assert int(given["mask"].sum()) == 1
    assert "stays" in given["healed"]["mass_effect"]


def write(path, array, said=None):
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    if said is not None:
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(said))


def test_marks_are_found_and_read_by_what_they_say(tmp_path):
    image = tmp_path / "ann.nii.gz"
    write(image, np.random.RandomState(0).rand(6, 6, 6).astype(np.float32))
    marks = tmp_path / "marks" / "ann"
    marks.mkdir(parents=True)
    heat = np.linspace(0, 1, 216, dtype=np.float32).reshape(6, 6, 6)
    write(marks / "ann_heatmap.nii.gz", heat, {"threshold": 0.75})
    sample = {"image": str(image), "row": 0}
    assert "mark" not in LoadMarkd("")(sample)
    assert int(LoadMarkd(tmp_path / "marks")(sample)["mark"].sum()) == (heat > 0.75).sum()
    assert int(LoadMarkd(tmp_path / "marks", above=0.5)(sample)["mark"].sum()) == (heat > 0.5).sum()
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1:3], labels[4] = 3, 6
    write(marks / "ann_dseg.nii.gz", labels, {"labels": {"3": "white_matter", "6": "lesion_oedema"}})
    assert int(LoadMarkd(tmp_path / "marks")(sample)["mark"].sum()) == 36  # a label map goes before a heat map
    assert read_mark(marks / "ann_dseg.nii.gz", above=2)[0].sum() == 108
    first = digest_of_marks(tmp_path / "marks")
    write(marks / "ann_mask.nii.gz", labels)
    assert digest_of_marks(tmp_path / "marks") != first
    assert digest_of_marks("") is None
    assert int(LoadMarkd([marks / "ann_mask.nii.gz"])(sample)["mark"].sum()) == 108


def test_wrong_marks_are_named(tmp_path):
    image = tmp_path / "ann.nii.gz"
    write(image, np.random.RandomState(0).rand(6, 6, 6).astype(np.float32))
    empty = tmp_path / "none"
    empty.mkdir()
    sample = {"image": str(image), "row": 1}
    with pytest.raises(UserError, match=r"has no file for image .*ann.nii.gz: call it ann.nii.gz or ann_mask.nii.gz"):
        LoadMarkd(empty)(sample)
    with pytest.raises(UserError, match="marks: has 1 files, and none for image"):
        LoadMarkd([image])(sample)
    with pytest.raises(UserError, match="states no threshold: set above, such as 0.5"):
        read_mark(image)
    with pytest.raises(UserError, match="marks nothing"):
        read_mark(image, above=2)
    with pytest.raises(UserError, match="does not exist"):
        digest_of_marks(tmp_path / "absent")


def test_a_mark_of_another_grid_lies_where_it_lay():
    mark = np.zeros((10, 10, 10), bool)
    mark[4:7, 4:7, 4:7] = True
    fine = np.diag([1.0, 1.0, 1.0, 1.0])
    moved = on_grid(mark, np.diag([2.0, 2.0, 2.0, 1.0]), (20, 20, 20), fine)
    assert np.allclose(np.argwhere(moved).mean(0), 10, atol=0.5)
    assert 27 * 4 < moved.sum() < 27 * 13  # its edge lies between voxels
    assert on_grid(mark, fine, mark.shape, fine) is mark
