"""Large lesions to test maps on: their volumes, their views, and what is said of a map's inside and rim."""

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from synthzoo.evaluation import large_lesions as large
from synthzoo.metrics.localisation import asymmetry, inside_over_rim
from synthzoo.phantoms.brain.contrast import TISSUES, tissue_signals
from synthzoo.phantoms.brain.stripped import RELAXATION, field_of_view, paint_remains, remains

MM = 4.0


@pytest.fixture(scope="module")
def brain():
    """An ellipsoid of a brain's size at 4 mm, bool (48, 56, 48)."""
    shape = np.array([48, 56, 48])
    offset = np.stack(np.meshgrid(*[np.arange(n) - n / 2 for n in shape], indexing="ij"))
    return ((offset / np.array([17, 21, 16]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 1


@pytest.fixture(scope="module")
def coarse():
    """The module at 4 mm, where all is eight times as fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "SPACING_MM", MM)
        yield
    large.make_subject.cache_clear()


@pytest.fixture(scope="module")
def subject(coarse):
    return large.make_subject(large.FIRST_SEED + 500, "ring tumour", 90.0)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.35])
def test_a_field_of_view_lacks_the_share_of_the_brain_that_was_requested(brain, share):
    rng = np.random.default_rng(1)
    for _ in range(5):
        seen = field_of_view(brain, rng.standard_normal(3), share)
        assert (brain & ~seen).sum() == pytest.approx(share * brain.sum(), abs=2)
    below = field_of_view(brain, (0, 0, 5.0), 0.3)
    assert np.flatnonzero((brain & below).any((0, 1))).max() < np.flatnonzero(brain.any((0, 1))).max()


def test_remains_lie_outside_the_brain_where_a_head_has_them(brain):
    parts = remains(brain, MM, np.random.default_rng(2))
    assert sum(part.astype(int) for part in parts.values()).max() == 1
    assert not any((part & brain).any() for part in parts.values())
    lowest = np.flatnonzero(brain.any((0, 1))).min()
    assert parts["muscle"].any() and np.argwhere(parts["muscle"])[:, 2].mean() < lowest
    assert all(part.any() for part in parts.values())
    arteries = parts["blood"][..., : lowest + 2].any(2)
    assert arteries[:24].any() and arteries[24:].any()  # on both sides


def test_vessels_shine_with_contrast_agent_and_not_without(brain):
    parts = remains(brain, MM, np.random.default_rng(2))
    image = 0.7 * brain.astype(np.float32)
    plain, shining = (paint_remains(image, parts, "T1w", np.random.default_rng(3), agent) for agent in (False, True))
    assert shining[parts["blood"]].mean() > 1.5 * plain[parts["blood"]].mean()
    assert np.array_equal(plain[brain], image[brain])
    nothing = ~brain & ~np.any(list(parts.values()), 0)
    assert (plain[nothing] == 0).all()


def test_further_tissues_get_their_signal_and_leave_the_others_as_they_were():
    for contrast in ("T1w", "FLAIR", "random"):
        before = tissue_signals(contrast, 50.0, np.random.default_rng(4))
        after = tissue_signals(contrast, 50.0, np.random.default_rng(4), relaxation=RELAXATION)
        assert set(after) == set(TISSUES) | set(RELAXATION)
        assert {name: after[name] for name in before} == before
    long = tissue_signals("FLAIR", 50.0, np.random.default_rng(4), relaxation={"core": (0.96, 3900.0, 500.0)})
    short = tissue_signals("FLAIR", 50.0, np.random.default_rng(4), relaxation={"core": (0.96, 2200.0, 500.0)})
    assert long["core"] < 0.3 * long["WM"] < short["core"]  # necrosis as dark as fluid, or not


def test_requests_cover_5_to_200_ml_with_an_even_tumour_the_largest():
    plan = large.requests(12)
    for low, high in large.BINS_ML:
        own = [kind for kind, ml in plan if low < ml <= high]
        assert len(own) == 3 and {"even tumour", "ring tumour"} < set(own)
    assert max(plan, key=lambda row: row[1]) == ("even tumour", 200.0)
    assert len({kind for kind, _ in plan}) == 6
    assert plan == large.requests(12)


@pytest.mark.parametrize("kind", ["even tumour", "ring tumour", "infiltrating tumour", *large.OTHERS])
def test_each_kind_has_its_millilitres(kind):
    lesion = large.make_lesion(kind, 80.0, np.random.default_rng(5))
    assert lesion.total_ml == pytest.approx(80)
    assert set(lesion.ml) <= {*large.draw_relaxation(np.random.default_rng(5)), "enhancing"}


def test_a_subject_holds_its_lesion_and_its_views_show_it(subject):
    voxel_ml = MM**3 / 1000
    assert sum(part.sum() for part in subject.anatomy.lesions.values()) * voxel_ml == pytest.approx(90, rel=1e-3)
    assert 55 < subject.truth.sum() * voxel_ml < 105  # what is more lesion than not, on a coarse grid
    whole, cut, more = (large.make_view(subject, "T1Gd", view) for view in large.VIEWS)
    assert not whole.beyond.any() and (whole.image[~whole.mask] == 0).all()
    assert 0.6 * whole.mask.sum() < cut.mask.sum() < 0.92 * whole.mask.sum()
    assert large.LEAST_LEFT * whole.truth.sum() <= cut.truth.sum() <= whole.truth.sum()
    assert (more.mask == whole.mask | more.beyond).all() and more.beyond.sum() * voxel_ml > 20
    assert np.array_equal(more.truth, whole.truth)
    assert np.array_equal(more.image[whole.mask], whole.image[whole.mask])
    again = large.make_view(subject, "T1Gd", "cut")
    assert np.array_equal(cut.image, again.image)


def test_inside_over_rim_tells_an_even_map_from_a_hollow_one(brain):
    depth = ndi.distance_transform_edt(brain) * MM
    assert inside_over_rim(np.full(brain.shape, 0.4), brain, MM) == pytest.approx(1)
    hollow = np.where(depth <= 6, 0.8, np.where(depth >= 12, 0.2, 0.5))
    assert inside_over_rim(hollow, brain, MM) == pytest.approx(0.25)
    small = np.zeros(brain.shape, bool)
    small[20:24, 20:24, 20:24] = True
    assert inside_over_rim(hollow, small, MM) is None
    assert inside_over_rim(np.zeros(brain.shape), brain, MM) is None


def test_a_one_sided_lesion_shows_as_asymmetry_and_a_symmetric_brain_not(brain):
    even = brain & brain[::-1]
    volume = 0.5 * even.astype(np.float32)
    assert asymmetry(volume, even).max() == 0
    volume[30:34, 26:30, 22:26] += 1
    found = asymmetry(volume, even)
    assert found[31, 27, 23] > 0.3 and found[16, 27, 23] > 0.3 and found[31, 40, 23] < 0.01
    assert (found[~even] == 0).all()


def test_tables_are_by_volume_by_view_and_by_kind():
    plan = large.requests(8)
    hollow = [[0.8, 0.3, np.nan, 0.1], [0.5, 0.2, np.nan, 0.1], [0.6, 0.3, 4.0, 0.1]]
    case = {"map": torch.tensor(hollow), "plain": torch.tensor([[0.4, 1, np.nan, 0.1]] * 3)}
    found = large.summarise(plan, {"FLAIR": [case] * 8}, "map", {"plain": "plain"})
    assert [len(table["rows"]) for table in found.tables] == [5, 2, 3]
    assert found.figures["FLAIR_lesions_cut_ap"] == 0.5 and found.figures["FLAIR_remains_over_brain"] == 4
    assert found.figures["FLAIR_inside_over_rim"] == 0.3 and found.figures["FLAIR_lesions_large_plain_ap"] == 0.4
    assert all(len(row) == len(table["columns"]) for table in found.tables for row in table["rows"])


def test_a_map_is_measured_in_every_view(monkeypatch, subject):
    monkeypatch.setattr(large, "make_subject", lambda *_: subject)
    read = lambda view: ({"oracle": view.truth * 1.0}, view.truth, view.mask, view.beyond)  # noqa: E731
    kept = {}
    cached = lambda name, make: kept.setdefault(name, make())  # noqa: E731
    found = large.measure_large_lesions(read, 4, "oracle", contrasts=("FLAIR",), cached=cached)
    assert len(kept) == 4
    assert {found.figures[f"FLAIR_lesions_{view}_ap"] for view in large.SHORT} == {1.0}
    assert found.figures["FLAIR_inside_over_rim"] == 1 and found.figures["FLAIR_remains_over_brain"] == 0
