"""Clips whose tissue is moved: by whole pixels exactly, and nowhere out of range."""

import torch

from synthzoo.systems.dartagnan.motion import move_tissue, unevenness


def clip(batch=2, frames=3, height=8, width=10):
    return torch.rand(batch, 1, frames, height, width, generator=torch.Generator().manual_seed(0))


def still(z):
    return torch.zeros(len(z), 2, *z.shape[2:])


def test_tissue_at_rest_leaves_the_clip_as_it_is():
    z = clip()
    assert torch.allclose(move_tissue(z, still(z)), z, atol=1e-5)


def test_a_pixel_is_read_where_its_shift_points_and_each_frame_has_its_own():
    z, shift = clip(), still(clip())
    shift[:, 0, 1], shift[:, 1, 2] = 2, -1
    moved = move_tissue(z, shift)
    assert torch.allclose(moved[:, :, 0], z[:, :, 0], atol=1e-5)
    assert torch.allclose(moved[:, :, 1, :, :-2], z[:, :, 1, :, 2:], atol=1e-5)
    assert torch.allclose(moved[:, :, 2, 1:], z[:, :, 2, :-1], atol=1e-5)
    assert torch.allclose(moved[:, :, 2, 0], z[:, :, 2, 0], atol=1e-5)  # beyond the edge the edge goes on


def test_the_new_clip_stays_in_range_and_the_shift_hears_gradients():
    z = (clip() > 0.5).float()
    shift = (3 * torch.randn(2, 2, 3, 8, 10, generator=torch.Generator().manual_seed(1))).requires_grad_()
    moved = move_tissue(z, shift)
    assert float(moved.detach().min()) >= 0 and float(moved.detach().max()) <= 1
    (moved - z).abs().mean().backward()
    assert float(shift.grad.abs().sum()) > 0


def test_all_that_moves_as_one_is_even():
    shift = still(clip())
    shift[:, 0], shift[:, 1] = 2.5, -1
    assert float(unevenness(shift)) == 0
    shift[..., 4] += 1
    assert float(unevenness(shift)) > 0
