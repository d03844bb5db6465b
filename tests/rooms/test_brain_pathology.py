"""Sick brains hold what was requested: millilitres of every part, tissue that makes way, scans that show it."""

import numpy as np
import pytest

from synthzoo.errors import UserError
from synthzoo.phantoms.brain.pathology import pool
from synthzoo.phantoms.brain.pathology.growing import Host
from synthzoo.phantoms.brain.pathology.lesion import KINDS, PARTS, Growth, Lesion, draw_lesions
from synthzoo.phantoms.brain.pathology.looks import HEALTHY, ROWS, draw_look
from synthzoo.phantoms.brain.pathology.mass_effect import smallest_jacobian
from synthzoo.phantoms.brain.pathology.recasting import WAYS, recast
from synthzoo.phantoms.brain.pathology.scans import LABELS, TISSUES, sick_scan, sick_slice
from synthzoo.phantoms.brain.pathology.subject import sicken
from synthzoo.phantoms.brain.pathology.views import in_view, rests
from synthzoo.phantoms.brain.phantom import draw_params, make_anatomy
from synthzoo.phantoms.brain.pool import GRID, MAPS

NAMES, MM = ("GM", "WM", "CSF", "ventricle"), 4.0
VOXEL_ML = MM**3 / 1000
REQUESTS = {
    "tumour": Lesion("tumour", {"oedema": 60, "solid": 9, "enhancing": 12, "core": 8, "haemorrhage": 2}),
    "haemorrhage": Lesion("haemorrhage", {"oedema": 10, "haemorrhage": 25}, Growth(place="deep", ventricle=0.8)),
    "resection": Lesion("resection", {"cavity": 40, "enhancing": 6, "oedema": 20}, Growth("cortex", push_mm=-3)),
    "WMH": Lesion("WMH", {"WMH": 22.5}, Growth(rough=1.0, edge_mm=0.5)),
    "stroke": Lesion("stroke", {"stroke": 55}, Growth("cortex", push_mm=2)),
}


@pytest.fixture(scope="module")
def tissues():
    return make_anatomy(draw_params(3), MM).tissues


@pytest.fixture(scope="module")
def fine():
    """A sick brain at 2 mm with all maps."""
    return pool.sick_subject(4)


def sick(tissues, *lesions, seed=5):
    return sicken(tissues, lesions, seed, NAMES, MM)


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_has_the_requested_volume(tissues, kind):
    brain = sick(tissues, REQUESTS[kind])
    labels = brain.labels()
    for part, ml in REQUESTS[kind].ml.items():
        assert brain.ml[part] == pytest.approx(ml, abs=2e-3)
        assert (labels == 1 + PARTS.index(part)).sum() * VOXEL_ML == pytest.approx(ml, abs=0.501 * VOXEL_ML)
    assert set(brain.ml) == set(REQUESTS[kind].ml)


def test_several_diseases_share_a_brain_and_keep_their_volumes(tissues):
    brain = sick(tissues, *REQUESTS.values())
    for part in PARTS:
        requested = sum(lesion.ml.get(part, 0) for lesion in REQUESTS.values())
        assert brain.ml[part] == pytest.approx(requested, abs=5e-3)
    assert brain.parts.min() >= 0
    assert brain.parts.sum(0).max() <= 1.001


@pytest.mark.parametrize("ml", [1.0, 250.0])
def test_tumours_are_small_or_large(tissues, ml):
    brain = sick(tissues, Lesion("tumour", {"oedema": ml}, Growth(push_mm=2)))
    assert brain.ml == {"oedema": pytest.approx(ml, abs=2e-3)}


def test_a_large_tumour_is_an_even_plateau(tissues):
    brain = sick(tissues, Lesion("tumour", {"solid": 200}, Growth(edge_mm=2, fluid=1, ventricle=1, rough=0.1)))
    whole = brain.parts.sum(0)
    assert (whole > 0.98).sum() * VOXEL_ML > 150


def test_tissue_makes_way_without_folding_and_the_surface_stays(tissues):
    centre = np.array(
        np.unravel_index(np.argmax(tissues[1] * (np.arange(48) > 30).reshape(-1, 1, 1)), tissues.shape[1:])
    )
    lesion = Lesion("tumour", {"solid": 60}, Growth(push_mm=9), centre=centre)
    brain = sick(tissues, lesion)
    moved = np.sqrt((brain.displacement_mm**2).sum(0))
    assert 4 < moved.max() < 12
    assert smallest_jacobian(brain.displacement_mm, MM) > 0.05
    before, after = (maps.sum(0) > 0.5 for maps in (tissues, brain.maps))
    assert 2 * (before & after).sum() / (before.sum() + after.sum()) > 0.98
    away = np.argwhere(brain.maps[1] * tissues[1] > 0.9) - centre
    assert len(away)  # there is white matter left around it
    assert sick(tissues, Lesion("tumour", {"solid": 60}, Growth(push_mm=0), centre=centre)).displacement_mm is None


def test_ventricles_are_moved_and_can_be_cut(tissues):
    host = Host(tissues, NAMES, MM)
    beside = np.argwhere((host.ventricle > 0.9) & (np.arange(48) > 25).reshape(-1, 1, 1)).mean(0) + [4, 0, 0]
    pushed = sick(tissues, Lesion("tumour", {"solid": 30}, Growth(push_mm=8), centre=beside))
    assert abs(pushed.maps[3] - tissues[3]).sum() * VOXEL_ML > 2
    taken = []
    for share in (0.0, 1.0):
        cut = sick(tissues, Lesion("tumour", {"solid": 110}, Growth(ventricle=share, midline=0), centre=beside))
        taken.append((cut.parts.sum(0) * tissues[3]).sum() / tissues[3].sum())
    assert taken[0] < 0.05
    assert taken[1] > max(0.08, 4 * taken[0])


def test_a_tumour_crosses_the_midline_or_stops_there(tissues):
    host = Host(tissues, NAMES, MM)
    near = np.array([host.middle + 1, 28, 27])
    beyond = {}
    for midline in (0.0, 3.0):
        growth = Growth(midline=midline, along_white=0, rough=0.1, ventricle=1, fluid=1)
        parts = sick(tissues, Lesion("tumour", {"solid": 80}, growth, centre=near)).parts.sum(0)
        beyond[midline] = parts[: int(np.ceil(host.middle))].sum() / parts.sum()
    assert beyond[0.0] > 0.25
    assert beyond[3.0] < 0.5 * beyond[0.0]


def test_oedema_runs_along_white_matter_and_spares_cortex(tissues):
    shares = []
    for along in (0.0, 1.2):
        lesion = Lesion("tumour", {"oedema": 70}, Growth(along_white=along, fine=0), centre=(32, 28, 30))
        brain = sick(tissues, lesion)
        shares.append((brain.parts.sum(0) * brain.maps[1]).sum() / brain.parts.sum())
    assert shares[1] > shares[0] + 0.15


def test_lesions_lie_within_one_another(tissues):
    brain = sick(tissues, REQUESTS["tumour"])
    oedema, _, shining, core = (brain.parts[PARTS.index(p)] for p in ("oedema", "solid", "enhancing", "core"))
    centre = (np.indices(core.shape) * core).sum((1, 2, 3)) / core.sum()
    away = np.sqrt(((np.indices(core.shape) - centre.reshape(3, 1, 1, 1)) ** 2).sum(0))
    assert (
        (away * core).sum() / core.sum() < (away * shining).sum() / shining.sum() < (away * oedema).sum() / oedema.sum()
    )


def test_seeds_decide(tissues):
    first, again, other = (sick(tissues, REQUESTS["tumour"], seed=seed).volume() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_training_distribution_has_all_kinds_and_sizes():
    drawn = [draw_lesions(seed) for seed in range(600)]
    assert 0.06 < np.mean([not lesions for lesions in drawn]) < 0.18
    assert {lesion.kind for lesions in drawn for lesion in lesions} == set(KINDS)
    assert {part for lesions in drawn for lesion in lesions for part in lesion.ml} == set(PARTS)
    totals = np.array([sum(x.total_ml for x in lesions if x.kind == "tumour") for lesions in drawn])
    assert totals[totals > 0].min() < 3
    assert 200 < totals.max() <= 251
    assert (totals > 170).sum() > 15
    assert max(len(lesions) for lesions in drawn) >= 4


def test_wrong_requests_are_named(tissues):
    with pytest.raises(UserError, match=r"kind = 'abscess': a lesion is one of tumour"):
        Lesion("abscess", {"core": 1})
    with pytest.raises(UserError, match=r"ml has 'WMH': a lesion of the kind stroke has the parts stroke"):
        Lesion("stroke", {"WMH": 1})
    with pytest.raises(UserError, match=r"stroke = 900 mL: give 0 to 300"):
        Lesion("stroke", {"stroke": 900})
    with pytest.raises(UserError, match=r"more than 0 and at most 300"):
        Lesion("tumour", {})
    with pytest.raises(UserError, match=r"place = 'spine'"):
        Growth(place="spine")
    with pytest.raises(UserError, match=r"WMH = 290 mL: only \d+ mL of tissue can hold it"):
        sick(tissues * 0.4, Lesion("WMH", {"WMH": 290}))


def test_a_slice_is_painted_within_its_mask_and_by_its_seed(fine):
    maps = (fine.volume() * 255).astype(np.uint8)
    level = int(fine.parts.sum((0, 1, 2)).argmax())
    voxels = fine.volume().reshape(len(ROWS), -1)[:, fine.maps[:5].sum(0).ravel() > 0.5][:, ::97]
    first, again = (sick_slice(maps[..., level], voxels, np.random.RandomState(3), "FLAIR") for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    assert first.image.shape == GRID[:2]
    for values in (first.image, first.rank, first.labels):
        assert not values[~first.mask].any()
    assert first.rank.min() >= 0
    assert first.rank.max() <= 1
    assert first.labels.max() >= len(TISSUES)
    assert set(np.unique(first.labels)) <= set(LABELS.values())


def test_a_scan_shows_its_lesions_in_each_contrast(fine):
    labels = fine.labels()
    for kind, above in (("FLAIR", True), ("T2w", True), ("T1w", False)):
        scan = sick_scan(fine, np.random.RandomState(2), kind, cut=0, recasts=False)
        oedema = scan.mask & (labels == 1 + PARTS.index("oedema"))
        white = scan.mask & (fine.maps[MAPS.index("wm")] > 0.9) & (labels == 0)
        assert (scan.image[oedema].mean() > scan.image[white].mean()) == above


def test_on_flair_necrosis_is_often_dark_and_cortex_quiet(fine):
    voxels = fine.volume().reshape(len(ROWS), -1)[:, fine.maps[:5].sum(0).ravel() > 0.5][:, ::997]
    looks = [draw_look(np.random.RandomState(seed), voxels, "FLAIR") for seed in range(60)]
    core = np.array([look.level[PARTS.index("core")] / look.contrast.tissue[2] for look in looks])
    cortex = np.array([look.contrast.tissue[0] / look.contrast.tissue[2] for look in looks])
    assert 0.4 < (core < 1).mean() < 0.8
    assert cortex.mean() < 1.25
    assert all(np.isfinite(look.quantiles).all() for look in looks)


@pytest.mark.parametrize("way", WAYS)
def test_an_outline_is_filled_in_other_ways(fine, way):
    parts, voxels = fine.parts, fine.parts.reshape(len(PARTS), -1)[:, fine.parts.sum(0).ravel() > 0.5][:, ::17]
    new, sample = recast(parts, voxels, np.random.RandomState(1), way)
    np.testing.assert_allclose(new.sum(0), parts.sum(0), atol=1e-5)
    np.testing.assert_allclose(sample.sum(0), voxels.sum(0), atol=1e-5)
    after = new[PARTS.index("core")].sum() / parts.sum()
    assert after < 0.01 if way == "flat" else after > 0.02
    assert np.abs(new - parts).max() > 0.5
    # The sample holds as much of the core as the scan.
    assert sample[PARTS.index("core")].sum() / voxels.sum() == pytest.approx(after, abs=0.12)
    if way == "rim":
        assert new[PARTS.index("enhancing")].sum() > 0


def test_a_scan_is_ranked_among_its_own_voxels(fine):
    volume = sick_scan(fine, np.random.RandomState(4), "FLAIR", cut=0)
    assert volume.rank[volume.mask].mean() == pytest.approx(0.5, abs=0.06)
    maps = (fine.volume() * 255).astype(np.uint8)
    voxels = fine.volume().reshape(len(ROWS), -1)[:, fine.maps[:5].sum(0).ravel() > 0.5][:, ::97]
    level = maps.shape[-1] // 2
    ranks = []
    for seed in range(12):
        scan = sick_slice(maps[..., level], voxels, np.random.RandomState(seed), "FLAIR")
        ranks.append(scan.rank[scan.mask].mean())
    assert np.mean(ranks) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("shape", [(80, 96), (40, 48, 40)])
def test_views_cut_the_brain_and_rests_lie_beside_it(shape):
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    weight = (sum(a**2 for a in axes) < 0.6).astype(np.float32)
    brain = weight > 0.4
    kept = [(in_view(brain, np.random.RandomState(seed), share=1.0) & brain).sum() / brain.sum() for seed in range(30)]
    assert 0.3 < min(kept) < 0.85
    assert max(kept) <= 1
    assert in_view(brain, np.random.RandomState(0), share=0.0).all()
    found = []
    for seed in range(20):
        intensity, where = rests(weight, 1.0, np.random.RandomState(seed))
        assert not (where & brain).any()
        assert (intensity >= 0).all()
        found.append(where.any())
    assert any(found)


def test_a_pool_is_filled_in_pieces(tmp_path, monkeypatch):
    made = []
    original = pool.sick_subject
    monkeypatch.setattr(pool, "sick_subject", lambda seed: made.append(seed) or original(seed))
    with pytest.raises(UserError, match="has no subject 0 to 1"):
        pool.open_pool(0, 2, tmp_path)
    assert pool.fill_pool(0, 1, tmp_path) == 1
    assert pool.fill_pool(0, 2, tmp_path, seconds=-1) == 1
    assert pool.fill_pool(0, 2, tmp_path) == 2
    assert made == [0, 1]
    subjects = pool.open_pool(0, 2, tmp_path)
    assert [subject.volume.shape for subject in subjects] == [(len(ROWS), *GRID)] * 2
    brains, lesions = pool.slice_numbers(subjects[1], axis=2)
    assert set(lesions) <= set(brains)
    index = int(brains[len(brains) // 2])
    assert pool.cut(subjects[1], 2, index)[:5].sum(0).max() >= 250
    shown = subjects[1].volume[HEALTHY:].sum(dtype=float) / 255 * 0.008
    assert shown == pytest.approx(sum(subjects[1].ml.values()), rel=0.02, abs=0.1)
