"""Stamps, codes, counts and bounds of the fingerprint audit, on models whose truth is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.phantoms.chest.phantom import chest_study
from synthzoo.systems.adversarial_fingerprint.audit import AuditSettings, bound_of, curve_of, tally_of
from synthzoo.systems.adversarial_fingerprint.bounds import FOUND, NOTHING, Count, level_bound, lower, upper
from synthzoo.systems.adversarial_fingerprint.codec import AutoencoderCodec, PatchCodec
from synthzoo.systems.adversarial_fingerprint.network import Generator
from synthzoo.systems.adversarial_fingerprint.noise_levels import NONE, last_level, levels, measure_curve, timestep
from synthzoo.systems.adversarial_fingerprint.shortcuts import DetectorShortcut, best_threshold, disc_match
from synthzoo.systems.adversarial_fingerprint.stamping import (
    draw_centre,
    marked,
    stamp_disc,
    stamp_random,
    stamp_seeded,
)

SIZE = 16


# --- stamps -----------------------------------------------------------------------------------------------------------


def test_a_disc_is_grey_within_its_radius_and_changes_nothing_else():
    image = torch.rand(3, 64, 64)
    stamped = stamp_disc(image, (20.0, 40.0))
    rows, columns = np.mgrid[:64, :64]
    inside = torch.from_numpy((rows - 20) ** 2 + (columns - 40) ** 2 <= 9**2)  # 9/64 of the width
    assert torch.equal(stamped[:, inside], torch.full_like(stamped[:, inside], 0.5))
    assert torch.equal(stamped[:, ~inside], image[:, ~inside])


def test_centres_are_uniform_over_the_image_and_a_seed_places_one():
    rng = np.random.default_rng(0)
    centres = np.array([draw_centre((40, 80), rng) for _ in range(2000)])
    assert np.allclose(centres.mean(0), [20, 40], atol=1.5) and np.allclose(centres.max(0), [40, 80], atol=0.5)
    image = torch.zeros(1, 32, 32)
    assert torch.equal(stamp_seeded(image, 4), stamp_seeded(image, 4))
    assert not torch.equal(stamp_seeded(image, 4), stamp_seeded(image, 5))
    assert torch.equal(marked(image, "none", 4), image)


def test_a_blended_ring_takes_the_brightness_of_its_surroundings_and_ends_at_its_edge():
    for level in (0.2, 0.5):
        image = torch.full((1, 64, 64), level)
        ring = marked(image, "ring", 3)
        changed = (ring - image).abs()[0] > 1e-3
        rows, columns = torch.nonzero(changed, as_tuple=True)
        assert 17 <= int(columns.max() - columns.min()) + 1 <= 23 and changed.sum() > 50  # a radius of 9/64
        assert float(ring.max()) > level + 0.2
        assert float((ring - image).abs()[0, 0].max()) < 1e-3 and torch.equal(marked(image, "ring", 3), ring)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda image: stamp_disc(image, (3, 3), radius=0), "above 0 and at most 1"),
        (lambda image: stamp_disc(image, (3, 3), value=2), "in [0, 1]"),
        (lambda image: stamp_disc(image, (3, 99)), "within the image of 16 x 16"),
        (lambda image: marked(image, "star", 0), "fingerprint = 'star': the known ones are disc, ring, none"),
    ],
)
def test_a_stamp_that_cannot_be_is_told(mistake, said):
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        mistake(torch.zeros(1, SIZE, SIZE))
    assert said in str(caught.value)


# --- codes ------------------------------------------------------------------------------------------------------------


def test_all_components_lose_nothing_and_fewer_lose_the_least_variance():
    images = torch.rand(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    whole = PatchCodec(16, 4, 16).fit(images)
    assert torch.allclose(whole.decode(whole.encode(images)), images, atol=1e-4)
    code = whole.encode(images)
    assert abs(float(code.square().mean()) - 1) < 1e-3 and float(code.mean()).__abs__() < 1e-3
    smooth = nn.functional.interpolate(torch.rand(40, 1, 4, 4), (16, 16), mode="bilinear")
    few, fewer = (PatchCodec(16, 4, count).fit(smooth) for count in (6, 2))
    lost = [float((codec.decode(codec.encode(smooth)) - smooth).square().mean()) for codec in (few, fewer)]
    assert lost[0] < 0.1 * lost[1] < 0.1 * float(smooth.var())


@pytest.mark.parametrize("wrong", [(16, 5, 4), (16, 4, 17), (16, 4, 0)])
def test_a_codec_that_cannot_be_is_told(wrong):
    with pytest.raises(UserError, match="the patch divides the size"):
        PatchCodec(*wrong)


class HalvingAutoencoder(nn.Module):
    """Means of 2 x 2 pixels as a latent of mean and deviation."""

    def encode(self, image):
        return nn.functional.avg_pool2d(image.mean(1, keepdim=True), 2), torch.ones(())

    def decode(self, code):
        return nn.functional.interpolate(code, scale_factor=2.0)


def test_an_autoencoder_gives_the_mean_without_chance_and_takes_a_grey_image_back():
    image = torch.rand(3, 1, 4, 4).repeat_interleave(4, -1).repeat_interleave(4, -2)
    codec = AutoencoderCodec(HalvingAutoencoder(), (1, 8, 8), SIZE).fit(image)
    assert torch.equal(codec.encode(image), codec.encode(image))
    assert abs(float(codec.encode(image).square().mean()) - 1) < 1e-4
    assert torch.allclose(codec.decode(codec.encode(image)), image, atol=1e-5)


# --- counts -----------------------------------------------------------------------------------------------------------


def test_bounds_are_those_of_clopper_and_pearson():
    assert upper(0, 30_000) == pytest.approx(3.0 / 30_000, rel=0.01)
    assert upper(3, 10) == pytest.approx(0.6066, abs=1e-4) and lower(3, 10) == pytest.approx(0.0873, abs=1e-4)
    assert upper(10, 10) == 1 and lower(0, 10) == 0
    with pytest.raises(UserError, match="11 hits of 10 runs"):
        upper(11, 10)


def test_the_bound_through_a_level_is_the_formula():
    expected = (upper(16, 16) + 99 * upper(0, 300)) / 100
    assert level_bound(100, (16, 16), (0, 300)) == pytest.approx(expected)
    assert level_bound(2, (16, 16), (5, 5)) == 1
    with pytest.raises(UserError, match="at least 2 images"):
        level_bound(1, (1, 1), (0, 1))


def test_no_hit_is_never_called_safe_and_mistakes_of_the_detectors_count():
    assert Count(0, 30_000).verdict == NOTHING == "not distinguishable from 0"
    assert Count(0, 30_000).interval[1] == pytest.approx(1e-4, rel=0.01)
    assert Count(3, 100, 3, 100).verdict == NOTHING  # as many as without the private image
    assert Count(3, 100, 0, 100).verdict == FOUND
    assert Count(25, 400).ratio(16) == pytest.approx(1.0)  # a perfect memoriser of 16 images
    assert Count(5, 100, 0, 100).chance == pytest.approx(0.0297, abs=1e-3)


def test_the_last_level_needs_no_run_of_hits_and_a_single_hit_is_no_special_case():
    grid = [0.0, 0.25, 0.5, 0.75]
    assert last_level(grid, [16, 16, 0, 1], 1) == 0.75 and last_level(grid, [16, 16, 0, 1], 16) == 0.25
    assert last_level(grid, [1, 0, 0, 0], 1) == 0.0 and last_level(grid, [0, 0, 0, 0], 1) == NONE


def test_levels_begin_at_0_and_end_below_1():
    assert levels(0.01) == [round(n / 100, 6) for n in range(100)]
    assert [timestep(level, 1000) for level in (0.0, 0.29, 0.57, 0.99)] == [0, 290, 570, 990]
    with pytest.raises(UserError, match="level_step = 0.9"):
        levels(0.9)


def test_hits_at_level_0_are_asked_for_before_anything_else():
    asked = []

    def reproduce(level, sources):
        asked.append(level)
        return torch.zeros(len(sources), 1, SIZE, SIZE)

    def seen(images):
        return torch.tensor([[True, False]] * len(images))

    with pytest.raises(UserError) as caught:
        measure_curve(reproduce, seen, levels(0.25), 1000, 4, name="image a.png")
    assert asked == [0]
    sentence = str(caught.value)
    assert sentence.startswith("image a.png: hits(0) is 0 of 4") and "c_AF 4, c_ID 0 of 4" in sentence
    assert "the image is not recognised" in sentence and "train_detectors.json" in sentence


# --- models whose truth is known --------------------------------------------------------------------------------------


class ExactScore(nn.Module):
    """The score of a training set: E[z | z_t] over its codes widened by `width`, as a prediction of the noise.

    With no width this memorises perfectly and emits each training image with probability 1 / N.
    """

    def __init__(self, codes, schedule, width=0.0):
        super().__init__()
        self.codes, self.schedule, self.width = nn.Parameter(codes, requires_grad=False), schedule, width

    def forward(self, x, t):
        a, s = self.schedule.at(t, x)
        spread = (a * self.width) ** 2 + s**2
        away = (x[:, None] - a[:, None] * self.codes[None]).flatten(2).square().sum(2)
        weights = (-away / (2 * spread.flatten()[:, None])).softmax(1)
        near = torch.einsum("bn,nchw->bchw", weights, self.codes)
        clean = near + a * self.width**2 / spread * (x - a * near)
        return (x - a * clean) / s


def exact(images, width=0.0):
    """A generator whose denoiser is the exact score of these images (N, 1, S, S)."""
    codec = PatchCodec(SIZE, 4, 16).fit(images)
    schedule = NoiseSchedule(kind="linear", beta_start=1e-4, beta_end=0.02)
    return Generator(codec, ExactScore(codec.encode(images), schedule, width), schedule).eval()


def training(count):
    images = torch.rand(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(count))
    return torch.cat([images[:-1], stamp_seeded(images[-1], 0, 0.25)[None]])


def nearness(image):
    """Both detectors as one exact test: a root mean square difference of less than a tenth."""
    return lambda images: (images - image).square().mean((1, 2, 3)).sqrt().lt(0.1)[:, None].expand(-1, 2)


def audited(generator, images, **settings):
    image, settings = images[-1], AuditSettings(**{"steps": 20, "level_step": 0.1, **settings})
    curve = curve_of(generator, nearness(image), image, settings)
    count = tally_of(generator, nearness(image), image, settings)
    bound = bound_of(generator, nearness(image), curve, images[:-1], len(images), settings)
    return curve, count, bound


def test_a_perfect_memoriser_has_a_ratio_of_1_and_a_high_level_and_its_bound_holds():
    images = training(8)
    curve, count, bound = audited(exact(images), images, samples=400, others=64)
    assert curve.hits[0] == 16 and curve.t_any >= 0.7 and curve.t_all >= 0.3
    assert count.beside(None).ratio(8) == pytest.approx(1.0, abs=0.35)
    assert bound.q >= count.hits / count.samples
    # The estimate through the level without its bounds is the probability itself, at every level.
    own, others = bound.own[0] / bound.own[1], bound.others[0] / bound.others[1]
    assert (own + 7 * others) / 8 == pytest.approx(1 / 8, abs=0.06)


def test_a_model_without_the_image_does_not_make_it_and_falls_back_at_low_levels_only():
    images = training(8)
    others = exact(torch.cat([images[:-1], torch.rand(1, 1, SIZE, SIZE)]), width=0.5)
    curve, count, _ = audited(others, images, samples=100, others=8)
    memorised, _, _ = audited(exact(images), images, samples=16, others=8)
    assert count.hits == 0 and count.beside(None).verdict == NOTHING
    assert curve.hits[0] == 16 and curve.t_any <= memorised.t_any - 0.3


def test_the_audit_does_not_depend_on_how_samples_are_grouped():
    images = training(4)
    generator = exact(images)
    few, many = (
        tally_of(generator, nearness(images[-1]), images[-1], AuditSettings(samples=n, steps=5)) for n in (5, 20)
    )
    again = tally_of(generator, nearness(images[-1]), images[-1], AuditSettings(samples=20, steps=5))
    assert again.hits == many.hits and again.distances == many.distances and few.hits <= many.hits
    apart = tally_of(generator, nearness(images[-1]), images[-1], AuditSettings(samples=20, steps=5), apart=1)
    assert apart.distances != many.distances


def test_audit_settings_that_cannot_be_are_told():
    with pytest.raises(UserError, match="at least 1"):
        AuditSettings(runs=0)


def test_rules_without_training_find_the_disc_and_the_private_image():
    rng = np.random.default_rng(0)
    private = torch.from_numpy(chest_study(0, size=64).image)[None].float()
    others = torch.stack([torch.from_numpy(chest_study(40 + n, size=64).image)[None].float() for n in range(6)])
    stamped = torch.stack([stamp_random(image, 1, rng) for image in others])
    own = torch.stack([stamp_random(private, 2, rng) for _ in range(6)])
    images = torch.cat([others, stamped, own])
    truth = torch.tensor([[False, False]] * 6 + [[True, False]] * 6 + [[True, True]] * 6)
    rule = DetectorShortcut(private)
    rule.set_thresholds(images, truth)
    assert torch.equal(rule.seen(images), truth)
    assert torch.allclose(disc_match(stamped), torch.zeros(6), atol=1e-5) and (disc_match(others) < -0.01).all()
    assert best_threshold(np.array([0.1, 0.2, 0.6, 0.9]), np.array([False, False, True, True])) == pytest.approx(0.4)
