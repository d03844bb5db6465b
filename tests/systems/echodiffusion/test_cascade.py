"""Clips between the stages of a cascade: no shift in time or space, and noise whose level is told."""

import math

import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.systems.echodiffusion.cascade import grow_clip, low_resolution_noise, shrink_clip


def ramps(frames=8, size=8):
    """A clip whose values are linear in time, row and column."""
    t, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in (frames, size, size)), indexing="ij")
    return (t + 10 * y + 100 * x)[None, None].repeat(2, 3, 1, 1, 1)


def test_growing_undoes_shrinking_of_what_is_linear_away_from_the_borders():
    clip = ramps()
    back = grow_clip(shrink_clip(clip, 2, 2), 8, (8, 8), 2)
    assert back.shape == clip.shape
    assert torch.allclose(back[:, :, :7, 1:-1, 1:-1], clip[:, :, :7, 1:-1, 1:-1], atol=1e-4)
    # Nothing is known behind the last frame that was kept.
    assert torch.allclose(back[:, :, 7], back[:, :, 6])


def test_kept_frames_are_the_averages_of_their_squares():
    small = shrink_clip(ramps(), 4, 2)
    assert small.shape == (2, 3, 2, 4, 4)
    assert float(small[0, 0, 1, 0, 0]) == pytest.approx(4 + 5 + 50)


def test_a_clip_of_the_right_size_passes_unchanged():
    clip = torch.rand(1, 2, 3, 4, 6)
    assert torch.equal(grow_clip(shrink_clip(clip), 3, (4, 6)), clip)


def test_a_clip_that_cannot_be_halved_is_refused():
    with pytest.raises(UserError, match="9 x 8 pixels: this stage needs multiples of 2"):
        shrink_clip(torch.zeros(1, 1, 2, 9, 8), 1, 2)


def test_the_noise_keeps_the_variance_and_tells_its_level():
    generator = torch.Generator().manual_seed(0)
    low, noise = (torch.randn(3, 20000, generator=generator) for _ in range(2))
    noisy, log_snr = low_resolution_noise(low, torch.tensor([0.0, 0.2, 1.0]), noise)
    assert torch.allclose(noisy.std(1), torch.ones(3), atol=0.02)
    assert torch.all(log_snr.diff() < 0)
    assert torch.allclose(noisy[0], low[0], atol=0.1)
    assert float(log_snr[1]) == pytest.approx(-math.log(math.expm1(0.4001)), rel=1e-5)
