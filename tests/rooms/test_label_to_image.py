"""Label maps and the images painted on them: networks, losses and the inferer, in two and in three dimensions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.networks.nets import PatchDiscriminator
from small_label_model import CONDITIONS, random_maps, small_label_model, small_painter

from synthzoo.datasets.latents import LatentRadiographs
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.inferers.label_to_image import LabelToImageInferer, cleaned
from synthzoo.networks.conditions import ConditionNormaliser
from synthzoo.networks.hybrid import ConditionedDenoiser
from synthzoo.networks.linear_denoiser import LatentGaussian
from synthzoo.objectives.label_maps import LabelAutoencoderObjective, LabelDiffusionObjective, LabelLoss
from synthzoo.objectives.painting import PainterObjective, PyramidCritic, harden, warped_copy
from synthzoo.phantoms.brain.label_maps import CLASSES, VALUES

SIZES = [(2, (16, 16)), (3, (8, 16, 8))]


@pytest.fixture(scope="module")
def network():
    return small_label_model()


def small_critic(**settings) -> PyramidCritic:
    torch.manual_seed(0)
    levels = [PatchDiscriminator(2, 4, len(CLASSES) + 1, num_layers_d=1, norm="INSTANCE") for _ in range(2)]
    return PyramidCritic(levels, **settings)


def batch_of(count: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    slices = torch.rand(3, count, 1, 16, 16)
    return {"labels": random_maps(count), "image": slices[0], "style": slices[1], "other_style": slices[2]}


@pytest.mark.parametrize("dims, size", SIZES)
def test_a_network_of_either_dimension_draws_maps_of_sum_one_and_paints_them(dims, size):
    network = small_label_model(dims, size, maps=dims == 2)
    noise, style = torch.randn(2, *network.latent_shape), torch.rand(1, 20, 30)
    found = LabelToImageInferer(style, steps=2)(noise, network, torch.rand(2, CONDITIONS))
    assert found["pred"].shape == found["dseg"].shape == (2, 1, *size)
    assert float(found["pred"].min()) >= 0 and float(found["pred"].max()) <= 1
    assert set(found["dseg"].unique().int().tolist()) <= set(VALUES.values())
    maps = network.decode(noise)
    assert torch.allclose(maps.sum(1), torch.ones(2, *size), atol=1e-5)
    assert network(noise).shape == (2, 1, *size)


def test_given_label_maps_are_kept_and_their_volumes_measured(network):
    maps = random_maps()
    found = LabelToImageInferer(None, voxel_ml=0.5)(maps, network)
    kept = cleaned(maps)
    assert torch.equal(found["dseg"][:, 0] == 0, kept.argmax(1) == 0)
    assert torch.allclose(found["measured"]["WMH_ml"], kept[:, CLASSES.index("WMH")].sum((1, 2)) * 0.5)
    assert float(found["pred"][:, 0][kept[:, 0] == 1].abs().max()) == 0


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 2.5}, {"sampler": "euler"}, {"eta": 1.0}])
def test_an_inferer_names_a_setting_that_it_cannot_take(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        LabelToImageInferer(None, **wrong)


def test_fresh_noise_belongs_to_the_row_and_not_to_its_batch(network):
    inferer, noise = LabelToImageInferer(None, "ddim", 3, eta=1.0), torch.randn(2, *network.latent_shape)
    both = inferer.sample(noise, network, None)
    assert torch.allclose(both[1:], inferer.sample(noise[1:], network, None), atol=1e-5)


def test_a_label_decides_at_full_resolution():
    painter, maps = small_painter().eval(), random_maps(1)
    changed, code = maps.clone(), torch.zeros(1, 4)
    changed[0, :, 9, 9] = (
        1 - torch.eye(len(CLASSES))[0] - maps[0, :, 9, 9]
    )  # at an odd place, which half the size skips
    half = torch.nn.functional.interpolate(maps - changed, size=(8, 8), mode="nearest")
    assert float(half.abs().max()) == 0
    assert float((painter(maps, code) - painter(changed, code)).abs()[0, 0, 9, 9]) > 1e-4


def test_a_painter_leaves_lists_alone_and_takes_maps_of_fewer_classes():
    channels, style = [8, 8], [4, 8]
    painter = small_painter(channels=channels, style_channels=style, code_maps=True)
    assert (channels, style) == ([8, 8], [4, 8])
    maps, code = random_maps(1)[:, :9], torch.rand(1, 4)
    empty = torch.cat([maps, torch.zeros(1, 2, 16, 16)], 1)
    assert torch.equal(painter(maps, code), painter(empty, code))
    assert not torch.allclose(painter(maps, code), painter(maps, code + 1))


def test_a_painter_of_any_size_paints_a_part_of_a_head_as_the_whole():
    painter = small_painter(3, (8, 16, 8), norm="BATCH", any_size=True, pack=2, code_maps=True).eval()
    maps, code = random_maps(1, (8, 8, 192)), torch.rand(1, 4)
    whole, part = painter(maps, code), painter(maps[..., :128], code)  # its blocks see 70 voxels far
    assert whole.shape == (1, 1, 8, 8, 192)
    assert torch.allclose(whole[..., :8], part[..., :8], atol=1e-5) and float(whole[..., :8].abs().max()) > 0


def test_every_voxel_of_a_packed_cube_has_its_label():
    painter = small_painter(3, (16, 16, 16), norm="BATCH", any_size=True, pack=2).eval()
    maps, code = random_maps(1, (16, 16, 16)), torch.zeros(1, 4)
    changed = maps.clone()
    changed[0, :, 3, 3, 3] = maps[0, :, 3, 3, 3].roll(1)
    assert float((painter(maps, code) - painter(changed, code)).abs()[0, 0, 3, 3, 3]) > 1e-4


def test_an_inferer_paints_in_each_of_its_styles(network):
    maps, styles = random_maps(), {"pred": torch.zeros(1, 16, 16), "pred_2": torch.ones(1, 16, 16)}
    found = LabelToImageInferer(styles)(maps, network)
    assert set(styles) <= set(found) and not torch.allclose(found["pred"], found["pred_2"])
    assert torch.equal(found["pred_2"], LabelToImageInferer(styles["pred_2"])(maps, network)["pred"])


def test_a_power_spreads_out_small_volumes():
    known = ConditionNormaliser([0, 0], [1, 8], power=1 / 3)
    values = known(torch.tensor([[0.0, 1.0], [float("nan"), 8.0]]))
    assert torch.allclose(values, torch.tensor([[0.0, 0.5], [-1.0, 1.0]]), atol=1e-6)


def test_a_loss_of_hard_labels_is_cross_entropy_and_focus_lowers_what_is_known():
    logits, truth = torch.randn(2, len(CLASSES), 4, 4), torch.randint(0, len(CLASSES), (2, 4, 4))
    maps = torch.nn.functional.one_hot(truth, len(CLASSES)).movedim(-1, 1).float()
    plain = LabelLoss()(logits, maps)
    assert torch.allclose(plain, torch.nn.functional.cross_entropy(logits, truth))
    assert LabelLoss(gamma=2)(logits, maps) < plain
    assert torch.allclose(LabelLoss(weights=[2] * len(CLASSES))(logits, maps), 2 * plain)
    with pytest.raises(UserError, match="3 for 11 classes"):
        LabelLoss(weights=[1, 2, 3])(logits, maps)


@pytest.mark.parametrize("calibrated, share", [(False, 0.4 / 1.3), (True, 0.1)])
def test_the_loss_of_a_calibrated_share_is_lowest_at_that_of_the_maps(calibrated, share):
    loss, maps = LabelLoss(weights=[1.0, 4.0], calibrated=calibrated), torch.tensor([0.9, 0.1]).reshape(1, 2, 1)
    shares = torch.linspace(0.01, 0.99, 981)
    losses = [float(loss(torch.stack([1 - s, s]).log().reshape(1, 2, 1), maps)) for s in shares]
    assert float(shares[int(np.argmin(losses))]) == pytest.approx(share, abs=2e-3)


def test_the_pixel_error_counts_a_class_by_its_factor():
    batch, factors = batch_of(), [1.0] * len(CLASSES)
    error = (batch["image"] - batch["style"]).abs()
    given = batch["labels"], batch["image"], batch["style"]
    assert torch.allclose(PainterObjective(class_factors=factors).pixel_error(*given), error.mean(), atol=1e-6)
    factors[6] = 3.0
    expected = ((1 + 2 * batch["labels"][:, 6:7]) * error).mean()
    assert torch.allclose(PainterObjective(class_factors=factors).pixel_error(*given), expected, atol=1e-6)
    with pytest.raises(UserError, match="3 for 11 classes"):
        PainterObjective(class_factors=[1, 2, 3]).pixel_error(*given)


def test_calibrated_weights_are_above_zero():
    with pytest.raises(UserError, match="above 0"):
        LabelLoss(weights=[0, 1], calibrated=True)


def test_a_style_code_gives_each_class_its_intensity():
    painter, maps = small_painter(tones=8).eval(), random_maps(1)
    torch.nn.init.zeros_(painter.last.conv.weight)
    torch.nn.init.zeros_(painter.last.conv.bias)
    code = torch.randn(1, 4)
    values = painter.tones(code)[0]
    painted = painter(maps, code)[0, 0]
    assert torch.allclose(painted, torch.einsum("k...,k->...", maps[0], values) * (1 - maps[0, 0]), atol=1e-6)


def test_the_velocity_is_that_of_the_latent_and_its_noise():
    # With latents of 0, x_t = s e and v = a e, so that a / s times the noisy latent is the right answer.
    schedule = NoiseSchedule(prediction="v")

    def right(noisy, t, conditions):
        a, s = schedule.at(t, noisy)
        return a / s * noisy

    network = SimpleNamespace(schedule=schedule, denoise=right, logits=lambda z: z)
    batch = {"latents": torch.zeros(4, 11, 4, 4), "conditions": torch.rand(4, CONDITIONS), "labels": None}
    assert LabelDiffusionObjective()(network, batch)["loss"] < 1e-9
    # The estimate of the clean latent is then 0, whose softmax is even.
    batch["labels"] = random_maps(4, (4, 4))
    found = LabelDiffusionObjective(decoded_weight=1.0)(network, batch)
    assert found["decoded"] <= torch.log(torch.tensor(11.0)) + 1e-4
    assert torch.allclose(found["loss"], found["latent"] + found["decoded"])


@pytest.mark.parametrize("dims, size", SIZES)
def test_the_autoencoder_learns_from_its_loss(dims, size):
    network, maps = small_label_model(dims, size, maps=False).train(), random_maps(2, size)
    objective = LabelAutoencoderObjective(noise_weight=0.5)
    optimiser = torch.optim.Adam(network.autoencoder.parameters(), 1e-2)
    losses = []
    for _ in range(6):
        optimiser.zero_grad()
        found = objective(network, {"labels": maps})
        found["loss"].backward()
        optimiser.step()
        losses.append(float(found["loss"]))
    assert losses[-1] < losses[0]
    assert {"labels", "kl", "noisy", "agreement"} <= set(found)


def test_the_divergence_of_codes_does_not_grow_with_the_batch():
    network, batch = SimpleNamespace(painter=small_painter()), batch_of()
    twice = {name: torch.cat([value, value]) for name, value in batch.items()}
    objective = PainterObjective(consistency_weight=0, cosine_weight=0)
    one, two = (objective(network, rows)["kl"] for rows in (batch, twice))
    assert torch.allclose(one, two, rtol=1e-4)


def test_painter_and_critic_learn_in_turn():
    network, critic, batch = SimpleNamespace(painter=small_painter()), small_critic(), batch_of()
    objective = PainterObjective(critic)
    found = objective(network, batch)
    assert {"l1", "kl", "cosine", "consistency", "adversarial", "features"} <= set(found)
    found["loss"].backward()
    assert all(parameter.grad is not None for parameter in network.painter.parameters())
    judged = critic(network, batch)
    judged["loss"].backward()
    assert 0 <= float(judged["accuracy"]) <= 1
    with pytest.raises(UserError, match="before the critic"):
        critic(network, batch)


def test_a_critic_that_knows_too_much_waits_and_nothing_of_it_moves():
    critic, batch = small_critic(highest=0.75), batch_of()
    optimiser = torch.optim.Adam(critic.parameters(), 1e-2)
    critic.remember(batch["style"])
    critic(None, batch)["loss"].backward()
    optimiser.step()  # Adam has momentum now
    critic.accuracies.fill_(1.0)
    before = [parameter.detach().clone() for parameter in critic.parameters()]
    optimiser.zero_grad(set_to_none=True)
    critic.remember(batch["style"])
    found = critic(None, batch)
    found["loss"].backward()
    optimiser.step()
    assert float(found["loss"]) == 0
    assert all(torch.equal(one, two) for one, two in zip(before, critic.parameters()))


def test_a_painter_does_not_hear_a_critic_that_guesses():
    critic = small_critic(lowest=0.6)
    assert not critic.is_heard
    found = PainterObjective(critic)(SimpleNamespace(painter=small_painter()), batch_of())
    assert "adversarial" not in found


def test_each_level_of_the_pyramid_sees_half_the_image():
    seen = []
    critic = small_critic(spectral=False)
    for discriminator in critic.discriminators:
        discriminator.register_forward_hook(lambda module, given, out: seen.append(tuple(given[0].shape)))
    critic.judge(random_maps(1), torch.rand(1, 1, 16, 16))
    assert seen == [(1, len(CLASSES) + 1, 16, 16), (1, len(CLASSES) + 1, 8, 8)]


def test_hardened_maps_are_their_arg_max_and_a_warp_of_nothing_changes_nothing():
    maps = random_maps(3)
    assert torch.equal(harden(maps, 0.0), maps)
    assert torch.equal(harden(maps, 1.0).argmax(1), maps.argmax(1)) and set(harden(maps, 1.0).unique().tolist()) == {
        0,
        1,
    }
    image = torch.rand(2, 1, 8, 8)
    assert torch.allclose(warped_copy(image, 0, 0, 0), image, atol=1e-5)
    assert not torch.allclose(warped_copy(image, 0.2, 0.75, 0.01), image, atol=1e-2)


# The published sizes, as the sheets of both systems count them; nothing is allocated on the meta device.
def parameters_m(build) -> float:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters()) / 1e6


def test_published_sizes_have_their_parameters():
    from monai.networks.nets import AutoencoderKL, DiffusionModelUNet

    from synthzoo.networks.spade import StylePainter

    off, levels = (False, False, False), (False, True, True, True)
    vae = {"channels": (64, 128, 256), "num_res_blocks": 2, "latent_channels": 3, "attention_levels": off}
    assert parameters_m(lambda: AutoencoderKL(2, 9, 9, **vae)) == pytest.approx(12.3, abs=0.06)
    unet = {"num_res_blocks": 2, "resblock_updown": True, "with_conditioning": True, "transformer_num_layers": 1}
    widths = {"channels": (256, 512, 768, 1024), "num_head_channels": (0, 512, 768, 1024), "attention_levels": levels}
    assert parameters_m(lambda: DiffusionModelUNet(2, 6, 3, cross_attention_dim=3, **widths, **unet)) == pytest.approx(
        556, abs=0.6
    )
    assert parameters_m(lambda: StylePainter(2, 12, (256, 256), (256, 256))) == pytest.approx(4.1, abs=0.3)
    vae = {**vae, "channels": (16, 32, 64), "norm_num_groups": 16}
    assert parameters_m(lambda: AutoencoderKL(3, 10, 10, **vae)) == pytest.approx(2.25, abs=0.01)
    widths = {"channels": (64, 128, 256), "num_head_channels": (64, 128, 256), "attention_levels": levels[:3]}
    unet["norm_num_groups"] = 16
    assert parameters_m(lambda: DiffusionModelUNet(3, 3, 3, cross_attention_dim=4, **widths, **unet)) == pytest.approx(
        52.2, abs=0.06
    )


def test_the_linear_part_of_a_denoiser_is_read_off_the_latents_once():
    torch.manual_seed(0)
    size, network = (4, 4, 4), small_label_model(3, (8, 8, 8), maps=True)
    channels = 3
    network = type(network)(
        network.autoencoder,
        ConditionedDenoiser(
            torch.nn.Module(), gaussian=LatentGaussian((channels, *size), CONDITIONS, 2, network.schedule)
        ),
        network.conditions,
        network.schedule,
        network.painter,
        (channels, *size),
        centre=True,
    )
    maps = random_maps(6, (8, 8, 8))
    rows = [{"labels": one, "conditions": torch.rand(CONDITIONS)} for one in maps]
    latents = LatentRadiographs(network, rows, key="labels").latents
    assert torch.allclose(latents.mean(0), torch.zeros(channels, *size), atol=1e-4)
    gaussian = network.denoiser.gaussian
    assert float(gaussian.variances.max()) > 0 and float(gaussian.template.abs().max()) > 0
    assert torch.allclose(network.decode(latents), network.autoencoder(maps), atol=1e-4)
