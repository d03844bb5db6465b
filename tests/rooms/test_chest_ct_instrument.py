"""The CT instrument counts what is there by side, is set right on other subjects, and says how well it reads."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from synthzoo.datasets.chest.ct import grid
from synthzoo.errors import UserError
from synthzoo.evaluation.chest_subjects import Chests
from synthzoo.instruments.chest import ct, ct_training
from synthzoo.instruments.volume_network import ShareLoss
from synthzoo.phantoms.chest.findings import LESIONS
from synthzoo.phantoms.chest.measured import FINDING_ML, LUNG_ML, MEASURES, draw_volumes, measured_chest


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    """Two subjects, kept once."""
    folder = tmp_path_factory.mktemp("chests")
    rows = ct_training.InstrumentChests("train", 2, folder)
    return rows, [rows[number] for number in range(2)]


def test_subjects_are_kept_once_and_their_images_are_degraded_afresh(subjects, monkeypatch):
    rows, items = subjects
    for item in items:
        assert item["image"].shape == (1, *ct.GRID) and item["shares"].shape == (6, *ct.GRID)
        assert torch.allclose(item["shares"].sum(0), torch.ones(ct.GRID), atol=0.02)
    monkeypatch.setattr(ct_training, "measured_chest", lambda *args: pytest.fail("made again"))
    assert not torch.equal(rows[0]["image"], items[0]["image"])
    again = ct_training.InstrumentChests("train", 2, rows.folder.parent)
    assert torch.equal(again[0]["shares"], items[0]["shares"])


def test_what_is_counted_is_what_the_phantom_says_it_holds(subjects):
    rows, _ = subjects
    for row in range(2):
        seed = ct_training.FIRST["train"] + row
        counted = dict(zip(MEASURES, rows.truth(row)))
        for name, value in measured_chest(seed, draw_volumes(seed)).volumes_ml.items():
            assert counted[name] == pytest.approx(value, rel=0.06, abs=1.5), name


def test_the_side_is_that_of_the_patient():
    shares = torch.zeros(1, 6, *ct.GRID)
    _, _, affine = grid(ct.SPACING_MM)
    x = affine[0, 0] * np.arange(ct.GRID[0]) + affine[0, 3]  # to the patient's right
    shares[0, 1 + 3, np.flatnonzero(x > 0)[:10]] = 1
    found = dict(zip(MEASURES, ct.volumes_of(shares)[0].tolist()))
    assert found == pytest.approx(dict.fromkeys(MEASURES, 0) | {"effusion_right_ml": 10 * 96 * 80 * 0.064})


def test_scales_undo_a_slope_and_an_offset_and_nothing_reads_below_0():
    held = np.array([[4000, 0, 30, 0, 0, 500, 0, 0, 100.0]])
    scales = {name: [0.9, 5.0] for name in ct.READ}
    found = np.stack(list(ct.scaled(0.9 * held + 5, scales).values()), 1)
    assert np.allclose(found, held, atol=1e-9)
    assert min(float(v[0]) for v in ct.scaled(np.zeros_like(held), scales).values()) == 0
    assert list(ct_training.pooled(held)["nodule_ml"]) == [0, 30] and list(ct_training.pooled(held)["lung_ml"]) == [
        4000
    ]


class Thresholds(nn.Module):
    """Stands for the network: lung is what is dark inside, the rest is bright."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, image):
        logits = torch.full((len(image), 6, *image.shape[2:]), -30.0)
        lung = (image[:, 0] > 4 * (0.03 - 0.3)) & (image[:, 0] < 4 * (0.25 - 0.3))
        logits[:, 0], logits[:, 1] = (~lung).float() * 30, lung.float() * 30
        return logits


def test_the_report_holds_scales_of_validation_subjects_and_errors_of_test_subjects(tmp_path, monkeypatch):
    monkeypatch.setattr(ct, "read_network", lambda *args: Thresholds())
    report = ct_training.make_report(tmp_path, (2, 3, 3), tmp_path)
    assert json.loads((tmp_path / "chest_ct.json").read_text())["scales"] == report["scales"]
    slope, _ = report["scales"]["lung_ml"]
    assert 0.7 < slope < 1.3 and report["subjects"] == {"train": 2, "validation": 3, "test": 3}
    assert report["errors"]["sharp"]["lung_ml"]["r"] > 0.95
    assert report["errors"]["sharp"]["effusion_ml"]["n"] == 6
    assert len(ct_training.report_table(report).splitlines()) == 4 + 2 * len(ct.READ)


def test_the_loss_of_a_network_that_knows_the_shares_is_lower(subjects):
    _, items = subjects
    batch = {key: torch.stack([item[key] for item in items])[..., 24:56, 24:56, 24:56] for key in ("image", "shares")}
    loss = ShareLoss(ct.centred, least=60.0)
    assert loss(ct.ChestNet(8), batch)["loss"].requires_grad
    knows = nn.Module()
    knows.forward = lambda image: batch["shares"].clamp_min(1e-6).log()
    assert loss(knows, batch)["loss"] < 0.1 * loss(ct.ChestNet(8), batch)["loss"]


@pytest.mark.parametrize(
    ("images", "spacing", "message"),
    [
        (np.zeros((1, 48, 48, 40)), 8.0, r"shape \(1, 48, 48, 40\) at 8 mm; the CT instrument takes"),
        (np.zeros((1, *ct.GRID)), 2.0, "at 2 mm"),
        (np.full((1, *ct.GRID), np.nan, np.float32), 4.0, "not finite"),
    ],
)
def test_other_images_are_refused(images, spacing, message):
    with pytest.raises(UserError, match=message):
        ct.measure_chests(images, spacing)


def test_requests_of_the_evaluation_have_every_finding_on_both_sides_as_often():
    chests, count = Chests(), 90
    low, high = [0] * len(MEASURES), [9000] * len(MEASURES)
    values = chests.requests(count, low, high, seed=0)
    assert np.array_equal(values, chests.requests(count, low, high, 0)) and values.shape == (count, len(MEASURES))
    assert LUNG_ML[0] <= values[:, 0].min() and values[:, 0].max() <= LUNG_ML[1]
    there = values[:, 1:] > 0
    assert (there.sum(0) >= 10).all() and set(there.sum(1)) == {0, 1, 2} and (there.sum(1) == 0).sum() == 10
    for kind in LESIONS:
        own = np.concatenate([values[:, MEASURES.index(name)] for name in chests.conditions_of(f"{kind}_ml")])
        assert FINDING_ML[kind][0] <= own[own > 0].min() and own.max() <= FINDING_ML[kind][1]
        assert np.array_equal(chests.requested(values)[f"{kind}_ml"], own)
    assert chests.title(values[2]).startswith("lungs ") and "consolidation right" in chests.title(values[2])
    assert chests.columns[:2] == ["lung r", "lung slope"]


def test_rare_classes_may_weigh_more_in_the_loss():
    shares = torch.zeros(1, 2, 2, 2, 2)
    shares[:, 0] = 1
    shares[:, :, 0, 0, 0] = torch.tensor([0.0, 1.0])
    batch = {"image": torch.zeros(1, 1, 2, 2, 2), "shares": shares}

    def divergence(network, weights):
        return ShareLoss(lambda image: image, weights=weights)(network, batch)["divergence"].item()

    def even(image):
        return torch.zeros_like(shares)

    def exact(image):
        return (shares + 1e-9).log()

    assert divergence(even, None) == pytest.approx(np.log(2), rel=1e-4)
    assert divergence(even, [1.0, 9.0]) == pytest.approx(2 * np.log(2), rel=1e-4)
    assert divergence(exact, [1.0, 9.0]) == pytest.approx(0, abs=1e-4)
