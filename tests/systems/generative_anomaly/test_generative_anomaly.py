"""Healing of codes, healthy versions by diffusion, and the maps that come of them, with tiny networks and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.networks.nets import DiffusionModelUNet
from torch import nn

from synthzoo import UserError
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.evaluation.anomaly_maps import AnomalyMapEvaluation, Case
from synthzoo.evaluation.report import Report
from synthzoo.networks.codebook import CodebookAutoencoder
from synthzoo.networks.first_weights import with_first_weights
from synthzoo.networks.saving import save_weights
from synthzoo.networks.token_transformer import TokenTransformer
from synthzoo.phantoms.brain.pathology.scans import LABELS
from synthzoo.systems.generative_anomaly.calibration import TokenCalibration, brain_codes
from synthzoo.systems.generative_anomaly.denoiser import DiffusionMap
from synthzoo.systems.generative_anomaly.evaluation import (
    BLUR,
    CODED,
    HEALTHY_ONLY,
    INVERSION,
    ONE_STEP,
    UNTRAINED_CODES,
    UNTRAINED_STEP,
    AutoregressiveMapEvaluation,
    DiffusionMapEvaluation,
    blur_residual,
)
from synthzoo.systems.generative_anomaly.healing import heal, read_slices, surprise_of
from synthzoo.systems.generative_anomaly.inferer import AutoregressiveMapInferer, DiffusionMapInferer
from synthzoo.systems.generative_anomaly.network import AutoregressiveMap
from synthzoo.systems.generative_anomaly.objective import SliceTokensObjective
from synthzoo.systems.generative_anomaly.reconstruction import counterfactual, invert, reconstruct, times_below
from synthzoo.systems.generative_anomaly.slices import SliceImaged, as_heat, axial_slices, per_z, to_units

GRID = (16, 24, 8)


def codes_network() -> AutoregressiveMap:
    torch.manual_seed(0)
    vqvae = CodebookAutoencoder(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=(4, 4),
        num_res_layers=1,
        num_res_channels=(4, 4),
        downsample_parameters=((2, 4, 1, 1), (2, 4, 1, 1)),
        upsample_parameters=((2, 4, 1, 1, 0), (2, 4, 1, 1, 0)),
        num_embeddings=8,
        embedding_dim=4,
    )
    transformer = TokenTransformer(
        num_tokens=9, max_seq_len=24, attn_layers_dim=8, attn_layers_depth=1, attn_layers_heads=2
    )
    return AutoregressiveMap(vqvae, transformer, (4, 6), grid=GRID, extractor_channels=(2, 4)).eval()


def diffusion_network(block: int = 2) -> DiffusionMap:
    torch.manual_seed(0)
    unet = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=block**2,
        out_channels=block**2,
        num_res_blocks=1,
        channels=(4, 8),
        attention_levels=(False, True),
        norm_num_groups=2,
        num_head_channels=4,
        with_conditioning=True,
        cross_attention_dim=6,
    )
    for weight in unet.parameters():  # what begins as 0 hides the label
        if not weight.any():
            nn.init.normal_(weight, std=0.1)
    return DiffusionMap(unet, NoiseSchedule(1000), 6, GRID, (2, 4), block=block).eval()


def head(seed: int = 0) -> torch.Tensor:
    """Z-scores of an ellipsoid, 0 outside."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in GRID), indexing="ij")
    inside = sum((axis / 0.9) ** 2 for axis in axes) < 1
    values = torch.randn(GRID, generator=torch.Generator().manual_seed(seed))
    return (values * inside)[None, None]


def test_z_scores_become_image_units_and_heat_has_the_odds_of_its_value():
    z = torch.tensor([-9.0, -4.0, 0.0, 2.0, 4.0, 9.0])
    assert to_units(z, (0, 1)).tolist() == [0, 0, 0, 0.75, 1, 1], "exactly 0 lies outside the brain"
    assert to_units(z + 1e-7, (-2, 2)).tolist() == pytest.approx([-2, -2, 0, 1, 2, 2], abs=1e-6)
    assert (per_z((0, 1)), per_z((-2, 2))) == (8, 2)
    heat = as_heat(torch.tensor([0.0, 1.0, 6.0]), 2.0)
    assert torch.logit(heat[1:]).tolist() == pytest.approx([math.log(0.5), math.log(3)])


def test_slices_go_back_to_their_places_and_those_without_brain_stay_empty():
    volume = head()
    volume[..., 3] = 0
    slices = axial_slices(volume, (-2, 2))
    assert 3 not in slices.index.tolist() and len(slices.images) < GRID[2]
    back = slices.volume(slices.images)
    read = torch.isin(torch.arange(GRID[2]), slices.index)
    torch.testing.assert_close(back[..., read], volume.clamp(-4, 4)[..., read] / 2)
    assert (back[..., ~read] == 0).all() and len(axial_slices(volume, (-2, 2), everything=True).images) == GRID[2]


def test_a_slice_is_sick_by_its_label_and_healthy_without_one():
    labels = np.full((1, 6, 8), LABELS["ventricle"], np.uint8)
    row = {"image": np.ones((2, 6, 8), np.float32), "label": labels}
    assert SliceImaged()(row)["conditions"].tolist() == [0]
    labels[0, :3, :4] = max(LABELS.values())
    found = SliceImaged((-2, 2))(row)
    assert found["conditions"].tolist() == [1] and found["image"].shape == (1, 6, 8)
    assert found["image"].unique().tolist() == [0.5]
    assert SliceImaged()({"image": torch.zeros(1, 4, 4)})["conditions"].tolist() == [0]


@pytest.fixture(scope="module")
def codes():
    return codes_network()


def test_healing_takes_the_most_probable_code_given_the_healed_ones_and_leaves_the_others(codes):
    tokens = torch.randint(8, (3, 24), generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(3, 24, dtype=torch.bool)
    mask[0, 4], mask[0, 5], mask[2, 20] = True, True, True
    healed = heal(codes.codes, tokens, mask, torch.Generator().manual_seed(0), top_k=1)
    assert torch.equal(healed[~mask], tokens[~mask]) and torch.equal(healed[1], tokens[1])
    with torch.no_grad():
        logits = codes.transformer.next_logits(healed)
    assert torch.equal(healed[mask], logits.argmax(-1)[mask]), "each is chosen after those before it were healed"


def test_a_reading_from_both_sides_is_the_mean_of_the_readings_from_each(codes):
    images = torch.rand(2, 1, *GRID[:2], generator=torch.Generator().manual_seed(2))
    settings = {"limit": -2.0, "samples": 1, "top_k": 1}
    left = read_slices(codes.codes, images, mirrored=False, **settings)
    right = read_slices(codes.codes, images.flip(2), mirrored=False, **settings)
    both = read_slices(codes.codes, images, mirrored=True, **settings)
    for name, values in vars(both).items():
        torch.testing.assert_close(values, (getattr(left, name) + getattr(right, name).flip(2)) / 2)
    assert 0 < both.mask.mean() < 1 and (both.healed >= 0).all()
    none = read_slices(codes.codes, images, -100.0, mirrored=False, samples=1)
    assert not none.mask.any() and not none.changed.any()
    torch.testing.assert_close(none.healed, none.coded)


def test_surprise_is_bounded():
    assert surprise_of(torch.tensor([-float("inf"), -31.0, -2.0, 0.0])).tolist() == [30, 30, 2, 0]


def test_the_transformer_learns_the_mean_of_its_own_log_likelihoods_and_the_vqvae_is_not_moved(codes):
    images = torch.rand(2, 1, *GRID[:2])
    loss = SliceTokensObjective()(codes, {"image": images})["loss"]
    tokens = codes.codes.tokenise(images)
    logits = codes.transformer.next_logits(tokens).log_softmax(-1)
    assert loss.item() == pytest.approx(-logits.gather(-1, tokens[..., None]).mean().item(), rel=1e-5)
    codes.zero_grad()
    loss.backward()
    assert all(p.grad is None for p in codes.autoencoder.parameters() if p.requires_grad)


@pytest.mark.parametrize("kind", ["codes", "diffusion"])
def test_maps_lie_in_the_unit_interval_inside_the_brain_alone_and_come_again(kind):
    network = codes_network() if kind == "codes" else diffusion_network()
    make = AutoregressiveMapInferer if kind == "codes" else DiffusionMapInferer
    volume = head()
    heats = make(progress=False).heats(volume, network)
    assert tuple(heats) == make.METHODS
    for method, heat in heats.items():
        assert heat.shape == volume.shape and heat.min() >= 0 and heat.max() < 1 and heat.max() > 0
        assert not heat[volume == 0].any()
        alone = make(method=method, progress=False).heat(volume, network)
        torch.testing.assert_close(alone, heat)
    with torch.no_grad():
        quick = network(torch.cat([volume, head(1)]))
    assert quick.shape == (2, 1, *GRID) and quick.min() >= 0 and quick.max() < 1 and not quick[:1][volume == 0].any()


@pytest.mark.parametrize(
    "make, wrong",
    [
        (AutoregressiveMapInferer, {"method": "guidance"}),
        (AutoregressiveMapInferer, {"samples": 0}),
        (AutoregressiveMapInferer, {"temperature": 0}),
        (DiffusionMapInferer, {"method": "healing"}),
        (DiffusionMapInferer, {"guidance": -1}),
        (DiffusionMapInferer, {"levels": []}),
    ],
)
def test_a_wrong_setting_is_refused_in_a_sentence(make, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        make(**wrong)


class Gaussian:
    """The exact denoiser of N(mean, deviation^2) in each voxel, healthy ones about 0 and sick ones about `sick`."""

    def __init__(self, schedule: NoiseSchedule, deviation: float = 0.3, sick: float = 1.0) -> None:
        self.schedule, self.deviation, self.sick = schedule, deviation, sick

    def __call__(self, x, t, conditions=None):
        a, s = self.schedule.at(t, x)
        mean = 0.0 if conditions is None else torch.where(conditions.isnan(), self.sick / 2, conditions * self.sick)
        mean = mean if conditions is None else mean.reshape(-1, 1, 1, 1)
        return s * (x - a * mean) / (a**2 * self.deviation**2 + s**2)


def test_inversion_and_decoding_lose_less_the_more_steps_they_take():
    schedule = NoiseSchedule(1000, "linear", 1e-4, 0.02)
    x = 0.3 * torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    lost = []
    for steps in (20, 100, 1000):
        _, same = counterfactual(Gaussian(schedule, sick=0.0), x, schedule, 200, steps, weight=0.0)
        lost.append(float((same - x).abs().mean()))
    assert lost[0] > lost[1] > lost[2] and lost[2] < 0.01
    times = times_below(schedule, 1000, 200)
    deep = invert(Gaussian(schedule), x, schedule, times)
    # The exact flow of a Gaussian scales: x_t = x sqrt(a^2 d^2 + s^2) / d.
    scale = math.sqrt(float(schedule.alpha[200]) ** 2 * 0.09 + float(schedule.sigma[200]) ** 2) / 0.3
    torch.testing.assert_close(deep, x * scale, rtol=0.03, atol=0.01)


def test_guidance_moves_what_is_sick_towards_healthy_and_without_it_nothing_moves():
    schedule = NoiseSchedule(1000, "linear", 1e-4, 0.02)
    x = torch.full((2, 1, 4, 4), 1.0)
    oracle = Gaussian(schedule)
    moved = [counterfactual(oracle, x, schedule, 300, 200, weight)[0].mean() for weight in (0.0, 1.0, 3.0)]
    assert moved[0] > moved[1] > moved[2], "the further, the more guidance"
    healthy, same = counterfactual(oracle, x, schedule, 300, 200, 0.0)
    torch.testing.assert_close(healthy, same)


def test_reconstruction_returns_what_the_denoiser_knows_from_every_level():
    schedule = NoiseSchedule(1000)
    known = torch.linspace(-1, 1, 16).reshape(1, 1, 4, 4)

    def sure(x, t):
        a, s = schedule.at(t, x)
        return (x - a * known) / s

    x = known.clone()
    x[..., 2, 2] += 1
    found = reconstruct(sure, x, schedule, [100, 300], 20, torch.Generator().manual_seed(0))
    for restored in found:
        torch.testing.assert_close(restored, known, rtol=1e-3, atol=1e-3)
    with pytest.raises(UserError, match="steps = 5: .* give at least 10"):
        times_below(schedule, 5, 100)
    assert times_below(schedule, 10, 100) == [0, 100] and times_below(schedule, 20, 130) == [0, 50, 100]


def test_a_denoiser_reads_no_label_as_zeros_and_blocks_of_voxels_as_channels():
    seen = {}

    class Spy(nn.Module):
        def forward(self, x, timesteps, context):
            seen.update(x=x, context=context)
            return x

    network = DiffusionMap(Spy(), NoiseSchedule(1000), 6, GRID, (2, 4), block=2)
    x = torch.randn(3, 1, *GRID[:2])
    out = network.denoise(x, torch.zeros(3), torch.tensor([[float("nan")], [0.0], [1.0]]))
    torch.testing.assert_close(out, x)
    assert seen["x"].shape == (3, 4, 8, 12) and seen["context"].shape == (3, 1, 6)
    assert not seen["context"][0].any()
    assert torch.equal(seen["context"][1:, 0], network.labels.weight[1:])
    with pytest.raises(UserError, match="block = 5"):
        DiffusionMap(Spy(), NoiseSchedule(1000), 6, GRID, (2, 4), block=5)


def test_calibration_heals_a_share_of_healthy_codes_and_sets_one_threshold_for_all_methods(tmp_path, monkeypatch):
    network = codes_network()
    inferer = AutoregressiveMapInferer(progress=False, samples=1)
    calibration = TokenCalibration(network, str(tmp_path / "model.pt"), 2, inferer=inferer, share=0.1, blur_voxels=1.0)
    monkeypatch.setattr(calibration, "healthy", lambda seed: [(head(seed), head(seed)[0, 0].numpy() != 0)])
    assert calibration.run() == {"threshold": 0.5}
    codes = torch.cat([brain_codes(head(seed), network) for seed in calibration.seeds])
    assert float((codes < network.limit).float().mean()) == pytest.approx(0.1, abs=0.03)
    for number, method in enumerate(inferer.METHODS):
        inside = []
        for seed in calibration.seeds:
            (heats,), (mask,) = calibration._maps(seed)
            heat = torch.from_numpy(heats[method]).float()[None, None]
            inside.append(network.corrected(heat, number)[0, 0].numpy()[mask])
        inside = np.concatenate(inside)
        assert (inside > 0.5).mean() == pytest.approx(0.005, abs=0.002)
    assert (tmp_path / "model.pt").is_file()


@pytest.mark.parametrize("make", [codes_network, diffusion_network])
def test_an_untrained_copy_has_other_weights_the_same_each_time_and_leaves_the_network_alone(make):
    network = make()
    network.usual.fill_(0.25)
    before, state = {name: value.clone() for name, value in network.state_dict().items()}, torch.get_rng_state()
    one, two = with_first_weights(network, 1).state_dict(), with_first_weights(network, 1).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name])
        torch.testing.assert_close(one[name], two[name])
    weights = [name for name in before if name.endswith("weight") and before[name].ndim > 1]
    assert not [name for name in weights if torch.equal(one[name], before[name])]
    assert one["usual"].eq(0.25).all(), "what a calibration has set is no weight"


@pytest.mark.parametrize("kind", ["codes", "diffusion"])
def test_the_table_has_both_methods_every_shortcut_intensity_and_chance(kind, tmp_path):
    network = codes_network() if kind == "codes" else diffusion_network()
    make = AutoregressiveMapInferer if kind == "codes" else DiffusionMapInferer
    settings = {"report": Report(tmp_path / "metrics.json"), "work_dir": tmp_path, "inferer": make(progress=False)}
    if kind == "codes":
        evaluation: AnomalyMapEvaluation = AutoregressiveMapEvaluation(network, **settings)
    else:
        save_weights(network, tmp_path / "healthy.pt")
        evaluation = DiffusionMapEvaluation(network, healthy_only=str(tmp_path / "healthy.pt"), **settings)
    cases = []
    for number, lesion in enumerate(("stroke", "healthy")):
        volume = head(number)[0, 0].numpy()
        truth = np.zeros(volume.shape, bool)
        truth[6:10, 9:15, 3:5] = lesion == "stroke"
        volume[truth] = 4.0
        cases.append(Case(volume, volume != 0, truth, lesion))
    heats = {"FLAIR": evaluation._heats(cases, cases, "FLAIR")}
    found = evaluation._summarise({"FLAIR": cases}, heats)
    rows = {row[0]: row[1] for row in found.tables[0]["rows"]}
    wanted = {evaluation.SHIPPED, evaluation.RAW, BLUR, "chance", "equalised intensity, smoothed"}
    others = {INVERSION, HEALTHY_ONLY, ONE_STEP, UNTRAINED_STEP, "reconstruction"}
    wanted |= {CODED, UNTRAINED_CODES, "likelihood"} if kind == "codes" else others
    assert wanted <= set(rows) and rows["chance"] == round(float(cases[0].truth[cases[0].mask].mean()), 3)
    names = {f"FLAIR_{ending}" for ending in evaluation.endings().values()}
    assert names | {"FLAIR_ap", "FLAIR_chance", "threshold", "image_score_healthy"} <= set(found.figures)
    if kind == "diffusion":
        assert rows[HEALTHY_ONLY] == rows["reconstruction, not calibrated"], "the same weights give the same map"
    volume = torch.from_numpy(cases[0].volume)[None, None]
    np.testing.assert_allclose(evaluation.raw_map(volume), evaluation.network_maps(volume)[evaluation.RAW], atol=1e-6)
    flat = blur_residual(torch.from_numpy(np.where(cases[1].mask, np.float32(2), 0))[None, None])
    assert flat.max() < 1e-3, "a blur within the brain leaves a flat brain as it is"
