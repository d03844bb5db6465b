"""What the anomaly map of radiographs claims, a sentence a test, with the shipped weights; and the published scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthzoo.bundle.compose import load_config
from synthzoo.phantoms.chest.phantom import chest_study
from synthzoo.systems.confidence_aware.tasks import RandPatchAnomalyd

UNSEEN = range(205_000, 205_008)  # patients of no pool


@pytest.fixture(scope="module")
def config(root):
    return load_config(root / "bundles" / "chest_xr_anomaly_map_ppii")


@pytest.fixture(scope="module")
def mapped(config):
    """A function: radiograph (H, W) -> what the network saw, the map and the confidence, each (128, 128)."""
    network, inferer = (config.get_parsed_content(part) for part in ("network", "inferer"))
    prepare = config.get_parsed_content("to_grid")

    def run(radiograph: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        image = torch.as_tensor(prepare({"image": torch.from_numpy(radiograph[None])})["image"])
        out = inferer(image.as_subclass(torch.Tensor)[None].float(), network)
        return image.numpy()[0], out["pred"][0, 0].numpy(), out["confidence"][0, 0].numpy()

    return run


@pytest.fixture(scope="module")
def healthy(mapped):
    """Radiographs of healthy patients with what the bundle makes of them."""
    images = [chest_study(patient, findings=[], size=128).image for patient in UNSEEN]
    return [(image, *mapped(image)) for image in images]


def test_healthy_patients_stay_below_the_threshold_at_the_rate_that_it_states(config, healthy):
    network = config.get_parsed_content("network")
    heats = np.stack([heat for _, _, heat, _ in healthy])
    shares = {rate: float((heats > network.threshold(rate)).mean()) for rate in (0.1, 0.02)}
    print(shares)
    assert all(0.25 * rate < share < 2.5 * rate for rate, share in shares.items()), shares


def test_foreign_patches_are_found_where_they_were_blended_in(mapped, healthy):
    task = RandPatchAnomalyd("image")
    task.set_random_state(5)
    inside, outside, order = [], [], []
    for number, (_, seen, before, _) in enumerate(healthy):
        other = healthy[number - 1][1][None]
        row = task({"image": torch.from_numpy(seen[None]), "source": lambda chance, other=other: other})
        heat, label = mapped(row["image"].numpy()[0])[1], row["label"].numpy()[0]
        inside.append((heat - before)[label > 0.5].mean())
        outside.append((heat - before)[label == 0].mean())
        order.append(inside[-1] > outside[-1])
    print(np.mean(inside), np.mean(outside), np.mean(order))
    # Ten raters of whom most leave a pixel alone: what is left of a patch is faint, and so is what is found of it.
    assert np.mean(order) >= 0.75 and np.mean(inside) > 5 * np.mean(np.abs(outside))


def test_a_consolidation_raises_the_map_of_the_same_patient_there_and_not_elsewhere(mapped, healthy):
    raised = []
    for patient, (_, _, before, _) in list(zip(UNSEEN, healthy))[:5]:
        ill = chest_study(patient, findings=["consolidation"], size=128)
        heat, mask = mapped(ill.image)[1], ill.findings[0].mask
        raised.append(((heat - before)[mask].mean(), np.abs(heat - before)[~mask].mean()))
    print(np.round(raised, 4))
    there, elsewhere = np.mean(raised, 0)
    assert there > 2 * elsewhere


def test_an_exposure_changes_the_map_less_than_the_patients_do(mapped, healthy):
    moved, apart = [], []
    for number, (image, _, heat, _) in enumerate(healthy[:4]):
        darker = mapped(image**1.8)[1]
        moved.append(np.abs(darker - heat).mean())
        apart.append(np.abs(healthy[number + 4][2] - heat).mean())
    print(np.mean(moved), np.mean(apart))
    assert np.mean(moved) < 0.1 * np.mean(apart), "the histogram is equalised"


def test_confidence_is_lower_where_the_map_is_neither_low_nor_high(healthy):
    heat, confidence = (np.stack([item[place] for item in healthy]) for place in (2, 3))
    assert confidence.min() >= 0 and confidence.max() <= 1
    assert confidence[heat < 0.02].mean() > confidence[heat > 0.1].mean() + 0.02


def test_the_published_scale_has_its_parameters_and_learns_a_step(root):
    config = load_config(root / "bundles" / "chest_xr_anomaly_map_ppii", ["train", "paper"], {"device": "cpu"})
    network = config.get_parsed_content("network_def")
    assert sum(value.numel() for value in network.parameters()) == 24_244_173
    assert config["image_size"] == 256 and config["batch_size"] == 12
    objective = config.get_parsed_content("train#objective")
    optimizer = torch.optim.Adam(network.parameters(), config["learning_rate"])
    torch.manual_seed(0)
    label = torch.zeros(1, 1, 256, 256)
    label[..., 90:140, 60:120] = 0.8
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    found = objective(network, {"image": torch.rand(1, 1, 256, 256), "label": label})
    found["loss"].backward()
    optimizer.step()
    assert torch.isfinite(found["loss"]) and float(found["kl"]) >= 0
    still = [name for name, value in network.named_parameters() if torch.equal(value, before[name])]
    assert not still
