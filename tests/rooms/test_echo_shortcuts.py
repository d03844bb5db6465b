"""Rules that were never trained beside a generator of echo videos: each shows what it is without."""

import numpy as np
import pytest
import torch
from small_video_model import small_video_model

from synthzoo.datasets.echo.phantoms import EchoPhantomDataset
from synthzoo.evaluation.echo import requested_efs, stacked
from synthzoo.evaluation.echo_shortcuts import (
    COLUMNS,
    ClipGaussian,
    Known,
    drawn_latents,
    drawn_motion,
    held,
    moved,
    nearest_ef,
    scaled,
    shortcut_table,
)

COUNT = 10


@pytest.fixture(scope="module")
def known():
    return Known.first(EchoPhantomDataset("tiny", "TRAIN", 24), 24)


def test_only_so_many_training_videos_are_looked_at(known):
    rows = EchoPhantomDataset("tiny", "TRAIN", 24)
    few = Known.first(rows, 3)
    assert len(few.videos) == len(few.ef) == 3 and len(known.videos) == 24 == len(Known.first(rows).ef)
    assert torch.equal(few.videos, known.videos[:3]) and few.ef[1] == pytest.approx(rows.params(1).ef)


def test_motion_is_borrowed_scaled_or_taken_away_and_the_mean_frame_stays():
    videos = torch.rand(3, 1, 8, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    mean, motion = videos.mean(2), videos - videos.mean(2, keepdim=True)
    assert torch.equal(held(mean, 5)[:, :, 4], mean) and held(mean, 5).shape == (3, 1, 5, 4, 4)
    twice = scaled(videos, np.array([2.0, 1.0, 0.0]))
    assert torch.allclose(twice.mean(2), mean, atol=1e-6) and torch.allclose(twice[1], videos[1], atol=1e-6)
    assert torch.allclose(twice[0] - mean[0, :, None], 2 * motion[0], atol=1e-6) and float(twice[2].var(1).max()) < 1e-9
    other = moved(mean, videos.flip(0))
    assert torch.allclose(other - mean[:, :, None], motion.flip(0), atol=1e-6)
    assert float(scaled(videos, np.full(3, 50.0)).max()) == 1, "what leaves the grey scale is cut"
    assert nearest_ef([0.2, 0.61], [0.6, 0.3, 0.1]).tolist() == [1, 0]


def test_the_closed_form_follows_what_depends_on_the_ejection_fraction_and_repeats_for_a_seed():
    generator, ef = torch.Generator().manual_seed(0), np.random.default_rng(0).uniform(0.1, 0.85, 80)
    slope = torch.randn(1, 4, 3, 3, generator=generator)
    clips = 5 + torch.tensor(ef, dtype=torch.float32).reshape(-1, 1, 1, 1, 1) * slope
    gaussian = ClipGaussian(clips + 0.01 * torch.randn(clips.shape, generator=generator), ef, modes=4)
    low, high = (gaussian.draw(np.full(200, value)).mean(0) for value in (0.2, 0.7))
    assert torch.allclose(high - low, 0.5 * slope, atol=0.03) and torch.allclose(low, 5 + 0.2 * slope, atol=0.03)
    assert torch.equal(gaussian.draw(ef, seed=1), gaussian.draw(ef, seed=1))
    assert not torch.equal(gaussian.draw(ef, seed=1), gaussian.draw(ef, seed=2))


def test_each_rule_lacks_something_that_phantoms_have(known):
    ef = requested_efs(COUNT, 0)
    real, other = (stacked(EchoPhantomDataset("tiny", split, COUNT, ef=ef)) for split in ("TEST", "VAL"))
    still = known.videos.mean(2)
    answers = known.answers(real[:, :, 0], ef, drawn_motion(known, still, real.mean(2)), "first frame")
    assert list(answers) == ["held", "moved", "mean", "nearest", "gaussian"]
    assert all(videos.shape == real.shape for _, videos in answers.values())
    found = shortcut_table(real, answers, ef, real, other, known)
    (table,) = found.tables
    rows = {row[0]: dict(zip(COLUMNS, row)) for row in table["rows"]}
    assert len(rows) == 8 and all(len(row) == len(COLUMNS) for row in table["rows"])
    ceiling, frozen = rows["phantoms of other patients (ceiling)"], rows["first frame held"]
    assert frozen["motion"] == 0 and frozen["R2 by discs"] < 0.1 < ceiling["R2 by discs"]
    assert rows["mean of the training videos"]["R2 by discs"] < 0.1
    assert rows["generated, requests shuffled"]["R2 by discs"] < 0.1 and rows["generated"]["clips"] == 0
    copy = rows["training video of nearest EF (a copy)"]
    assert copy["nearest training video"] < 0.01 < ceiling["nearest training video"] and copy["R2 by discs"] > 0.8
    assert found.figures["shortcut_nearest_ef_r2_discs"] == copy["R2 by discs"]
    assert found.figures["beside_shortcuts_ef_r2_discs"] == rows["generated"]["R2 by discs"]
    assert not any("phantoms" in name for name in found.figures)


def test_the_closed_form_of_latents_is_decoded_to_videos_near_the_training_ones(known):
    network = small_video_model()
    videos = drawn_latents(network, known)(np.array([0.2, 0.6]))
    assert videos.shape == (2, 1, 16, 32, 32) and float(videos.min()) >= 0 and float(videos.max()) <= 1
    with torch.inference_mode():
        restored = network.autoencoder(known.videos.transpose(1, 2).flatten(0, 1)).clamp(0, 1)
    assert float(videos.mean()) == pytest.approx(float(restored.mean()), abs=0.1)
