"""The benchmark compares like with like: with the paper's timesteps all samplers give the same image."""

import contextlib
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from synthzoo.bundle import cards
from synthzoo.diffusion.schedule import NoiseSchedule, leading_timesteps
from synthzoo.errors import UserError
from synthzoo.evaluation import baselines as baselines
from synthzoo.evaluation.baselines import GenerativeSampler, MonaiSampler
from synthzoo.evaluation.benchmark import (
    DIRECT_CONVOLUTION,
    FAILED,
    compare,
    matmul_rate,
    measure_samplers,
    print_table,
    sampling_table,
    share_of_peak,
)
from synthzoo.evaluation.paper_scale import measure_paper, paper_report
from synthzoo.inferers import synthesis
from synthzoo.inferers.synthesis import SynthesisInferer
from synthzoo.networks.conditions import ConditionNormaliser
from synthzoo.networks.convolution import FastSingleVolumes, computes_in
from synthzoo.networks.patches import PatchAutoencoderKL
from synthzoo.systems.brain_ldm.network import HybridConditioning, LatentDiffusion

SIZES = {
    "autoencoder": {
        "patch": 2,
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 1,
        "latent_channels": 2,
        "channels": [8, 8],
        "num_res_blocks": 1,
        "norm_num_groups": 4,
        "attention_levels": [False, False],
        "with_encoder_nonlocal_attn": False,
        "with_decoder_nonlocal_attn": False,
    },
    "denoiser": {
        "unet": {
            "spatial_dims": 3,
            "in_channels": 6,
            "out_channels": 2,
            "channels": [8, 16],
            "num_res_blocks": 1,
            "attention_levels": [False, True],
            "norm_num_groups": 4,
            "resblock_updown": True,
            "num_head_channels": [0, 8],
            "with_conditioning": True,
            "cross_attention_dim": 4,
        }
    },
}


@pytest.fixture(scope="module")
def network() -> LatentDiffusion:
    from monai.networks.nets import DiffusionModelUNet

    torch.manual_seed(0)
    network = LatentDiffusion(
        PatchAutoencoderKL(**SIZES["autoencoder"]),
        HybridConditioning(DiffusionModelUNet(**SIZES["denoiser"]["unet"])),
        ConditionNormaliser([20, 0, 5, 900], [90, 1, 120, 1600]),
        NoiseSchedule(prediction="v"),
        [2, 4, 4, 4],
        torch.eye(4).tolist(),
    ).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # some layers start at zero
            parameter.add_(0.05 * torch.randn_like(parameter))
        network.latent_mean.fill_(0.3)
        network.scale_factor.fill_(1.7)
    return network


NOISE = torch.randn(2, 2, 4, 4, 4, generator=torch.Generator().manual_seed(1))
CONDITIONS = torch.tensor([[70.0, 0.0, 50.0, 1100.0], [30.0, 1.0, float("nan"), 1400.0]])


def test_monais_inferer_gives_our_image_at_the_papers_timesteps(network):
    ours = SynthesisInferer("ddim", 5)(NOISE, network, conditions=CONDITIONS)
    theirs = MonaiSampler(network, 5, leading_timesteps(1000, 5))(NOISE, network, conditions=CONDITIONS)
    assert ours.std() > 0.01
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_monai_generative_gives_our_image_from_the_same_weights(network):
    try:
        baselines.import_generative()
    except UserError as error:
        pytest.skip(str(error))
    ours = SynthesisInferer("ddim", 5)(NOISE, network, conditions=CONDITIONS)
    theirs = GenerativeSampler(network, 5, SIZES)
    assert type(theirs.network.denoiser.unet).__module__.startswith("generative.")
    torch.testing.assert_close(ours, theirs(NOISE, conditions=CONDITIONS), atol=1e-5, rtol=0)


def is_share(value):
    return value == FAILED or 0 < value <= 1


def test_calls_arithmetic_and_shares_are_counted(network, capsys):
    plain = MonaiSampler(network, 6)
    few, many = SynthesisInferer("ddim", 2), SynthesisInferer("ddim", 4)
    samplers = {"few": (few, network), "many": (many, network), "MONAI": (plain, plain.network)}
    rows = measure_samplers(samplers, NOISE, CONDITIONS, turns=2, peak_seconds=0.02)
    assert [row["network_calls"] for row in rows.values()] == [2, 4, 6]
    flops = [row["gflop_per_volume"] for row in rows.values()]
    assert flops[2] - flops[1] == pytest.approx(flops[1] - flops[0], abs=0.011) and flops[0] > 0
    assert all(0 < row["network_share"] <= 1 and is_share(row["utilisation"]) for row in rows.values())
    assert "forward" not in vars(network.denoiser) and "decode" not in vars(network)
    assert "seconds_per_volume" in print_table(rows) and "MONAI" in capsys.readouterr().out


PEAK = """
import sys, torch
from synthzoo.evaluation.benchmark import PeakMemory
if sys.argv[1] == "none":
    PeakMemory._kernel_peak = staticmethod(lambda: None)
with PeakMemory(torch.device("cpu")) as memory:
    for _ in range(5):
        torch.ones(32 * 2**20).sum()
print(memory.grown)
"""


@pytest.mark.parametrize("counter", ["of the kernel", "none"])
def test_peak_memory_sees_what_was_freed_again(counter):
    # A process of its own: one that has freed much already gives such a tensor memory that it still holds.
    result = subprocess.run([sys.executable, "-c", PEAK, counter], capture_output=True, text=True, check=True)
    assert 100 < float(result.stdout) < 200  # MiB: 32 Mi float32 are 128


def test_the_matrix_product_is_a_plausible_peak():
    rate, busy = matmul_rate(torch.device("cpu"), size=256, seconds=0.1)
    assert 1e8 < rate < 1e14 and busy > 1e8


def test_one_volume_is_convolved_as_a_batch_is(network):
    """Alone and in a batch: the same image, and the arithmetic is counted on both ways."""
    ours = SynthesisInferer("ddim", 2)
    alone = ours(NOISE[:1], network, conditions=CONDITIONS[:1])
    torch.testing.assert_close(alone, ours(NOISE, network, conditions=CONDITIONS)[:1], atol=1e-5, rtol=0)
    with torch.inference_mode():
        times = torch.full((1,), 500)
        plain = network.denoise(NOISE[:1], times, CONDITIONS[:1])
        with FastSingleVolumes() as mode:
            fast = network.denoise(NOISE[:1], times, CONDITIONS[:1])
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)
    x, weight = torch.zeros(1, 4, 6, 6, 6), torch.zeros(4, 4, 3, 3, 3)
    assert mode.applies(x, weight, 1)
    assert not any(
        mode.applies(*case)
        for case in ((x.expand(2, -1, -1, -1, -1), weight, 1), (x, weight[..., :1], 1), (x, weight, "same"))
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not mode.applies(x, weight, 1)
    layer = torch.nn.Conv3d(4, 4, 3, padding=1)
    counts = []
    for context in (contextlib.nullcontext(), FastSingleVolumes()):
        with torch.inference_mode(), FlopCounterMode(display=False, custom_mapping=DIRECT_CONVOLUTION) as counter:
            with context:
                layer(x)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 2 * 4 * 4 * 27 * 6**3


def test_lower_precision_is_taken_where_the_device_has_it(network, monkeypatch):
    whole = SynthesisInferer("ddim", 2)(NOISE, network, conditions=CONDITIONS)
    monkeypatch.setattr(synthesis, "computes_in", lambda dtype, device: False)
    refused = SynthesisInferer("ddim", 2, autocast="bfloat16")(NOISE, network, conditions=CONDITIONS)
    assert torch.equal(refused, whole)
    monkeypatch.setattr(synthesis, "computes_in", lambda dtype, device: True)
    lower = SynthesisInferer("ddim", 2, autocast="bfloat16")(NOISE, network, conditions=CONDITIONS)
    assert lower.dtype == torch.float32 and not torch.equal(lower, whole)
    torch.testing.assert_close(lower, whole, atol=0.05, rtol=0)
    assert {computes_in(dtype, "cpu") for dtype in (torch.bfloat16, torch.float16)} <= {True, False}
    assert computes_in(torch.float16, "cuda")


ROW = {"network_calls": 20, "seconds_per_volume": 1.0, "utilisation": 0.5, "peak_gflops": 90.0, "peak_memory_mib": 7.0}


def test_the_cards_table_has_a_row_for_each_sampler():
    rows = {"ours": dict(ROW), "MONAI": ROW | {"network_calls": 50, "seconds_per_volume": 3.0}}
    table = sampling_table(rows, {"sampler": "dpm_solver", "steps": 20}, 50, 4, 0, "2 cores")
    assert table["rows"] == [["ours (dpm_solver 20)", 20, 1.0, 0.5, 7.0], ["MONAI (DDIM 50)", 50, 3.0, 0.5, 7.0]]
    assert len(table["columns"]) == 5 and "90 GFLOP/s" in table["title"]
    assert compare(rows)["times as fast as MONAI"] == 3.0


def test_a_share_above_one_is_a_failed_measurement_and_the_table_says_so():
    assert share_of_peak(80.0, 2.0, 50.0) == 0.8 and share_of_peak(100.0, 2.0, 50.0) == 1.0
    assert share_of_peak(145.5, 2.0, 50.0) == FAILED
    table = sampling_table(
        {"ours": ROW | {"utilisation": FAILED}}, {"sampler": "ddim", "steps": 2}, 50, 4, 0, "a machine"
    )
    assert table["rows"][0][3] == FAILED and "failed: a share above 1" in table["title"]


def test_the_card_shows_every_report():
    report = {"command": "measure it", "tables": [{"title": "T", "columns": ["a"], "rows": [[0.25]]}]}
    text = cards.results_text(None, "some_bundle", [report])
    assert text.startswith("Not measured yet") and text.endswith("measure it\n```\n\n**T**\n\n| a |\n|---|\n| 0.25 |")
    assert cards.results_text(report, "some_bundle", [report | {"command": "and more"}]).count("| 0.25 |") == 2


def test_a_measured_stage_replaces_its_row():
    names = ("what", "data", "precision", "parameters_m", "seconds", "peak_gib", "machine")
    one = dict.fromkeys(names, 1) | {"stage": "decode", "precision": "float32", "machine": "a"}
    report = paper_report(one | {"seconds": 5}, paper_report(one, paper_report(one | {"stage": "diffusion"})))
    assert [row["stage"] for row in report["measured"]] == ["diffusion", "decode"]
    assert report["tables"][0]["rows"][1][4] == 5
    assert all(len(row) == len(report["tables"][0]["columns"]) for row in report["tables"][0]["rows"])
    with pytest.raises(UserError, match="stage = 'all': the known ones are autoencoder, diffusion, decode"):
        measure_paper(None, "all")
    with pytest.raises(UserError, match="three multiples of 8"):
        measure_paper(None, "autoencoder", (64, 64, 60))
