"""The brain phantom holds what it says: volumes, lesions, contrasts, seeds."""

from dataclasses import fields

import numpy as np
import pytest

from synthzoo.datasets.brain.phantoms import BrainPhantomDataset
from synthzoo.errors import UserError
from synthzoo.phantoms.brain.phantom import (
    BrainParams,
    brain_affine,
    brain_grid,
    draw_params,
    make_anatomy,
    make_brain,
    render,
)
from synthzoo.phantoms.brain.template import load_template

CASES = [
    BrainParams(1, 25, "F", 1300, 5),
    BrainParams(2, 85, "M", 950, 118),
    BrainParams(3, 60, "F", 1590, 40),
    BrainParams(4, 45, "M", 1150, 20),
]


@pytest.mark.parametrize("params", CASES, ids=lambda p: f"{p.brain_ml:g}mL-{p.ventricle_ml:g}mL")
def test_requested_volumes_are_met(params):
    anatomy = make_anatomy(params, 4.0)
    assert anatomy.volumes_ml["ventricle"] == pytest.approx(params.ventricle_ml, rel=0.02)
    assert anatomy.volumes_ml["brain"] == pytest.approx(params.brain_ml, rel=0.02)


def test_written_volumes_are_voxel_sums():
    anatomy = make_anatomy(CASES[3], 4.0)
    for name, index in {"gm": 0, "wm": 1, "csf": 2, "ventricle": 3}.items():
        assert anatomy.volumes_ml[name] == pytest.approx(anatomy.tissues[index].sum() * 0.064, rel=0.01)
    assert anatomy.tissues.min() >= 0
    assert anatomy.tissues.sum(0).max() < 1.001


def test_the_same_subject_has_the_same_volumes_at_another_resolution():
    coarse, fine = make_anatomy(CASES[0], 4.0), make_anatomy(CASES[0], 2.0)
    for name in ("ventricle", "brain", "gm"):
        assert fine.volumes_ml[name] == pytest.approx(coarse.volumes_ml[name], rel=0.06)


def test_lesions_have_the_requested_volumes():
    params = BrainParams(
        5, 70, "F", 1200, 40, wmh_ml=12.0, tumour={"core_ml": 4.0, "enhancing_ml": 6.0, "oedema_ml": 20.0}
    )
    volumes = make_anatomy(params, 4.0).volumes_ml
    assert volumes["WMH"] == pytest.approx(12, rel=0.02)
    assert volumes["core"] == pytest.approx(4, rel=0.05)
    assert volumes["core"] + volumes["enhancing"] == pytest.approx(10, rel=0.02)
    assert volumes["oedema"] == pytest.approx(20, rel=0.02)
    stroke = make_anatomy(BrainParams(6, 70, "M", 1200, 40, stroke={"volume_ml": 25.0}), 4.0)
    assert stroke.volumes_ml["stroke"] == pytest.approx(25, rel=0.02)


def test_a_healthy_brain_has_no_lesions():
    assert make_anatomy(draw_params(9), 4.0).lesions == {}


@pytest.mark.parametrize("contrast", ["T1w", "T2w", "FLAIR", "PD"])
def test_contrasts_order_the_tissues(contrast):
    anatomy = make_anatomy(CASES[3], 4.0)
    image = render(anatomy, contrast, noise=0, bias=0, texture=0)
    gm, wm, csf, ventricle = (image[share > 0.95].mean() for share in anatomy.tissues)
    order = {"T1w": wm > gm > ventricle, "T2w": ventricle > gm > wm, "FLAIR": gm > wm > ventricle, "PD": gm > wm}
    assert order[contrast]
    assert image.min() >= 0
    assert image.max() <= 1
    assert np.all(image[anatomy.tissues.sum(0) == 0] == 0)


def test_seeds_decide():
    first, again, other = (make_brain(draw_params(seed), 4.0).image for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_grid_and_affine_share_the_field_of_view():
    assert brain_grid(4.0) == (48, 56, 48)
    assert np.allclose(brain_affine(4.0)[:3, 3], [-94, -127, -89])
    centre = [brain_affine(h)[:3] @ [*((np.array(brain_grid(h)) - 1) / 2), 1] for h in (2.0, 4.0)]
    assert np.allclose(*centre)


def test_the_law_links_age_and_ventricles_and_independence_unlinks_them():
    together = np.array([[p.age, p.ventricle_ml] for p in map(draw_params, range(300))])
    apart = np.array([[p.age, p.ventricle_ml] for p in (draw_params(s, independent=True) for s in range(300))])
    assert np.corrcoef(together.T)[0, 1] > 0.5
    assert abs(np.corrcoef(apart.T)[0, 1]) < 0.15


def test_wrong_values_are_named():
    with pytest.raises(UserError, match="ventricle_ml = 300 mL.*5 to 120"):
        draw_params(1, ventricle_ml=300)
    with pytest.raises(UserError, match="sex = 'X'"):
        draw_params(1, sex="X")
    with pytest.raises(UserError, match="spacing_mm"):
        make_anatomy(CASES[0], 0.2)


def test_a_template_made_now_is_the_one_that_is_read_from_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SYNTHZOO_CACHE", str(tmp_path))
    made = load_template.__wrapped__(4.0)
    assert len(list(tmp_path.iterdir())) == 1
    read = load_template.__wrapped__(4.0)
    for field in fields(made):
        np.testing.assert_array_equal(getattr(made, field.name), getattr(read, field.name), err_msg=field.name)


def test_an_image_is_the_same_from_memory_and_from_a_cold_and_a_warm_cache(tmp_path):
    images = [BrainPhantomDataset(1, 4.0, cache_dir=folder)[0]["image"] for folder in (None, tmp_path, tmp_path)]
    assert len(list(tmp_path.rglob("*.npy"))) == 1
    assert all((image == images[0]).all() for image in images)
