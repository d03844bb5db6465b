"""Counterfactual videos: the network of the bundle, its inferer, what is measured, and that an evaluation is fair."""

import json
import math

import numpy as np
import pytest
import torch
from monai.data import decollate_batch
from torch import nn

from synthzoo.errors import UserError
from synthzoo.evaluation.identity import pixel_scores
from synthzoo.evaluation.report import Report
from synthzoo.inferers.outputs import SpreadOutputsd
from synthzoo.instruments.echo.ef import measure_video
from synthzoo.metrics.agreement import reported
from synthzoo.networks.saving import save_weights
from synthzoo.phantoms.echo.phantom import counterfactual, draw_params, make_clip
from synthzoo.systems.dartagnan.evaluation import CounterfactualEvaluation, choose_requested
from synthzoo.systems.dartagnan.generator import PAPER, SMALL
from synthzoo.systems.dartagnan.inferer import CounterfactualInferer
from synthzoo.systems.dartagnan.network import CounterfactualTwin, start_twin


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return CounterfactualTwin().eval()


def clips(count=2):
    return torch.rand(count, 1, 16, 32, 32, generator=torch.Generator().manual_seed(0))


def test_a_plain_call_gives_the_counterfactual_that_the_inferer_gives(network):
    with torch.no_grad():
        plain = network(clips())
    pred = CounterfactualInferer(ef=30.0)(clips(), network)
    assert pred["pred"].shape == pred["factual"].shape == (2, 1, 16, 32, 32)
    assert torch.allclose(pred["pred"], plain, atol=1e-6)


def test_a_network_of_motions_reads_the_video_s_own_ef_where_none_is_known():
    torch.manual_seed(0)
    moves = CounterfactualTwin(generator={**SMALL["generator"], "answer": "motion"}).eval()
    torch.nn.init.normal_(moves.generator.factual.out.weight, std=0.5)
    with torch.no_grad():
        plain, own = moves(clips()), moves.read_ef(clips())
    found = CounterfactualInferer(ef=30.0)(clips(), moves)
    assert torch.allclose(found["pred"], plain, atol=1e-4) and torch.equal(found["factual"], clips())
    assert torch.allclose(found["ef_factual"], own, atol=1e-3)
    other = CounterfactualInferer(ef=30.0, ef_factual=80.0)(clips(), moves)["pred"]
    assert not torch.allclose(plain, other, atol=1e-3)
    with pytest.raises(UserError, match="multiple of 4"):
        CounterfactualTwin(image_size=34, generator={**SMALL["generator"], "answer": "motion"})


def test_asking_for_the_factual_ejection_fraction_changes_nothing_with_and_without_noise(network):
    for noise in (False, True):
        pred = CounterfactualInferer(ef=41.0, ef_factual=41.0, noise=noise)(clips(), network)
        assert torch.equal(pred["pred"], pred["factual"])


def test_the_factual_ejection_fraction_is_the_known_one_else_the_expert_s(network):
    inferer = CounterfactualInferer(ef=60.0)
    pred = inferer(clips(), network, torch.tensor([25.0, math.nan]))
    with torch.no_grad():
        read = network.read_ef(clips())
    found = [SpreadOutputsd("pred", decimals=1)(row) for row in decollate_batch({"pred": pred})]
    assert found[0]["ef_factual"] == 25.0 and found[1]["ef_factual"] == pytest.approx(float(read[1]), abs=0.051)
    assert found[0]["pred"].shape == found[0]["factual"].shape == (1, 16, 32, 32)
    json.dumps({key: found[0][key] for key in ("ef_factual", "ef_expert")})


def test_equal_seeds_draw_equal_noise(network):
    drawn = [CounterfactualInferer(noise=True, seed=seed)(clips(), network)["pred"] for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_the_published_scale_has_its_parameters():
    with torch.device("meta"):
        paper = CounterfactualTwin(64, 112, 32.0, generator=PAPER["generator"], expert=PAPER["expert"])
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in paper.named_children()}
    assert count == {"generator": 2 * 1_538_805, "expert": 7_827_621}


def test_odd_sizes_are_refused():
    with pytest.raises(UserError, match="must be even"):
        CounterfactualTwin(frames=15)


def test_the_twin_starts_with_the_expert_of_the_stage_before_alone(network, tmp_path):
    save_weights(network, tmp_path / "expert.pt", half=True)
    torch.manual_seed(1)
    fresh = CounterfactualTwin()
    before = fresh.generator.factual.out.weight.clone()
    start_twin(fresh, tmp_path / "expert.pt")
    assert torch.equal(fresh.generator.factual.out.weight, before)
    assert torch.allclose(fresh.expert.out.weight, network.expert.out.weight, atol=1e-3)
    torch.save({"other": torch.zeros(1)}, tmp_path / "none.pt")
    with pytest.raises(UserError, match="holds no expert"):
        start_twin(fresh, tmp_path / "none.pt")


def test_r2_counts_lost_readings_as_the_mean():
    requested = np.linspace(15, 85, 11)
    assert reported(requested, requested) == {"r2": 1.0, "mae": 0.0, "rmse": 0.0, "spearman": 1.0, "n": 11, "lost": 0}
    constant = reported(requested, np.full(11, 50.0))
    assert constant["r2"] == 0 and constant["spearman"] == 0
    assert reported(requested, np.full(11, np.nan)) == {**constant, "lost": 11}
    with pytest.raises(UserError, match="3 of each"):
        reported([1.0, 2.0], [1.0, 2.0])


def test_requests_are_spread_evenly_and_apart_from_the_truth():
    ef = np.random.default_rng(0).uniform(0.1, 0.85, 64)
    requested = choose_requested(ef)
    assert np.allclose(np.sort(requested), np.linspace(0.15, 0.85, 64))
    assert np.abs(requested - ef).min() >= 0.1


def test_a_video_of_a_known_heart_measures_as_it_was_made():
    clip = make_clip(draw_params(210_003, ef=0.6), size=64)
    other = counterfactual(clip, 0.25)
    for video, ef in ((clip, 60), (other, 25)):
        found = measure_video(video.frames.astype(np.float32) / 255, 16.0)
        assert found["ef"] == pytest.approx(ef, abs=15) and found["ef_regressor"] == pytest.approx(ef, abs=15)


class Oracle(nn.Module):
    """Stands for a perfect network: it is told the true counterfactuals, and reads the EF that each video was given."""

    image_size, frames, fps = 32, 16, 16.0

    def __init__(self, answers=None):
        super().__init__()
        self.answers = answers

    def read_ef(self, videos):
        return videos.flatten(1).std(1) * 100


class Knowing:
    def __init__(self, answers):
        self.answers = iter(answers) if answers is not None else None

    def predict(self, videos, ef, requested, network):
        if self.answers is None or len(videos) > 1:
            return videos, videos
        return videos, next(self.answers)[None]


def evaluate(answers, folder, parts=("ejection", "fidelity", "identity", "same_world"), patients=12):
    shared = {"network": Oracle(), "report": Report(folder / "metrics.json"), "work_dir": folder / "work"}
    shared |= {"parts": parts, "shown": patients}
    evaluation = CounterfactualEvaluation(Knowing(answers), folder / "videos.png", patients, **shared)
    return evaluation.run()


@pytest.fixture(scope="module")
def truth():
    from synthzoo.datasets.echo.phantoms import EchoPhantomDataset

    real = EchoPhantomDataset("tiny", "TEST", 12)
    requested = choose_requested(np.array([real.params(row).ef for row in range(12)]))
    made = EchoPhantomDataset("tiny", "TEST", 12, ef=requested)
    return [made[row]["video"] for row in range(12)]


def test_the_true_counterfactuals_pass_where_copies_of_the_input_fail(truth, tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    right, copy = evaluate(truth, tmp_path / "a")["figures"], evaluate(None, tmp_path / "b")["figures"]
    assert right["counterfactual_discs_r2"] > 0.3 > copy["counterfactual_discs_r2"]
    assert right["area_curve_gain"] == 1 and copy["area_curve_gain"] == 0
    assert right["counterfactual_roi_ssim"] == pytest.approx(1, abs=1e-4)
    assert copy["counterfactual_roi_ssim"] == copy["copy_roi_ssim"] < 0.95
    assert copy["counterfactual_ssim"] > 0.85  # why whole frames prove nothing
    assert right["same_patient"] == copy["same_patient"] == 1
    assert (tmp_path / "a" / "metrics.json").is_file() and (tmp_path / "a" / "videos.png").stat().st_size > 10_000


def test_rules_that_were_never_trained_fail_where_the_truth_passes(truth, tmp_path):
    """Each gives up the patient, the motion, or both; only the truth keeps them."""
    found = evaluate(truth, tmp_path, parts=("shortcuts",))["figures"]
    own = {key: found[f"beside_shortcuts_{key}"] for key in ("discs_r2", "roi_ssim", "same_patient")}
    assert own["discs_r2"] > 0.9 and own["roi_ssim"] == pytest.approx(1, abs=1e-4) and own["same_patient"] == 1
    assert found["shortcut_copy_same_patient"] == found["shortcut_scaled_same_patient"] == 1
    assert found["shortcut_copy_discs_r2"] < 0 and found["shortcut_held_discs_r2"] < 0.3
    assert found["shortcut_nearest_discs_r2"] > 0.3 and found["shortcut_nearest_same_patient"] < 1
    assert max(found[f"shortcut_{key}_roi_ssim"] for key in ("copy", "scaled", "moved", "nearest", "gaussian")) < 0.98


def test_pixels_tell_patients_apart():
    videos = torch.stack([torch.from_numpy(make_clip(draw_params(p), size=32).frames / 255) for p in (1, 2, 3)])
    scores = pixel_scores(videos[:, None].float(), videos[:, None].float())
    assert np.allclose(np.diag(scores), 1, atol=1e-5) and scores[~np.eye(3, dtype=bool)].max() < 0.99


def test_one_training_step_at_the_published_scale_moves_generator_and_critic():
    """On a crop of 4 frames of 32 x 32; the whole video has 64 of 112 x 112."""
    from synthzoo.systems.dartagnan.generator import FrameDiscriminator
    from synthzoo.systems.dartagnan.objective import TwinCritic, TwinObjective

    torch.manual_seed(0)
    paper = CounterfactualTwin(64, 112, 32.0, generator=PAPER["generator"], expert=PAPER["expert"])
    critic = TwinCritic(FrameDiscriminator(**PAPER["discriminator"]), "published")
    batch = {"video": torch.rand(2, 1, 4, 32, 32), "ef": torch.tensor([0.3, 0.6])}
    for objective, part in ((TwinObjective(critic), paper.generator), (critic, critic.discriminator)):
        before = [p.detach().clone() for p in part.parameters()]
        optimizer = torch.optim.Adam(part.parameters(), lr=1e-4)
        objective(paper, batch)["loss"].backward()
        optimizer.step()
        assert any(not torch.equal(a, b) for a, b in zip(before, part.parameters()))
