"""The chest instruments read what held-out phantoms are known to hold, and say how well."""

import numpy as np
import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.instruments.chest.finding_errors import by_severity, points
from synthzoo.instruments.chest.findings import (
    find_findings,
    is_pointed_at,
    is_told,
    measure_findings,
    measured_kinds,
)
from synthzoo.instruments.chest.heart import find_organs, measure_ctr
from synthzoo.instruments.chest.identity import embed, same_patient, similarities
from synthzoo.instruments.chest.networks import GRIDS, NETWORKS, WEIGHTS, instrument_errors, load_network
from synthzoo.instruments.chest.phantoms import FIRST, PATIENTS
from synthzoo.instruments.chest.training import FindingLoss, IdentityLoss, OrganLoss
from synthzoo.metrics.reidentification import auc
from synthzoo.phantoms.chest.findings import KINDS, Finding
from synthzoo.phantoms.chest.phantom import chest_study
from synthzoo.phantoms.chest.pool import SPLITS

PATIENT = SPLITS["TEST"][0] + 95_000  # in no stated figure
COUNT = 8


@pytest.fixture(scope="module")
def studies():
    """Two studies of each of 8 TEST patients: healthy, and with an effusion."""
    asked = ([], ["effusion"])
    return [chest_study(PATIENT + n, visit, asked[visit]) for n in range(COUNT) for visit in range(2)]


@pytest.fixture(scope="module")
def images(studies):
    return np.stack([study.image for study in studies])


def test_the_ratio_is_read_within_its_stated_error_where_no_effusion_hides_an_edge(studies, images):
    miss = np.abs(measure_ctr(images[::2]) - [study.ctr for study in studies[::2]])
    assert miss.mean() <= 2 * instrument_errors()["organs"]["ctr"]["mae"]


def test_lungs_and_heart_are_drawn_where_they_are(studies, images):
    drawn = find_organs(images) > 0.5
    truth = np.stack([np.stack([study.lungs, study.heart]) for study in studies])
    dice = 2 * (drawn & truth).sum((2, 3)) / (drawn.sum((2, 3)) + truth.sum((2, 3)))
    assert dice.mean() > 0.9


def test_two_studies_of_a_patient_are_nearer_than_two_patients(images):
    scores = similarities(images[::2], images[1::2])
    own = np.eye(COUNT, dtype=bool)
    assert auc(scores[own], scores[~own]) > 0.85
    assert np.allclose(np.linalg.norm(embed(images[:2]), axis=1), 1)
    assert same_patient(images[:1], images[:1]).tolist() == [[True]]


def test_an_effusion_is_told_from_health_and_pointed_at(studies, images):
    said, maps = measure_findings(images)["effusion"], find_findings(images)["effusion"]
    assert auc(said[1::2], said[::2]) > 0.85
    masks = [next(found.mask for found in study.findings if found.kind == "effusion") for study in studies[1::2]]
    hit = np.mean([points(heat, mask) for heat, mask in zip(maps[1::2], masks)])
    assert hit >= 0.6 and maps.shape == images.shape and 0 <= maps.min() <= maps.max() <= 1


def test_a_large_pneumothorax_of_a_patient_is_more_probable_than_none():
    pairs = [[], [Finding("pneumothorax", "left", size_mm=36)]]
    shown = np.stack([[chest_study(PATIENT + 20 + n, 0, one).image for one in pairs] for n in range(4)])
    said = measure_findings(shown.reshape(-1, *shown.shape[2:]))["pneumothorax"].reshape(4, 2)
    assert (said[:, 1] > said[:, 0]).mean() >= 0.75


def test_every_finding_has_its_stated_error_and_the_measured_ones_a_probability(images):
    said, maps, stated = measure_findings(images[:2]), find_findings(images[:2]), instrument_errors()["findings"]
    assert list(stated) == list(KINDS)
    assert list(said) == measured_kinds() and list(maps) == measured_kinds(is_pointed_at)
    assert set(maps) <= set(said)
    for kind in KINDS:
        low, high = stated[kind]["interval"]
        assert low <= stated[kind]["auroc"] <= high
    for kind, values in said.items():
        assert values.shape == (2,) and ((values >= 0) & (values <= 1)).all()
        assert np.array_equal(measure_findings(images[:2], kinds=[kind])[kind], values)


def test_a_finding_that_is_told_no_better_than_by_a_control_is_not_measured():
    controls = {"auroc_raw_pixels": 0.6, "brier_share": 0.1, "pointing_prior": 0.3}
    good = {"auroc": 0.8, "interval": [0.7, 0.9], "brier": 0.08, "pointing": 0.5, "controls": controls}
    assert is_told(good) and is_pointed_at(good)
    assert is_told(good | {"pointing": 0.3}) and not is_pointed_at(good | {"pointing": 0.3})
    for worse in ({"interval": [0.49, 0.9]}, {"interval": [0.5, 0.9]}, {"auroc": 0.6}, {"brier": 0.1}):
        assert not is_told(good | worse) and not is_pointed_at(good | worse)


def test_what_is_not_measured_is_refused_with_its_figures(images):
    stated = instrument_errors()["findings"]
    for measure, judge in ((measure_findings, is_told), (find_findings, is_pointed_at)):
        measured = measured_kinds(judge)
        for kind in set(KINDS) - set(measured):
            with pytest.raises(UserError, match="is not measured by this instrument") as caught:
                measure(images[:1], kinds=[kind])
            assert f"AUROC {stated[kind]['auroc']:.3f}" in str(caught.value)
        with pytest.raises(UserError, match="kinds = 'fracture': is no finding; this instrument measures") as caught:
            measure(images[:1], kinds=["fracture"])
        assert str(caught.value).endswith(", ".join(measured) + ".")


def test_errors_of_findings_are_right_on_known_scores():
    heat, mask = np.zeros((4, 4)), np.zeros((4, 4), bool)
    heat[1, 2], mask[1, 2] = 1, True
    assert points(heat, mask) and not points(heat.T, mask)
    found = by_severity(np.array([0.0, 1.0, 2.0, 3.0, 4.0]), np.array([0, 1, 0, 2, 3]))
    assert found == {"small": 0.5, "moderate": 1.0, "large": 1.0}
    assert by_severity(np.array([0.0, 1.0]), np.array([0, 1])) == {}


def test_what_is_stated_is_more_than_its_controls():
    stated = instrument_errors()
    assert {"consolidation", "effusion", "cardiomegaly", "pacemaker"} <= set(measured_kinds())
    for kind, errors in stated["findings"].items():
        controls = errors["controls"]
        assert 0.35 < controls["auroc_shuffled"] < 0.65, kind
        if kind in measured_kinds():
            assert errors["auroc"] > controls["auroc_raw_pixels"] and errors["interval"][0] > 0.5, kind
            assert errors["brier"] < controls["brier_share"], kind
        if kind in measured_kinds(is_pointed_at):
            assert errors["pointing"] > controls["pointing_prior"], kind
    network, pixels = stated["identity"]["network"], stated["identity"]["raw_pixels"]
    assert network["auroc"] > max(0.9, pixels["auroc"] + 0.1) and network["first_place"] > pixels["first_place"]
    assert 0.3 < stated["identity"]["shuffled"]["auroc"] < 0.7
    organs = stated["organs"]
    assert organs["dice_lungs"] > 0.9 and organs["dice_heart"] > 0.9
    assert organs["ctr"]["mae"] < 0.5 * organs["ctr_mae_of_the_mean"] and abs(organs["ctr"]["shuffled"]["r"]) < 0.3


def test_radiographs_of_other_sizes_are_read_alike(images):
    finer = torch.from_numpy(images[:2]).repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert np.allclose(measure_ctr(finer), measure_ctr(images[:2]), atol=1e-4)
    assert np.allclose(embed(finer), embed(images[:2]), atol=1e-4)


@pytest.mark.parametrize(
    "bad, sentence",
    [
        (np.zeros((2, 3, 64, 64)), "have shape (2, 3, 64, 64); a chest instrument takes grey squares"),
        (np.zeros((64, 80)), "have shape (64, 80); a chest instrument takes grey squares"),
        (np.zeros((16, 16)), "have 16 pixels a side"),
        (np.full((64, 64), 255.0), "run from 255 to 255"),
        (np.full((64, 64), np.nan), "run from nan to nan"),
    ],
)
def test_what_is_no_radiograph_is_one_sentence(bad, sentence):
    for measure in (measure_ctr, embed, measure_findings, find_findings):
        with pytest.raises(UserError) as caught:
            measure(bad)
        assert sentence in str(caught.value)


def test_weights_are_small_and_their_absence_is_said(tmp_path):
    for name in GRIDS:
        assert (WEIGHTS / f"{name}.pt").stat().st_size < 1_000_000
        with pytest.raises(UserError, match="make it with `python scripts/train_chest_instruments.py all`"):
            load_network(name, tmp_path)


def test_no_bundle_sees_the_patients_of_the_instruments():
    for first, last in SPLITS.values():
        assert first + FIRST + PATIENTS <= last


def test_the_losses_fall_on_one_batch():
    torch.manual_seed(0)
    image, mask = torch.rand(4, 1, 128, 128), torch.zeros(4, 2 + len(KINDS), 128, 128)
    mask[:, :, 40:80, 40:80] = 1
    image[:, :, 40:80, 40:80] *= 0.3
    for name, loss, batch in (
        ("chest_findings", FindingLoss(), {"image": image, "mask": mask}),
        ("chest_organs", OrganLoss(), {"image": image, "mask": mask}),
        ("chest_identity", IdentityLoss(), {"image": image.expand(-1, 2, -1, -1)}),
    ):
        network = NETWORKS[name]()
        optimiser = torch.optim.Adam(network.parameters(), 3e-3)
        losses = []
        for _ in range(12):
            optimiser.zero_grad()
            value = loss(network, batch)["loss"]
            value.backward()
            optimiser.step()
            losses.append(float(value))
        assert np.mean(losses[-3:]) < np.mean(losses[:3]), name
