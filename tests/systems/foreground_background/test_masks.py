"""The parts of foreground-background separation by themselves: windows, removal, rectangles, scores, baselines."""

import numpy as np
import pytest
import torch
from small_concept_model import small_concepts

from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.objectives.text_diffusion import TextDiffusionObjective
from synthzoo.systems.foreground_background.baselines import BASELINES
from synthzoo.systems.foreground_background.rectangles import draw_rectangle
from synthzoo.systems.foreground_background.removal import inpaint, offset_timesteps, refined_masks, to_latents
from synthzoo.systems.foreground_background.scores import best_threshold, pooled
from synthzoo.systems.foreground_background.windows import mixture_masks, scaled, window_of

WHOLE = [(slice(0, 64), slice(0, 64))]


@pytest.mark.parametrize(
    "height, width, rows, columns",
    [
        (64, 64, (0, 64), (0, 64)),
        (100, 200, (16, 48), (0, 64)),
        (300, 100, (0, 64), (21, 43)),
        (1, 1000, (32, 33), (0, 64)),
    ],
)
def test_a_window_is_the_photograph_between_its_bars(height, width, rows, columns):
    found = window_of(height, width, 64)
    assert (found[0].start, found[0].stop) == rows and (found[1].start, found[1].stop) == columns


def test_what_lies_in_the_bars_changes_no_mask():
    heat = torch.rand(1, 1, 64, 64) * 0.1
    heat[0, 0, 24:40, 10:20] += 1
    window = [window_of(100, 200, 64)]
    loud = heat.clone()
    loud[0, 0, :16] = 50.0
    (quiet_mask, separation), (loud_mask, _) = mixture_masks(heat, window), mixture_masks(loud, window)
    assert torch.equal(quiet_mask, loud_mask) and quiet_mask[0, 0, 26:38, 12:18].all() and quiet_mask.sum() < 250
    assert separation[0] > 4 and scaled(loud, window).max() == 1 and scaled(loud, window)[0, 0, :16].max() == 0
    even, none = mixture_masks(torch.ones(1, 1, 64, 64), WHOLE)
    assert even.sum() == 0 and none[0] == 0


def test_the_removal_goes_down_the_published_timesteps():
    assert offset_timesteps(1000, 50)[:2] == [981, 961] and offset_timesteps(1000, 50)[-1] == 1
    with pytest.raises(UserError, match="1 to 500"):
        offset_timesteps(1000, 501)


@pytest.mark.parametrize("resample", [1, 2])
def test_what_is_not_painted_stays_and_what_is_painted_becomes_what_the_denoiser_says(resample):
    schedule, latents = NoiseSchedule(1000), torch.randn(2, 4, 8, 8)
    paint = torch.zeros(2, 1, 8, 8)
    paint[:, :, 2:5, 3:6] = 1

    def denoise(x, t):  # as if every clean image were 0.5 everywhere
        a, s = schedule.at(t, x)
        return (x - a * 0.5) / s

    found = inpaint(denoise, latents, paint, schedule, steps=10, resample=resample)
    inside = paint.expand_as(latents) > 0
    assert torch.equal(found[~inside], latents[~inside]) and torch.allclose(found[inside], torch.tensor(0.5), atol=1e-4)


def test_a_small_mask_is_not_lost_among_the_latents():
    masks = torch.zeros(2, 1, 64, 64)
    masks[0, 0, 5, 9] = 1
    masks[1, 0, 16:32, 16:32] = 1
    found = to_latents(masks, (16, 16))
    assert found[0].sum() == 1 and found[0, 0, 1, 2] == 1 and found[1].sum() == 16 and found[1, 0, 4:8, 4:8].all()
    assert to_latents(masks * 0, (16, 16)).sum() == 0 and to_latents(masks, (16, 16), 1)[1].sum() == 36


def test_a_refined_mask_is_the_changed_part_of_the_weak_one_without_holes():
    weak, difference = torch.zeros(1, 1, 64, 64), torch.rand(1, 1, 64, 64) * 0.01
    weak[0, 0, 10:40, 10:40] = 1
    difference[0, 0, 20:50, 20:50] = 0.5
    difference[0, 0, 30:32, 30:32] = 0
    found = refined_masks(difference, weak, WHOLE)
    assert found[0, 0, 21:39, 21:39].all() and found.sum() <= 400 and found[0, 0, 41:].sum() == 0


def test_rectangles_keep_to_the_background_and_to_the_published_sizes():
    np.random.seed(0)
    background = np.ones((64, 64), bool)
    background[20:44, 20:44] = False
    for _ in range(20):
        found = draw_rectangle(background)
        rows, columns = np.nonzero(found)
        high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert not (found & ~background).any() and min(high, wide) > 6 and found.sum() <= 1024 and min(high, wide) <= 32
    few = np.zeros((64, 64), bool)
    few[3, 4] = True
    assert np.array_equal(draw_rectangle(few), few) and not draw_rectangle(~np.ones((64, 64), bool)).any()


def test_a_loss_under_a_mask_is_the_mean_over_all_places():
    network, batch = small_concepts(), {"latents": torch.randn(2, 4, 16, 16), "tokens": torch.ones(2, 16).long()}
    losses = {}
    for name, share in (("all", 1.0), ("half", 0.5), ("none", 0.0)):
        mask = torch.zeros(2, 1, 16, 16)
        mask[:, :, : round(16 * share)] = 1
        torch.manual_seed(1)
        losses[name] = float(TextDiffusionObjective()(network, {**batch, "loss_mask": mask})["loss"])
    torch.manual_seed(1)
    assert losses["all"] == pytest.approx(float(TextDiffusionObjective()(network, batch)["loss"]))
    assert losses["none"] == 0 and 0.3 * losses["all"] < losses["half"] < 0.7 * losses["all"]


def test_scores_are_pooled_over_all_pixels_and_thresholds_are_chosen_by_them():
    truth = np.zeros((2, 10, 10), bool)
    truth[0, :5], truth[1, 0, 0] = True, True
    found = truth.copy()
    found[1, 9] = True
    scores = pooled(found, truth)
    assert scores.iou == pytest.approx(51 / 61) and scores.accuracy == pytest.approx(190 / 200)
    assert scores.miou == pytest.approx((51 / 61 + 139 / 149) / 2)
    heats = np.where(truth, 0.7, 0.31).astype(np.float32)
    assert best_threshold(heats, truth) == (0.32, 1.0)


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_finds_what_stands_out_in_the_middle(name):
    image = torch.full((1, 3, 64, 64), 0.4) + 0.01 * torch.rand(1, 3, 64, 64)
    image[:, 0, 24:40, 24:40] = 0.95
    heat = BASELINES[name](image)
    assert heat.shape == (1, 1, 64, 64) and heat.min() >= 0 and heat.max() <= 1
    assert heat[0, 0, 22:42, 22:42].mean() > 2 * heat[0, 0, :10].mean()
