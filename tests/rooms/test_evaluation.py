"""The evaluation of a brain generator, on generators whose quality is known: a perfect one, a blind one, a copier."""

import csv
import json

import numpy as np
import pytest
import torch

from synthzoo.bundle.cards import results_text
from synthzoo.datasets.brain.phantoms import BrainPhantomDataset
from synthzoo.diffusion.samplers import SAMPLERS
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.evaluation.brain_subjects import Brains
from synthzoo.evaluation.report import Report
from synthzoo.evaluation.volume_samples import Samples
from synthzoo.inferers.synthesis import SynthesisInferer
from synthzoo.networks.conditions import ConditionNormaliser
from synthzoo.phantoms.brain.phantom import draw_params, make_brain
from synthzoo.systems.brain_ldm.evaluation import SynthesisEvaluation

COUNT = 10


class Toy(torch.nn.Module):
    """A composite network that averages blocks of two, spreads them again, and denoises nothing."""

    latent_shape = (1, 24, 28, 24)

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.conditions = ConditionNormaliser([20, 0, 5, 900], [90, 1, 120, 1600])
        self.schedule = NoiseSchedule(num_steps=100)

    def encode(self, image):
        return torch.nn.functional.avg_pool3d(image, 2)

    def decode(self, latent, roi_size=None):
        return torch.nn.functional.interpolate(latent, scale_factor=2, mode="trilinear")

    def denoise(self, latent, t, conditions=None):
        return torch.zeros_like(latent)


class Perfect(SynthesisInferer):
    """Answers every request with the phantom that was requested."""

    calls = 0

    def __call__(self, inputs, network, conditions=None, **kwargs):
        type(self).calls += 1
        return torch.stack([torch.from_numpy(self.answer(*row.tolist())) for row in conditions])[:, None]

    def answer(self, age, sex, ventricle, brain):
        given = {"age": age, "ventricle_ml": ventricle, "brain_ml": brain}
        given = {name: value for name, value in given.items() if np.isfinite(value)}
        return make_brain(draw_params(290_000 + int(np.nan_to_num(brain + age)), **given), noise=0.01, bias=0.1).image


class Copier(Perfect):
    """Answers with its training set."""

    def answer(self, *requested):
        return BrainPhantomDataset(1, first=int(sum(requested)) % 12).image(0).astype(np.float32)


def evaluation(folder, inferer, parts, **options):
    options = {"count": COUNT, "sweep_count": 8, "training_size": 12, "batch_size": 4} | options
    options |= {"cache_dir": str(folder.parent / "phantoms"), "parts": parts}
    report = Report(folder / "metrics.json", "a command")
    return SynthesisEvaluation(inferer=inferer, work_dir=folder / "work", network=Toy(), report=report, **options)


@pytest.fixture(scope="module")
def perfect(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation") / "perfect"
    inferer = Perfect()
    return folder, inferer, evaluation(folder, inferer, ("conditions", "fidelity", "memorisation", "unset")).run()


def test_a_perfect_generator_is_found_perfect(perfect):
    figures = perfect[2]["figures"]
    assert figures["ventricle_ml_r"] > 0.99 and abs(figures["ventricle_ml_slope"] - 1) < 0.1
    assert figures["brain_ml_r"] > 0.95 and figures["age_r"] > 0.85
    assert abs(figures["ventricle_ml_r_shuffled"]) < 0.4
    assert figures["memorisation"] == "no copying seen" and 0.8 < figures["nearest_ratio"] < 1.2
    assert figures["ventricle_ml_r_alone"] > 0.98
    assert figures["ms_ssim_difference"] < 0.1


def test_the_autoencoder_alone_has_its_row(perfect):
    rows = perfect[2]["tables"][0]["rows"]
    kinds = ["phantom (ceiling)", "phantom through the autoencoder", "generated", "generated, requests shuffled"]
    assert [row[1] for row in rows] == kinds * len(Brains.measured)
    assert 0 < perfect[2]["figures"]["autoencoder_mae"] < 0.2


def test_files_stand_beside_the_metrics_and_the_card_takes_them(perfect):
    folder, _, metrics = perfect
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    with open(folder / "evaluation.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == COUNT
    found = [float(row["generated_ventricle_ml"]) for row in rows]
    r = np.corrcoef(found, [float(row["requested_ventricle_ml"]) for row in rows])[0, 1]
    assert r == pytest.approx(metrics["figures"]["ventricle_ml_r"], abs=1e-3)
    for name in ("evaluation.png", "evaluation_volumes.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    text = results_text(metrics, "a_bundle")
    assert all(entry["title"] in text for entry in metrics["tables"])


def test_a_second_run_makes_nothing_again_and_finds_the_same(perfect):
    folder, inferer, metrics = perfect
    calls = inferer.calls
    assert evaluation(folder, inferer, ("conditions",)).run() == metrics, "what was measured before is reported, too"
    assert inferer.calls == calls


def test_a_copier_is_caught(perfect):
    folder = perfect[0].with_name("copier")
    figures = evaluation(folder, Copier(), ("memorisation",)).run()["figures"]
    assert figures["memorisation"] == "copies" and figures["nearest_min"] < 0.01


def test_samplers_and_guidance_are_tabled(perfect):
    folder = perfect[0].with_name("blind")
    run = evaluation(folder, SynthesisInferer(steps=2), ("samplers", "guidance"), steps=(2,), weights=(1.0, 2.0)).run()
    samplers, guidance = run["tables"]
    assert [row[:2] for row in samplers["rows"][:-1]] == [[name, 2] for name in SAMPLERS]
    assert [row[0] for row in guidance["rows"]] == [1.0, 2.0, "phantoms"]
    assert abs(samplers["rows"][0][3]) < 0.9 < samplers["rows"][-1][3]  # a blind generator beside the phantoms


def test_noise_belongs_to_the_row_whatever_the_batch(tmp_path):
    one, other = Samples(Toy(), tmp_path, 2), Samples(Toy(), tmp_path, 8)
    assert torch.equal(one.noise(range(3, 5)), other.noise(range(8))[3:5])
    assert not torch.equal(one.noise(range(1)), Samples(Toy(), tmp_path, 2, seed=1).noise(range(1)))


def test_requests_are_uniform_and_independent():
    requested = Brains().requests(4000, [20, 0, 5, 900], [90, 1, 120, 1600], 0)
    assert requested.min(0) == pytest.approx([20, 0, 5, 900], rel=0.05, abs=0.5) and set(requested[:, 1]) == {0, 1}
    assert np.abs(np.corrcoef(requested.T) - np.eye(4)).max() < 0.06


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(UserError, match="parts = .*'pace'.*: the evaluation knows conditions, fidelity"):
        evaluation(tmp_path, SynthesisInferer(), ("pace",))
    with pytest.raises(UserError, match="evaluation_size = 3"):
        evaluation(tmp_path, SynthesisInferer(), ("fidelity",), count=3)
