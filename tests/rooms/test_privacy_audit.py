"""A privacy audit catches a generator that repeats its training images, in any disguise; a healthy one passes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from planted import draw, image_set, overfitted, sample
from scipy.ndimage import gaussian_filter, shift

from synthzoo.errors import UserError
from synthzoo.evaluation.privacy import audit as module
from synthzoo.evaluation.privacy.aligned import aligned_distances
from synthzoo.evaluation.privacy.audit import audit
from synthzoo.evaluation.privacy.rates import risk, wilson
from synthzoo.evaluation.privacy.rows import Rows, nearest_rows
from synthzoo.evaluation.privacy.verdict import LEAK, PASS, UNSURE, criteria_of
from synthzoo.io.files import plain
from synthzoo.metrics.memorisation import chance_of, nearest_distances

TRAINING, HOLDOUT = draw(0, 300), draw(1, 300)


def run(samples, training=TRAINING, holdout=HOLDOUT, **options):
    """The report of an audit of arrays."""
    unseen = None if holdout is None else image_set("unseen", holdout)
    return audit(image_set("made", samples), image_set("training", training), unseen, **options).report


def verdicts(report) -> dict:
    return {(test["test"], test["space"]): test["verdict"] for test in report["tests"]}


def test_a_generator_that_was_overfitted_to_16_images_is_caught():
    few = TRAINING[:16]
    report = run(sample(overfitted(few), 100, (32, 32)), few)
    found = verdicts(report)
    assert report["verdict"] == LEAK
    assert {found[name] for name in found if name[0] in ("nearest", "copies", "membership")} == {LEAK}
    copies = next(test for test in report["tests"] if (test["test"], test["space"]) == ("copies", "pixels"))
    assert copies["risk"]["interval"][0] > 0.9 and copies["control"]["successes"] == 0


def test_a_healthy_generator_passes_every_test():
    report = run(draw(100, 300))
    assert report["verdict"] == PASS
    assert set(verdicts(report).values()) == {PASS, None}
    assert any("no re-identification network" in line for line in report["not_tested"])


def test_a_smooth_generator_is_no_copier():
    report = run(gaussian_filter(draw(101, 200), (0, 2.5, 2.5)))
    found = verdicts(report)
    assert LEAK not in found.values()
    assert {found[test, space] for test in ("nearest", "copies") for space in ("pixels", "edges", "aligned")} == {PASS}


DISGUISES = {
    "noise": lambda image, rng: image + 0.05 * rng.standard_normal(image.shape),
    "two pixels aside": lambda image, rng: shift(image, (2, -2), order=1, mode="nearest"),
    "mirrored": lambda image, rng: image[:, ::-1],
    "upside down": lambda image, rng: image[::-1],
    "brighter": lambda image, rng: 3 * image + 1,
    "a curve over its grey values": lambda image, rng: image**0.6,
    "inverted": lambda image, rng: image.max() - image,
    "all at once": lambda image, rng: shift(2 - image[:, ::-1] ** 0.8, (1, 2), order=1, mode="nearest"),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_copies_are_caught_in_disguise_even_when_they_are_few(disguise):
    rng = np.random.default_rng(3)
    samples = draw(102, 100)
    for number in range(12):
        samples[number] = DISGUISES[disguise](TRAINING[number], rng)
    report = run(samples)
    assert report["verdict"] == LEAK, verdicts(report)
    exact = next(test for test in report["tests"] if (test["test"], test["space"]) == ("exact", "aligned"))
    assert exact["attack"]["successes"] >= 10 and exact["control"]["successes"] == 0


@pytest.mark.parametrize(("kind", "shape"), [("volume", (20, 24, 18)), ("video", (8, 24, 24))])
def test_volumes_and_videos_are_audited_alike(kind, shape):
    training, holdout = draw(4, 60, shape), draw(5, 100, shape)
    sets = image_set("training", training, kind), image_set("unseen", holdout, kind)
    moved = np.stack([shift(image, (0, 2, 1), order=1, mode="nearest") for image in training]).astype(np.float32)
    assert audit(image_set("moved", moved, kind), *sets).report["verdict"] == LEAK
    healthy = audit(image_set("healthy", draw(6, 120, shape), kind), *sets).report
    assert LEAK not in verdicts(healthy).values()


def test_without_a_holdout_a_leak_is_found_and_safety_never():
    copier = TRAINING[:40] + 0.03 * np.random.default_rng(0).standard_normal((40, 32, 32)).astype(np.float32)
    assert run(copier, holdout=None)["verdict"] == LEAK
    report = run(draw(103, 200), holdout=None)
    assert report["verdict"] == UNSURE
    assert any("safety cannot be shown" in line for line in report["not_tested"])


def test_a_holdout_too_small_for_thresholds_is_not_used_and_that_is_said():
    report = run(draw(104, 100), holdout=HOLDOUT[:25])
    assert report["verdict"] == UNSURE
    assert any("25 patients" in line and "at least 40" in line for line in report["notes"])


def test_duplicates_in_the_training_set_hide_no_leak_and_are_counted():
    doubled = np.concatenate([TRAINING[:50], TRAINING[:50], TRAINING[:50]])
    report = run(TRAINING[:50] + 0.01, doubled, holdout=None)
    assert report["verdict"] == LEAK
    assert any(line.startswith("100 of 150 training images are copies") for line in report["notes"])


def test_held_out_copies_of_training_images_hide_no_leak():
    mixed = np.concatenate([HOLDOUT[:150], TRAINING[:50]])
    report = run(TRAINING[50:90], holdout=mixed)
    assert report["verdict"] == LEAK
    assert any(line.startswith("50 of 200 held-out images are copies") for line in report["notes"])
    with pytest.raises(UserError, match="all 300 images of unseen are also in training"):
        run(draw(105, 50), holdout=TRAINING.copy())


def test_mixed_sizes_are_brought_to_one_grid_and_that_is_said():
    wide = [*draw(106, 100), *draw(107, 100, (40, 28))]
    report = run(wide)
    assert report["verdict"] != LEAK
    assert any("2 sizes" in line and "one grid of 32 x 32" in line for line in report["notes"])


def test_images_of_one_patient_count_as_one_attack():
    patients = np.repeat(np.arange(100), 3)
    sets = [image_set(name, images, patients=patients) for name, images in (("t", TRAINING), ("u", HOLDOUT))]
    report = audit(image_set("made", draw(108, 150)), *sets).report
    member = next(test for test in report["tests"] if test["test"] == "membership")
    assert member["attack"]["n"] == 100 and member["control"]["n"] == 50


def test_the_same_seed_gives_the_same_report_and_another_one_another_split():
    first, again, other = (json.dumps(plain(run(draw(109, 80), seed=seed))) for seed in (1, 1, 2))
    assert first == again != other


def test_a_domain_adds_its_own_test(monkeypatch):
    def marked(compared):
        return {"test": "fingerprint", "space": "mark", "samples_seen": len(compared.samples)}

    monkeypatch.setitem(module.PROBES, "fingerprint", marked)
    found = [test for test in run(draw(110, 40))["tests"] if test["test"] == "fingerprint"]
    assert found == [{"test": "fingerprint", "space": "mark", "samples_seen": 40, "verdict": None}]


def test_criteria_are_data_and_wrong_ones_are_named():
    strict = {"tests": {"nearest": {"leak": [{"figure": "ratio_high", "below": 9}], "pass": []}}}
    assert run(draw(111, 60), criteria=strict)["verdict"] == LEAK
    for wrong, said in (
        ({"test": {}}, "unknown key test"),
        ({"tests": {"nearness": {}}}, "unknown key tests.nearness"),
        ({"copies_share": 2}, "copies_share is 2"),
        ({"least_patients": 3}, "least_patients is 3"),
        ({"tests": {"copies": {"leak": []}}}, "needs 'leak' and 'pass'"),
        ({"tests": {"copies": {"leak": [{"figure": "risk"}], "pass": []}}}, "takes 'figure'"),
        ([], "JSON object"),
    ):
        with pytest.raises(UserError, match=said):
            criteria_of(wrong, "mine.json")


def test_rates_are_wilsons_and_the_risk_is_what_the_control_leaves():
    rate = wilson(8, 10)
    assert np.allclose([rate.centre - rate.error, rate.centre + rate.error], [0.49016, 0.94331], atol=1e-4)
    assert wilson(0, 0).as_dict() == {"successes": 0, "n": 0, "rate": None, "interval": [0.0, 1.0]}
    value, low, high = risk(wilson(500, 1000), wilson(200, 1000))
    assert value == pytest.approx((0.5 - 0.2) / 0.8, abs=2e-3) and low < value < high
    assert risk(wilson(10, 100), wilson(30, 100))[0] == 0


def test_chance_of_any_rank_counts_how_often_unseen_images_would_do_as_well():
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(4000):
        values = rng.random(70)
        counts.append((values[:50] < np.sort(values[50:])[2]).sum())
    for many in (5, 12):
        assert chance_of(many, 50, 20, 3) == pytest.approx(np.mean(np.array(counts) >= many), abs=0.025)
    assert chance_of(4, 50, 20, 1) == pytest.approx(chance_of(4, 50, 20), abs=1e-12)


def test_nearest_rows_agree_with_a_whole_matrix_whatever_the_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(Rows.blocks, "__defaults__", (7,))
    one, two = draw(7, 40, (6, 6, 1)).astype(np.float32), draw(8, 53, (6, 6, 1))
    rows = []
    for number, images in enumerate((one, two)):
        flat = images.reshape(len(images), -1)
        flat = (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)
        rows.append(Rows(tmp_path / str(number), flat.shape[1]))
        rows[-1].append(flat[:11])
        rows[-1].append(flat[11:])
    found = nearest_rows(rows[:1], rows[1:], 3)
    distances, numbers = nearest_distances(one, two)
    assert (found.numbers[:, 0] == numbers).all() and np.allclose(found.distances[:, 0], distances, atol=1e-4)
    assert (np.diff(found.distances, axis=1) >= 0).all()
    own = nearest_rows(rows[:1], rows[:1], 1, other_than_self=True)
    assert (own.numbers[:, 0] != np.arange(40)).all()
    among = np.zeros(53, bool)
    among[[3, 50]] = True
    assert set(nearest_rows(rows[:1], rows[1:], 4, among).numbers.ravel()) == {-1, 3, 50}


def test_aligned_distance_is_zero_for_a_shifted_copy_and_not_for_another_image():
    first, other = draw(9, 2, (24, 24, 24))
    moved = shift(first, (2, -3, 1), order=0, mode="nearest")
    pairs = np.stack([first, first]), np.stack([moved, other])
    near, far = aligned_distances(*(images - images.mean((1, 2, 3), keepdims=True) for images in pairs))
    assert near < 0.05 < 0.5 < far


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device that is always full is missing")
def test_a_full_disk_is_a_sentence(tmp_path):
    rows = Rows(tmp_path / "rows", 4)
    rows.path = Path("/dev/full")
    with pytest.raises(UserError, match="cannot be written .*No space.*TMPDIR"):
        rows.append(np.zeros((2000, 4), np.float32))
