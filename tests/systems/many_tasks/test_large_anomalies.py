"""Large anomalies are filled, scored as a scan with such a lesion, and remains and cuts beside them are normal."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from synthzoo.inferers.brain_map import robust_scores, to_network
from synthzoo.systems.many_tasks.context import RandContextd
from synthzoo.systems.many_tasks.large import BRAIN_VOXELS, draw_blob, filled_label, scored_again, volume_share
from synthzoo.systems.many_tasks.tasks import INTENSITY, INTER, INTRA, SINK, RandAnomalyTaskd

SHAPE = (80, 96)


@pytest.fixture
def brain():
    offset = np.stack(np.meshgrid(*[np.arange(n) - n / 2 for n in SHAPE], indexing="ij"))
    return ((offset / np.array([34, 42]).reshape(2, 1, 1)) ** 2).sum(0) < 1


@pytest.fixture
def item(brain):
    rng = np.random.RandomState(0)
    tissue = np.where(ndi.gaussian_filter(rng.standard_normal(SHAPE), 2) > 0, 0.8, -0.8) + 0.2 * rng.standard_normal(
        SHAPE
    )
    image = (tissue * brain).astype(np.float32)[None]
    return {
        "image": image,
        "brain": brain[None],
        "source": lambda: image[:, ::-1].copy(),
        "foreign": lambda: rng.standard_normal((1, *SHAPE)).astype(np.float32),
        "index": 40,
        "axis": 2,
    }


def planted(item, task, seed, **options):
    transform = RandAnomalyTaskd("image", tasks=[task], sigma=0.5, large=1.0, **options)
    transform.set_random_state(seed)
    out = transform(item)
    return np.asarray(out["image"])[0], np.asarray(out["label"])[0]


@pytest.mark.parametrize("task", [INTRA, INTER, INTENSITY])
def test_a_large_anomaly_is_labelled_from_its_edge_to_its_middle(item, brain, task):
    seen = 0
    for seed in range(12):
        image, label = planted(item, task, seed)
        assert (label[~brain] == 0).all() and (image[~brain] == 0).all() and (image[brain] != 0).all()
        depth = ndi.distance_transform_edt(label > 0)
        if label.max() < 0.3 or depth.max() < 8:
            continue
        seen += 1
        assert label[depth >= 6].mean() > 0.9 * label[(depth > 1) & (depth <= 3)].mean()
    assert seen >= 4


def test_deformations_stay_as_they_are_and_without_large_anomalies_so_does_everything(item):
    image, label = planted(item, SINK, 3)
    transform = RandAnomalyTaskd("image", tasks=[SINK], sigma=0.5)
    transform.set_random_state(3)
    plain = transform(item)
    assert np.array_equal(image, np.asarray(plain["image"])[0]) and np.array_equal(label, np.asarray(plain["label"])[0])


def test_blobs_are_as_large_as_lesions_of_30_ml_and_more_and_lie_within_the_brain(brain):
    rng = np.random.RandomState(1)
    areas = []
    for _ in range(40):
        blob = draw_blob(brain, rng)
        assert not (blob & ~brain).any()
        areas.append(blob.sum())
    assert np.median(areas) > 300 and max(areas) > 900


def test_a_filled_label_has_one_level_at_least_and_leaves_the_rest(brain):
    label = np.zeros((1, *SHAPE), np.float32)
    label[0, 30:50, 30:50] = np.linspace(0, 0.9, 20)
    blob = np.zeros(SHAPE, bool)
    blob[30:50, 30:50] = True
    filled = filled_label(label, blob)
    assert filled[0, blob].min() == pytest.approx(np.percentile(label[0, blob], 75))
    assert (filled[0, ~blob] == 0).all() and filled.max() == label.max()
    assert np.array_equal(filled_label(label, np.zeros(SHAPE, bool)), label)


def test_a_volume_with_a_lesion_and_a_slice_of_it_are_scored_alike():
    rng = np.random.RandomState(2)
    values = rng.standard_normal(100_000)
    centre, spread = robust_scores(values)
    healthy = (values - centre) / spread
    lesion = 2.5 + 0.2 * rng.standard_normal(17_600)  # 15 % of the volume
    whole = np.concatenate([healthy, lesion])
    low, width = robust_scores(whole)
    expected = ((lesion - low) / width).mean()
    brain, blob = np.ones((60, 60), bool), np.zeros((60, 60), bool)
    blob[20:40, 20:40] = True
    image = rng.choice(healthy, (1, 60, 60))
    changed = np.where(blob, 2.5 + 0.2 * rng.standard_normal((60, 60)), image)
    again = scored_again(changed, image, blob, brain, 0.15)
    assert again[0, blob].mean() == pytest.approx(expected, abs=0.12)
    assert again[0, blob].mean() < changed[0, blob].mean() - 0.5
    assert np.array_equal(scored_again(changed, image, blob, brain, 0.0), changed)


def test_the_share_of_a_volume_follows_from_that_of_a_slice():
    rng = np.random.RandomState(3)
    offset = np.hypot(*np.meshgrid(np.arange(80) - 40, np.arange(80) - 40, indexing="ij"))
    shares = [volume_share(offset < 18, np.ones((80, 80), bool), rng) for _ in range(50)]
    assert np.mean(shares) == pytest.approx(4 / 3 * np.pi * 18**3 / BRAIN_VOXELS, rel=0.1)
    volume = np.zeros((20, 20, 20), bool)
    volume[:10, :10, :10] = True
    assert volume_share(volume, np.ones_like(volume), rng) == pytest.approx(0.125)


def context(item, seed, **options):
    transform = RandContextd("image", **options)
    transform.set_random_state(seed)
    out = transform(item)
    return out["image"][0], out["brain"][0], out["index"]


def test_remains_are_beside_the_brain_and_no_part_of_it(item, brain):
    added = 0
    for seed in range(8):
        image, mask, index = context(item, seed, remains=1.0, cut=0.0)
        assert np.array_equal(mask, brain) and index == 40
        assert np.array_equal(image[brain], item["image"][0][brain])
        added += int((image[~brain] != 0).sum())
        out = RandAnomalyTaskd("image", tasks=[INTER], sigma=0.5, large=0.5)
        out.set_random_state(seed)
        label = np.asarray(out({**item, "image": image[None]})["label"])[0]
        assert (label[~brain] == 0).all()
    assert added > 200


def test_a_cut_slice_lies_where_a_cut_scan_does(item, brain):
    moved = 0
    for seed in range(8):
        image, mask, _ = context(item, seed, remains=0.0, cut=1.0)
        assert 0.3 * brain.sum() < mask.sum() < brain.sum()
        assert np.array_equal(image != 0, mask & (image != 0)) and (image[~mask] == 0).all()
        found = np.argwhere(mask)
        middle = (found.min(0) + found.max(0) + 1) / 2
        assert (np.abs(middle - np.array(SHAPE) / 2) <= 1).all()  # as `to_network` centres what is left
        moved += int((np.abs(found.mean(0) - np.array(SHAPE) / 2) > 2).any())
    assert moved > 0
    volume = np.zeros((100, 100, 100), np.float32)
    volume[30:70, 20:80, 10:50] = np.random.RandomState(0).rand(40, 60, 40) + 1
    inside = to_network(volume, volume > 0, (80, 96, 80))[1]
    found = np.argwhere(inside)
    assert (np.abs((found.min(0) + found.max(0) + 1) / 2 - np.array([40, 48, 40])) <= 1).all()
