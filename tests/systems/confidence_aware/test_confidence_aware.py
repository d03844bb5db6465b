"""P-PII and its networks: what the tasks plant, how passes vary, and what each loss is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.distributions import Normal, kl_divergence
from torch.utils.data import Dataset

from synthzoo.bundle.compose import load_config
from synthzoo.errors import UserError
from synthzoo.phantoms.chest.findings import KINDS
from synthzoo.systems.confidence_aware.ablation import MEMBERS, setting
from synthzoo.systems.confidence_aware.calibration import ThresholdCalibration
from synthzoo.systems.confidence_aware.dataset import HealthyPairs, is_healthy
from synthzoo.systems.confidence_aware.evaluation import (
    EDGES,
    MIRRORED,
    OURS,
    ConfidenceEvaluation,
    calibration_curve,
    in_boxes,
    risk_coverage,
    summarise,
)
from synthzoo.systems.confidence_aware.inferer import ConfidenceMapInferer
from synthzoo.systems.confidence_aware.network import RATES, AnomalyConfidenceNetwork
from synthzoo.systems.confidence_aware.objective import SoftLabelLoss
from synthzoo.systems.confidence_aware.phiseg import PHiSeg, divergence
from synthzoo.systems.confidence_aware.tasks import LABEL_GAIN, RandPatchAnomalyd

SIZE = 64


def textured(seed: int, size: int = SIZE) -> np.ndarray:
    """A smooth random image (1, S, S) with an even histogram, as equalisation leaves it."""
    noise = gaussian_filter(np.random.RandomState(seed).standard_normal((size, size)), 2.5)
    return (noise.ravel().argsort().argsort() / noise.size).reshape(1, size, size).astype(np.float32)


def plant(seed: int = 0, size: int = SIZE, mask: np.ndarray | None = None, **settings) -> tuple[np.ndarray, dict]:
    """A healthy image, and the row that the task made of it."""
    task = RandPatchAnomalyd("image", mask_key=None if mask is None else "seen", **settings)
    task.set_random_state(seed)
    image = textured(seed, size)
    source = textured(1000 + seed, size)
    row = {"image": torch.from_numpy(image), "source": lambda chance: source}
    return image, task(row if mask is None else row | {"seen": torch.from_numpy(mask)})


def test_the_label_of_p_pii_is_ten_times_the_change_and_needs_the_gain():
    shares = {1: [], 10: []}
    for seed in range(6):
        for gain in shares:
            image, row = plant(seed, gain=(gain, gain if gain == 1 else 19))
            change = np.abs(row["image"].numpy() - image)
            assert np.allclose(row["label"], np.minimum(LABEL_GAIN * change, 1), atol=1e-5)
            assert row["image"].min() >= 0 and row["image"].max() <= 1
            shares[gain].append(float((row["label"] > 0.5).float().mean()))
    print({gain: round(float(np.mean(values)), 4) for gain, values in shares.items()})
    assert 0.005 < np.mean(shares[10]) < 0.05  # half a percent to five, else there is nothing to learn
    assert np.mean(shares[1]) < 0.1 * np.mean(shares[10])


def test_the_labels_deviation_is_that_of_the_raters():
    _, row = plant(3)
    label, spread = row["label"], row["label_std"]
    assert spread.shape == label.shape == (1, SIZE, SIZE)
    assert float(spread.max()) > 0.1 and float(spread[label == 0].max()) < 0.1


@pytest.mark.parametrize("task", ["ppii", "pii", "fpi"])
def test_a_task_is_the_same_for_the_same_seed_and_changes_little_outside_its_label(task):
    image, row = plant(5, task=task)
    again = plant(5, task=task)[1]
    assert torch.equal(row["image"], again["image"]) and torch.equal(row["label"], again["label"])
    assert not torch.equal(row["image"], plant(6, task=task)[1]["image"])
    unlabelled = row["label"].numpy() == 0
    assert np.abs(row["image"].numpy() - image)[unlabelled].max() <= 1e-3 + 1e-6
    assert "source" not in row


def test_nothing_is_planted_outside_the_mask():
    mask = np.zeros((1, SIZE, SIZE), bool)
    mask[:, :, : SIZE // 2] = True
    image, row = plant(2, mask=mask)
    assert np.array_equal(row["image"].numpy()[~mask], image[~mask]) and not row["label"].numpy()[~mask].any()
    assert row["label"].numpy()[mask].any()


def test_shares_of_healthy_and_softly_changed_images_are_kept():
    image, row = plant(0, healthy=1.0)
    assert np.array_equal(row["image"], image) and not row["label"].any()
    image, row = plant(1, soft=1.0)
    assert row["label"].max() > 0.3 and not row["label_std"].any()


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="ppii, pii, fpi"):
        RandPatchAnomalyd("image", task="nsa")


@pytest.mark.parametrize("head", ["deterministic", "dropout", "phiseg"])
def test_passes_vary_where_chance_is_and_repeat_for_a_seed(head):
    torch.manual_seed(0)
    network = AnomalyConfidenceNetwork(head, (4, 8, 8), latent_levels=2).eval()
    image = torch.rand(2, 1, 32, 32)
    state = torch.get_rng_state()
    scores = network.sample(image, 4, seed=1)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's chance is not spent
    assert torch.equal(scores, network.sample(image, 4, seed=1)) and scores.min() >= 0 and scores.max() <= 1
    if head == "deterministic":
        assert scores.shape == (1, 2, 1, 32, 32)
    else:
        assert scores.shape == (4, 2, 1, 32, 32) and float(scores.std(0).max()) > 1e-4
        assert not torch.equal(scores, network.sample(image, 4, seed=2))
    assert torch.equal(network(image), network(image)) and not any(m.training for m in network.modules())


def test_an_images_map_does_not_depend_on_its_neighbours_in_the_batch():
    torch.manual_seed(0)
    network = AnomalyConfidenceNetwork("dropout", (4, 8)).eval()
    images, inferer = torch.rand(3, 1, 16, 16), ConfidenceMapInferer(passes=3)
    together = inferer(images, network)
    for number, image in enumerate(images):
        alone = inferer(image[None], network)
        assert all(torch.allclose(alone[key][0], together[key][number], atol=1e-6) for key in together)
    assert together["confidence"].min() >= 0 and together["confidence"].max() <= 1


def test_the_divergence_of_phiseg_is_that_of_gaussians():
    torch.manual_seed(0)
    one, other = [(torch.randn(3, 2, 4, 4), torch.rand(3, 2, 4, 4) + 0.1) for _ in range(2)]
    expected = kl_divergence(Normal(*one), Normal(*other)).flatten(1).sum(1)
    assert torch.allclose(divergence(one, other), expected, rtol=1e-4)
    assert torch.allclose(divergence(one, one), torch.zeros(3), atol=1e-4)


def test_phiseg_learns_a_square_with_both_of_its_terms():
    torch.manual_seed(0)
    network = AnomalyConfidenceNetwork("phiseg", (4, 8, 8), latent_levels=2)
    image, label = torch.rand(2, 1, 16, 16), torch.zeros(2, 1, 16, 16)
    label[..., 4:10, 4:10] = 1
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    losses = []
    for _ in range(40):
        found = SoftLabelLoss()(network, {"image": image, "label": label})
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
        losses.append(float(found["loss"]))
    assert losses[-1] < 0.6 * losses[0] and float(found["kl"]) >= 0
    unused = [name for name, value in network.named_parameters() if value.grad is None]
    assert not unused


def test_more_latent_levels_than_resolutions_are_refused():
    with pytest.raises(ValueError, match="1 to 2"):
        PHiSeg(3, (4, 8), latent_levels=3)


class Pictures(Dataset):
    """Rows {"image"} of random pictures."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> dict:
        return {"image": torch.from_numpy(textured(row, 32))}


def test_thresholds_keep_their_false_positive_rates(tmp_path):
    torch.manual_seed(0)
    network = AnomalyConfidenceNetwork("dropout", (4, 8)).eval()
    with pytest.raises(UserError, match="calibrate.json"):
        network.threshold(0.01)
    inferer = ConfidenceMapInferer(passes=4)
    ThresholdCalibration(network, inferer, Pictures(20), tmp_path / "model.pt").run()
    scores = np.concatenate(
        [inferer(p["image"][None], network)["pred"].numpy().ravel() for p in map(Pictures(20).__getitem__, range(20))]
    )
    for rate in (0.2, 0.1, 0.05, 0.03):
        assert (scores > network.threshold(rate) + 1 / 4096).mean() <= rate * 1.2
    assert network.threshold(RATES[0]) < network.threshold(RATES[-1])
    with pytest.raises(UserError, match="0.001 to 0.2"):
        network.threshold(0.5)


def test_sources_do_not_spend_the_rows_chance():
    def row_after(sources: int) -> torch.Tensor:
        np.random.seed(3)
        pairs = HealthyPairs(Pictures(8), lambda row: row, sources=sources)
        pairs.source(np.random.RandomState(0))
        return torch.from_numpy(np.random.rand(4))

    assert torch.equal(row_after(2), row_after(8))


def test_only_certain_healthy_radiographs_are_learnt_from():
    assert is_healthy({"No Finding": 1.0, "Edema": 0.0}) and is_healthy({"Edema": 0.0})
    assert not is_healthy({"No Finding": 0.0, "Edema": 0.0})
    assert not is_healthy({"No Finding": 1.0, "Edema": float("nan")})
    assert not is_healthy({"No Finding": float("nan"), "Edema": 0.0})


def test_the_calibration_error_is_zero_for_honest_scores_and_the_gap_for_others():
    chance = np.random.RandomState(0)
    scores = chance.rand(200_000)
    truth = chance.rand(len(scores)) < scores
    assert calibration_curve(scores, truth)[0] < 0.01
    assert calibration_curve(np.clip(scores + 0.2, 0, 1), truth)[0] == pytest.approx(0.18, abs=0.01)


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_of_the_ablation_is_trained_as_it_is_named(root, member):
    overlays, overrides = ["train", "train_ablation"], {"member": member, "device": "cpu"}
    config = load_config(root / "bundles" / "chest_xr_anomaly_map_ppii", overlays, overrides)
    task = config.get_parsed_content("train#preprocessing")
    grid = config.get_parsed_content("to_grid")
    assert task.task == ("pii" if member.startswith("pii") else "ppii")
    assert tuple(task.gain) == ((1, 1) if member.startswith(("pii", "gain1")) else (10, 19))
    assert grid.intensity == ("percentiles" if member.endswith("raw") else "equalise") and grid.size == 64
    assert config.get_parsed_content("save_to").endswith(f"runs/ablation/{member}.pt")


def test_an_unknown_member_of_the_ablation_is_refused():
    with pytest.raises(UserError, match="pii_equalised"):
        setting("fpi_raw", "task")


def test_boxes_are_compared_inside_and_outside():
    heat = np.zeros((1, 32, 32), np.float32)
    heat[0, 8:16, 4:12] = 1.0
    boxes = torch.zeros(1, len(KINDS), 4)
    boxes[0, 1] = torch.tensor([4.0, 8.0, 8.0, 8.0])
    data = {"seen": torch.ones(1, 32, 32, dtype=torch.bool), "boxes": boxes}
    auroc, pointing = in_boxes({"right": heat, "wrong": 1 - heat, "flat": np.zeros_like(heat)}, data).tables
    assert auroc["rows"] == [[KINDS[1], 1, 1.0, 0.0, 0.5], ["all", 1, 1.0, 0.0, 0.5]]
    assert pointing["rows"][-1][:4] == ["all", 1, 1.0, 0.0]


def test_the_difference_from_the_other_side_marks_a_finding_and_its_mirror_image():
    half = textured(3)[0, :, : SIZE // 2]
    image = np.stack([np.concatenate([half, half[:, ::-1]], 1)] * 2)
    kinds = torch.zeros(2, len(KINDS), SIZE, SIZE)
    kinds[0, 0, 20:32, 6:18] = 1
    data = {"image": torch.tensor(image) + 0.5 * kinds.amax(1), "truth": kinds.amax(1), "kinds": kinds.bool()}
    data["seen"] = torch.ones_like(data["truth"]).bool()
    evaluation = ConfidenceEvaluation.__new__(ConfidenceEvaluation)
    evaluation.training, evaluation.references = [{"image": image[:1]}] * 2, 2
    evaluation.preprocessing = lambda row: row
    controls = evaluation._controls(data)
    found = summarise({OURS: data["truth"].numpy(), **controls}, data)
    assert controls[MIRRORED][1].max() == 0
    assert found.figures["mirrored_ap"] == pytest.approx(0.5, abs=0.1) and found.figures["chance"] < 0.02
    assert MIRRORED in found.tables[1]["columns"] and EDGES in found.tables[1]["columns"]
    edges = controls[EDGES][0]
    assert edges[19:21, 8:16].mean() > 2 * edges[25:27, 8:16].mean(), "the rim of the finding and not its inside"


def test_the_map_without_an_image_is_the_mean_over_healthy_radiographs():
    evaluation = ConfidenceEvaluation.__new__(ConfidenceEvaluation)
    evaluation.training = [{"image": np.full((1, 4, 4), value, np.float32)} for value in (0.2, 0.4, 0.9)]
    evaluation.preprocessing, evaluation.references, evaluation.network = (lambda row: row), 2, None
    evaluation._map = lambda image, network, passes: (image[0].numpy(), None)
    assert np.allclose(evaluation._place()["mean"], 0.3), "of the references alone"


def test_risk_falls_with_coverage_where_an_order_knows_the_error_and_not_at_random():
    error = np.linspace(0, 1, 1000)
    rows = risk_coverage({"knows": error, "misled": -error}, error)
    assert rows[0] == ["100%", 0.5, 0.5, 0.5] and rows[-1][1] < 0.11 and rows[-1][2] > 0.89
