"""The factorised space-time U-Net: stills inside clips, time that begins as nothing, conditions and published sizes."""

import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.networks.space_time import ECHODIFFUSION, SpaceTimeUNet

PUBLISHED = {"base_alone": 18.15, "base": 18.45, "time_upsampling": 27.40, "space_upsampling": 19.80}
PLAIN = {"in_channels": 1, "channels": (8, 16), "heads": 2, "head_channels": 4}
RICH = {
    **PLAIN,
    "conditions": 2,
    "image_channels": 1,
    "low_channels": 1,
    "space_attention": (False, True),
    "tokens": (False, True),
    "middle_tokens": True,
    "resampled": 3,
    "gates": True,
    "blocks": 2,
    "stem_kernels": (3, 5),
}
KINDS = {"plain": PLAIN, "rich": RICH, "early": {**RICH, "early_shrink": True}, "causal": {**PLAIN, "causal": True}}


def make(shaken=True, **settings):
    """A network; shaken, no part of it is still at its start of zero."""
    torch.manual_seed(0)
    network = SpaceTimeUNet(**settings).eval()
    if shaken:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return network


def inputs(settings, batch=2, frames=5, size=8):
    torch.manual_seed(1)
    given = {"conditions": torch.rand(batch, settings.get("conditions", 1))}
    if settings.get("image_channels"):
        given["image"] = torch.randn(batch, 1, size, size)
    if settings.get("low_channels"):
        given |= {"low": torch.randn(batch, 1, frames, size, size), "low_level": torch.randn(batch)}
    return torch.randn(batch, 1, frames, size, size), torch.linspace(-1, 0.5, batch), given


def one_frame(given, f):
    return given | ({"low": given["low"][:, :, f]} if "low" in given else {})


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_still_clip_is_its_frames_one_by_one(kind):
    network, (x, level, given) = make(**KINDS[kind]), inputs(KINDS[kind])
    with torch.no_grad():
        clip = network(x, level, **given, still=True)
        assert clip.shape == x.shape
        for f in range(x.shape[2]):
            assert torch.allclose(clip[:, :, f], network(x[:, :, f], level, **one_frame(given, f)), atol=1e-5)
        assert not torch.allclose(clip, network(x, level, **given), atol=1e-2)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_before_training_time_is_the_identity_and_the_prediction_is_nothing(kind):
    network, (x, level, given) = make(shaken=False, **KINDS[kind]), inputs(KINDS[kind])
    with torch.no_grad():
        assert not network(x, level, **given).any()
        torch.nn.init.normal_(network.out.weight)
        assert torch.allclose(network(x, level, **given), network(x, level, **given, still=True), atol=1e-5)


def test_a_causal_network_sees_no_later_frame():
    network, (x, level, given) = make(**KINDS["causal"], middle_attention=False), inputs(PLAIN)
    changed = x.clone()
    changed[:, :, 3] += 1
    with torch.no_grad():
        difference = (network(x, level, **given) - network(changed, level, **given)).abs().amax((0, 1, 3, 4))
    assert not difference[:3].any()
    assert (difference[3:] > 1e-3).all()


def test_each_frame_of_a_network_that_is_not_causal_sees_all_others():
    network, (x, level, given) = make(**PLAIN), inputs(PLAIN)
    changed = x.clone()
    changed[:, :, 3] += 1
    with torch.no_grad():
        difference = (network(x, level, **given) - network(changed, level, **given)).abs().amax((0, 1, 3, 4))
    assert (difference > 1e-4).all()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_clips_of_a_batch_do_not_mix(kind):
    network, (x, level, given) = make(**KINDS[kind]), inputs(KINDS[kind], batch=3)
    with torch.no_grad():
        together = network(x, level, **given)
        alone = network(x[1:2], level[1:2], **{name: value[1:2] for name, value in given.items()})
    assert torch.allclose(together[1:2], alone, atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "rich"])
def test_what_is_left_out_has_its_own_place_and_no_gradient_breaks(kind):
    network, (x, level, given) = make(**KINDS[kind]), inputs(KINDS[kind])
    null = given | {"conditions": torch.full_like(given["conditions"], float("nan"))}
    with torch.no_grad():
        without = network(x, level, **null)
        assert torch.equal(without, network(x, level, **given | {"conditions": None}))
        assert not torch.allclose(without, network(x, level, **given), atol=1e-3)
        zero = given | {"conditions": torch.zeros_like(given["conditions"])}
        assert not torch.allclose(without, network(x, level, **zero), atol=1e-3)
    some = given["conditions"].clone()
    some[0] = float("nan")
    network(x, level, **given | {"conditions": some}).square().mean().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    # One frame pair's bias and the like may be small, but nothing is out of reach of the loss.
    assert not dead
    zero = [name for name, p in network.named_parameters() if not p.grad.any()]
    assert not zero


@pytest.mark.parametrize(("size", "frames"), [((14, 14), 3), ((9, 13), 4), ((8, 8), 1)])
@pytest.mark.parametrize("kind", ["plain", "early"])
def test_any_size_and_number_of_frames_fits(kind, size, frames):
    settings = {**KINDS[kind], "image_channels": 0, "low_channels": 0, "channels": (8, 8, 8)}
    if kind == "early":
        settings |= {"space_attention": False, "tokens": False}
    network = make(**settings)
    x = torch.randn(1, 1, frames, *size)
    with torch.no_grad():
        assert network(x, torch.zeros(1)).shape == x.shape


def test_the_gradient_of_one_frame_reaches_the_conditioning_image():
    network, (x, level, given) = make(**RICH), inputs(RICH)
    given["image"].requires_grad_()
    network(x, level, **given)[:, :, 2].sum().backward()
    assert given["image"].grad.abs().sum() > 0


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_published_stages_have_their_number_of_parameters(name):
    """Counted from the authors' code, in millions; ours differ in small things, by less than one percent."""
    with torch.device("meta"):
        network = SpaceTimeUNet(**ECHODIFFUSION[name])
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert millions == pytest.approx(PUBLISHED[name], rel=0.01)


@pytest.mark.parametrize("name", ["base", "time_upsampling"])
def test_a_published_stage_takes_a_clip(name):
    settings = ECHODIFFUSION[name]
    with torch.device("meta"):
        network, low = SpaceTimeUNet(**settings), {}
        if "low_channels" in settings:
            low = {"low": torch.empty(2, 3, 16, 56, 56), "low_level": torch.empty(2)}
        x = torch.empty(2, 3, 16, 56, 56)
        out = network(x, torch.empty(2), torch.empty(2, 1), torch.empty(2, 3, 56, 56), **low)
    assert out.shape == x.shape


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_network_takes_batches_of_other_sizes():
    network, (x, level, given) = make(**KINDS["plain"]), inputs(PLAIN)
    with torch.no_grad():
        traced = torch.jit.trace(network, (x, level, given["conditions"]), check_trace=False)
        x, level, given = inputs(PLAIN, batch=3)
        assert torch.allclose(traced(x, level, given["conditions"]), network(x, level, **given), atol=1e-5)


def test_lower_precision_changes_little_and_trains():
    network, (x, level, given) = make(**RICH), inputs(RICH)
    exact = network(x, level, **given).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = network(x, level, **given)
        found.float().square().mean().backward()
    assert float((found.float() - exact).detach().abs().max()) < 0.1 * float(exact.abs().max())
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_wrong_settings_are_named():
    with pytest.raises(UserError, match=r"tokens = \[True\]: 1 values for 2 levels"):
        SpaceTimeUNet(1, (8, 16), tokens=[True])
    with pytest.raises(UserError, match="level_range"):
        SpaceTimeUNet(1, (8, 16), level_range=(2, 1))
    x, level, given = inputs(RICH)
    with pytest.raises(UserError, match="image: this network takes no channels of it and was given 1 channels"):
        make(**PLAIN)(x, level, image=given["image"])
    with pytest.raises(UserError, match="low: this network takes 1 channels of it and was given none"):
        make(**RICH)(x, level, image=given["image"])
