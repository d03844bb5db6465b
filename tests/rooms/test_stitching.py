"""Long clips from overlapping windows: which window speaks for which frame, and how videos of known prior come out."""

import pytest
import torch
from ar_gaussian import covariance, edm_denoiser

from synthzoo.diffusion.stitching import stitched, window_starts
from synthzoo.errors import UserError
from synthzoo.systems.echodiffusion.edm import heun, karras_sigmas


def prior(denoise, frames):
    """Covariance (T, T) of what the deterministic sampler makes of noise, without any draw."""
    basis = torch.eye(frames, dtype=torch.float64).reshape(frames, 1, frames, 1, 1)
    matrix = heun(denoise, basis, karras_sigmas(48)).reshape(frames, frames)
    return matrix.T @ matrix


def test_windows_cover_the_clip_and_end_with_it():
    assert window_starts(192, 64, 32) == [0, 32, 64, 96, 128]
    assert window_starts(64, 64, 32) == [0]
    assert window_starts(20, 8, 2) == [0, 6, 12]
    assert window_starts(21, 8, 2) == [0, 6, 12, 13]


def test_a_frame_is_the_word_of_the_first_window_that_holds_it():
    place = torch.arange(12.0).reshape(1, 1, 12, 1, 1)
    seen = stitched(lambda x, t: x[:, :, :1].expand_as(x), 6, 3)(place, torch.zeros(1))
    assert seen.flatten().tolist() == [0.0] * 6 + [3.0] * 3 + [6.0] * 3


def test_a_clip_of_one_window_is_the_plain_sampler_and_frames_alone_need_no_stitch():
    cov = covariance(8, 0.5, 0.8)
    assert torch.equal(prior(stitched(edm_denoiser(cov), 8, 4), 8), prior(edm_denoiser(cov), 8))
    image = edm_denoiser(torch.full((1, 1), 0.5, dtype=torch.float64))
    assert torch.allclose(prior(stitched(image, 4, 2), 12), prior(image, 12))


@pytest.mark.parametrize(("overlap", "fade", "expected"), [(0, False, 0.0), (4, False, 0.64), (4, True, 0.79)])
def test_neighbours_across_a_seam_are_as_alike_as_measured_before(overlap, fade, expected):
    """Inside a window they correlate by .90."""
    found = prior(stitched(edm_denoiser(covariance(8, 0.5, 0.9)), 8, overlap, fade), 16)
    neighbours = found.diagonal(1) / (found.diagonal()[1:] * found.diagonal()[:-1]).sqrt()
    assert float(neighbours.min()) == pytest.approx(expected, abs=0.01)
    assert float(neighbours.max()) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("fade", [False, True])
def test_each_clip_of_a_batch_keeps_its_own_conditions(fade):
    mine = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1, 1)
    made = stitched(lambda x, t: mine.expand_as(x), 4, 2, fade)(torch.zeros(2, 1, 10, 1, 1), torch.zeros(2))
    assert torch.equal(made, mine.expand(2, 1, 10, 1, 1))


def test_wrong_lengths_are_named():
    with pytest.raises(UserError, match="overlap = 8: windows of 8 frames overlap by 0 to 7"):
        window_starts(16, 8, 8)
    with pytest.raises(UserError, match="frames = 6: this network makes at least 8"):
        window_starts(6, 8, 4)
