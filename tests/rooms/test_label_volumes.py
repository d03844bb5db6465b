"""Label volumes of phantoms with several diseases: pool, patches, mirrored rows, slices that give their style."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthzoo.datasets.brain.label_volumes import ROWS_OF, LabelVolumes, PaintedVolumes
from synthzoo.errors import UserError
from synthzoo.phantoms.brain.label_maps import CLASSES, LESIONS
from synthzoo.phantoms.brain.label_pool import MEASURED, SLICE_SHAPE, VOXEL_ML
from synthzoo.phantoms.brain.label_volumes import TOGETHER, LabelVolumePool, draw_together
from synthzoo.phantoms.brain.pool import GRID

SUBJECTS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("volumes")
    LabelVolumePool("train", SUBJECTS, place)
    return place


def test_each_disease_has_its_share_and_any_two_meet():
    drawn = [{lesion.kind for lesion in draw_together(seed)} for seed in range(300)]
    for kind, share in TOGETHER.items():
        assert np.mean([kind in kinds for kinds in drawn]) == pytest.approx(share, abs=0.08)
    assert sum({"tumour", "stroke"} <= kinds for kinds in drawn) > 30
    assert draw_together(4, together={"stroke": 1.0})[0].kind == "stroke" and draw_together(4, together={}) == []


def test_a_pool_is_made_once_and_knows_its_volumes_and_the_places_of_its_lesions(folder):
    pool = LabelVolumePool("train", SUBJECTS, folder, progress=pytest.fail)
    for row in range(SUBJECTS):
        subject = pool[row]
        shares = subject.maps.astype(np.float64).sum((1, 2, 3)) / 255 * VOXEL_ML
        assert np.allclose(subject.ml, shares[1:], rtol=0.03, atol=0.3)
        for places, name in zip(subject.places, LESIONS, strict=True):
            if places[0, 0] >= 0:
                assert (subject.maps[(CLASSES.index(name), *places.T)] > 127).all()
    with pytest.raises(UserError, match="split = 'all'"):
        LabelVolumePool("all", 1, folder)


def test_a_mirrored_row_has_its_sides_exchanged_and_the_same_volumes(folder):
    rows = LabelVolumes(SUBJECTS, cache_dir=folder)
    assert len(rows) == 2 * SUBJECTS
    one, two = rows[1], rows[1 + SUBJECTS]
    assert one["labels"].shape == (len(CLASSES), *GRID) and torch.equal(one["labels"].flip(1), two["labels"])
    assert torch.allclose(one["labels"].sum(0), torch.ones(GRID), atol=1e-5)
    assert torch.equal(one["conditions"], two["conditions"])
    assert dict(zip(MEASURED, one["conditions"].tolist()))["stroke_ml"] == pytest.approx(
        rows.pool[1].volumes()["stroke"]
    )
    assert len(ROWS_OF) == len(MEASURED)


def test_patches_differ_from_draw_to_draw_and_most_of_them_show_a_lesion(folder):
    rows = LabelVolumes(SUBJECTS, cache_dir=folder, patch=(16, 24, 16), lesioned=1.0)
    np.random.seed(0)
    sick = next(row for row in range(SUBJECTS) if (rows.pool[row].places[:, 0, 0] >= 0).any())
    found = torch.stack([rows[sick]["labels"] for _ in range(8)])
    assert found.shape == (8, len(CLASSES), 16, 24, 16) and not torch.equal(found[0], found[1])
    assert ((found[:, CLASSES.index("WMH") :].sum(1) > 0.5).flatten(1).any(1)).float().mean() >= 0.5
    with pytest.raises(UserError, match="patch = "):
        LabelVolumes(SUBJECTS, cache_dir=folder, patch=(96, 24, 16))


def test_a_painted_patch_has_slices_of_its_own_head_for_style(folder):
    rows = PaintedVolumes(["T1w"], fixed=True, subjects=SUBJECTS, cache_dir=folder, patch=(16, 24, 16))
    one, two = rows[0], rows[0]
    assert one["image"].shape == (1, 16, 24, 16) and one["style"].shape == (1, *SLICE_SHAPE)
    assert all(torch.equal(one[name], two[name]) for name in ("labels", "image", "style", "other_style"))
    assert float(one["image"].min()) >= 0 and float(one["image"].max()) <= 1
    with pytest.raises(UserError, match="contrasts = "):
        PaintedVolumes(["T9w"], subjects=SUBJECTS, cache_dir=folder)
