"""Views of clips: what may change, what may not, and that they are drawn again."""

import pytest
import torch

from synthzoo.systems.dartagnan.augmentation import RandClipAugmentation

OFF = dict.fromkeys(("shift", "zoom", "turn", "smooth", "gain", "level", "noise", "hide", "reverse", "plain"), 0.0)


def clip(batch=4, frames=6, image_size=16):
    return torch.rand(batch, 1, frames, image_size, image_size, generator=torch.Generator().manual_seed(0))


def view(z, **settings):
    torch.manual_seed(0)
    return RandClipAugmentation(**settings)(z)


def test_a_view_has_the_clip_s_shape_and_range_and_differs_from_it():
    z = clip()
    seen = view(z, plain=0.0)
    assert seen.shape == z.shape and seen.dtype == torch.float32
    assert float(seen.min()) >= 0 and float(seen.max()) <= 1
    assert float((seen - z).abs().mean((1, 2, 3, 4)).min()) > 0.01


def test_equal_seeds_give_equal_views_and_each_call_another():
    assert torch.equal(view(clip()), view(clip()))
    torch.manual_seed(0)
    views = RandClipAugmentation()
    assert not torch.equal(views(clip()), views(clip()))


def test_with_all_off_or_plain_the_clip_is_left_as_it_is():
    assert torch.allclose(view(clip(), **OFF), clip(), atol=1e-5)
    assert torch.equal(view(clip(), plain=1.0), clip())


@pytest.mark.parametrize("name", ["shift", "zoom", "turn", "smooth", "gain", "level", "noise"])
def test_each_change_is_a_switch_of_its_own(name):
    assert not torch.allclose(view(clip(), **{**OFF, name: 5.0 if name == "turn" else 0.1}), clip(), atol=1e-3)


def test_reversal_is_in_time():
    assert torch.allclose(view(clip(), **{**OFF, "reverse": 1.0}), clip().flip(2), atol=1e-5)


def test_the_same_square_is_hidden_throughout_a_clip():
    z = torch.ones(200, 1, 3, 16, 16)
    seen = view(z, **{**OFF, "hide": 0.5}, hidden=0.25)
    assert torch.equal(seen[:, :, 0], seen[:, :, 2])
    dark = (seen[:, 0, 0] == 0).flatten(1).sum(1)
    assert int(dark.max()) <= 25
    assert float((dark > 0).float().mean()) == pytest.approx(0.5, abs=0.12)


def test_gradients_pass_to_the_clip():
    z = clip().requires_grad_()
    view(z).mean().backward()
    assert bool((z.grad.abs().sum((1, 2, 3, 4)) > 0).all())
