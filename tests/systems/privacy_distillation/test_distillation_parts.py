"""Parts of Privacy Distillation: labels, pairs, the calibrated filter, exact intervals, sets that are resumed."""

import numpy as np
import pytest
import torch
from bundle_runs import ROOT
from small_chests import patterns, write_chests
from torch import nn

from synthzoo.bundle.compose import load_config
from synthzoo.diffusion.samplers import preview
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.inferers.synthesis import SynthesisInferer
from synthzoo.networks.latent_images import radiograph_autoencoder
from synthzoo.networks.saving import save_atomically, save_weights
from synthzoo.systems.hidden_subspaces.network import ReidNetwork
from synthzoo.systems.privacy_distillation.downstream import areas, predict, train_classifier
from synthzoo.systems.privacy_distillation.filter import (
    Calibrated,
    ReidJudge,
    clopper_pearson,
    kept_by_label,
)
from synthzoo.systems.privacy_distillation.network import (
    LabelDiffusion,
    LabelTokens,
    PatchUNet,
    begin_training,
    published,
)
from synthzoo.systems.privacy_distillation.objective import PairLoss
from synthzoo.systems.privacy_distillation.radiographs import LABELS, LabelledRadiographs, Studies, private_latents
from synthzoo.systems.privacy_distillation.synthesis import SyntheticLatents, make_set

BUNDLE = ROOT / "bundles" / "chest_xr_privacy_distillation"
READER = {"data_format": "chestxray14", "size": 32, "validation_share": 0.5}  # files of 64 pixels


class Nothing(nn.Module):
    """A U-Net that predicts nothing, of the tokens' mean."""

    def forward(self, x, timesteps, context):
        return 0 * x + context.mean((1, 2))[:, None, None, None]


def small_network(seed=0):
    torch.manual_seed(seed)
    reid = ReidNetwork(1, "basic", (1, 1, 1, 1), (4, 8, 8, 8), 16, 3, 1, False)
    network = LabelDiffusion(
        radiograph_autoencoder((8, 8, 8)),
        PatchUNet(Nothing(), 2),
        LabelTokens(len(LABELS), 4),
        NoiseSchedule(1000, prediction="v"),
        reid,
        reid_size=32,
        latent_shape=(4, 8, 8),
        preview=preview,
    )
    network.fit_latents(torch.zeros(4), torch.ones(4))
    return network.eval()


@pytest.fixture(scope="module")
def chests(tmp_path_factory):
    return write_chests(tmp_path_factory.mktemp("chests") / "data", patients=24)


def test_a_label_has_one_vector_for_each_state_and_unset_is_not_absent():
    tokens = LabelTokens(2, 8)
    values = torch.tensor([[0.0, 0.0], [1.0, 0.0], [torch.nan, 0.0]])
    found = tokens(values)
    assert found.shape == (3, 2, 8)
    assert not torch.equal(found[0, 0], found[1, 0]) and not torch.equal(found[0, 0], found[2, 0])
    assert torch.equal(found[0, 1], found[2, 1])


def test_patches_come_back_where_they_were():
    class Same(nn.Module):
        def forward(self, x, timesteps, context):
            assert x.shape == (2, 16, 4, 4)
            return x

    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(PatchUNet(Same(), 2)(x, torch.zeros(2), torch.zeros(2, 1, 1)), x)


def test_only_the_first_patients_are_private_and_their_labels_are_conditions(chests, capsys):
    rows = LabelledRadiographs(dataset_dir=str(chests), patients=3, **READER)
    assert len(rows) == 6 and len(set(rows.patients)) == 3
    row = rows[0]
    assert row["image"].shape == (1, 32, 32) and row["conditions"].shape == (8,)
    number, sex = int(row["patient"]), row["conditions"][-1]
    assert sex == number % 2, "F is 0 and M is 1"
    known = dict(zip(LABELS, row["conditions"].tolist()))
    assert known["effusion"] in (0.0, 1.0) and known["nodule"] == 0.0
    assert np.isnan(known["pacemaker"]), "ChestX-ray14 says nothing of pacemakers"
    parts = [{**READER, "split": split} for split in ("train", "validation", "test")]
    everyone = [set(LabelledRadiographs(dataset_dir=str(chests), **part).patients) for part in parts]
    assert len(set.union(*everyone)) == sum(map(len, everyone)) == 24, "no patient is in two splits"


@pytest.mark.parametrize("patients", [0, -1, True, 1.5])
def test_a_number_of_patients_that_is_none_is_named(chests, patients):
    with pytest.raises(UserError, match="private_patients is .*at least 1, or null"):
        LabelledRadiographs(dataset_dir=str(chests), patients=patients, **READER)


def test_pairs_are_of_two_studies_of_one_patient_and_half_are_seen_through_the_autoencoder(chests):
    data = LabelledRadiographs(dataset_dir=str(chests), **READER)
    studies = Studies(small_network(), data, restored=1.0, batch_size=4)
    assert len(studies) == len(data) and len(studies.images) == 2 * len(data)
    assert studies.frames(0).shape == (2, 1, 32, 32), "the radiograph and what the autoencoder makes of it"
    from synthzoo.systems.hidden_subspaces.pairs import PatientPairs

    pair = PatientPairs(studies, "cross_session", positives=1.0)[0]
    assert pair["image"].shape == (2, 1, 32, 32) and pair["patient"].tolist() == [0, 0]
    assert not torch.equal(pair["image"][0], pair["image"][1])


def test_the_pair_loss_moves_its_images_and_learns():
    torch.manual_seed(0)
    network = ReidNetwork(1, "basic", (1, 1, 1, 1), (8, 8, 16, 16), 16, 3, 1, False)
    images = torch.from_numpy(patterns(8, 32)).float()[:, :, None] / 255
    batch = {"image": images, "patient": torch.arange(8)[:, None].expand(8, 2), "same": torch.ones(8)}
    optimizer, loss = torch.optim.Adam(network.parameters(), 3e-3), PairLoss()
    values = []
    for _ in range(40):
        found = loss(network, batch)["loss"]
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        values.append(float(found))
    assert np.mean(values[-5:]) < 0.7 * np.mean(values[:5])


# --- filter -----------------------------------------------------------------------------------------------------------


def by_pixels(one, other):
    a, b = (part.flatten(1) - part.flatten(1).mean(1, keepdim=True) for part in (one, other))
    return (a @ b.T / (a.norm(dim=1)[:, None] * b.norm(dim=1))).double().numpy()


def as_images(values):
    return torch.from_numpy(values).float()[:, None] / 255


def test_the_threshold_refuses_one_unseen_patient_in_twenty_and_every_copy():
    images = patterns(220)
    training, unseen, others = (as_images(images[part, 0]) for part in (slice(20), slice(20, 120), slice(120, 220)))
    judge = Calibrated(by_pixels, training, unseen)
    assert judge.ratio(unseen).hits == 5
    floor = judge.ratio(others)
    assert floor.low <= 0.05 <= floor.high
    again = as_images(images[:20, 1])
    assert judge.ratio(again).share == 1.0, "another study of a training patient"
    assert judge.best(again)[1].tolist() == list(range(20))


def test_a_threshold_of_pairs_would_refuse_far_more():
    images = patterns(320)
    training, unseen = as_images(images[:200, 0]), as_images(images[200:, 0])
    of_pairs = np.percentile(by_pixels(unseen, training), 95)
    assert (by_pixels(unseen, training).max(1) >= of_pairs).mean() > 0.9
    assert Calibrated(by_pixels, training, unseen).ratio(unseen).share <= 0.06


def test_a_judge_of_a_network_embeds_once_and_compares_all():
    network = small_network()
    images = as_images(patterns(5)[:, 0])
    found = ReidJudge(network)(images, images[:3])
    assert found.shape == (5, 3) and found.dtype == np.float64
    assert np.allclose(np.diagonal(found), float(network.reid.fc_end.bias))


@pytest.mark.parametrize(
    ("count", "n", "low", "high"), [(0, 10, 0.0, 0.30850), (5, 10, 0.18709, 0.81291), (10, 10, 0.69150, 1.0)]
)
def test_intervals_are_exact(count, n, low, high):
    found = clopper_pearson(count, n)
    assert found.share == count / n
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-5)


def test_the_kept_share_is_told_for_each_finding_and_sex():
    conditions = np.array([[1, 0], [1, 1], [0, 1], [np.nan, 1.0]])
    rows = kept_by_label(conditions, np.array([True, False, True, True]), ["effusion", "sex"])
    assert rows == [["effusion", 2, 0.5, 1, 1.0], ["sex", 3, 0.6667, 1, 1.0]]


# --- sets -------------------------------------------------------------------------------------------------------------


def test_a_set_is_the_same_in_whatever_parts_it_is_made_and_is_completed(tmp_path, monkeypatch):
    from synthzoo.systems.privacy_distillation import synthesis

    network, inferer = small_network(), SynthesisInferer("ddim", 2)
    conditions = torch.eye(len(LABELS))[:3]
    whole = make_set(network, inferer, conditions, 10, tmp_path / "whole", seed=7)
    assert whole["latents"].shape == (10, 4, 8, 8) and whole["images"].shape == (10, 32, 32)
    assert torch.equal(whole["conditions"], conditions[torch.arange(10) % 3])
    assert whole["seeds"].tolist() == list(range(7, 17))
    monkeypatch.setattr(synthesis, "PART", 4)
    parts = make_set(network, inferer, conditions, 10, tmp_path / "parts", seed=7)
    kept = (tmp_path / "parts" / "part-0000.pt").stat().st_mtime_ns
    (tmp_path / "parts" / "part-0001.pt").unlink()
    again = make_set(network, inferer, conditions, 10, tmp_path / "parts", seed=7)
    assert (tmp_path / "parts" / "part-0000.pt").stat().st_mtime_ns == kept
    for name in whole:
        assert torch.allclose(whole[name].float(), parts[name].float(), atol=1e-2)
        assert torch.equal(parts[name], again[name])


def test_what_is_no_set_is_named(tmp_path):
    with pytest.raises(UserError, match="does not exist: run configs/distill.json"):
        SyntheticLatents(tmp_path / "kept.pt")
    save_atomically({"images": torch.zeros(2)}, tmp_path / "kept.pt")
    with pytest.raises(UserError, match="no set of latents and conditions"):
        SyntheticLatents(tmp_path / "kept.pt")


def test_a_student_begins_with_public_parts_and_never_with_a_teachers_denoiser(tmp_path, chests):
    teacher = small_network(1)
    with torch.no_grad():
        teacher.conditions.table.weight.fill_(5.0)
    save_weights(teacher, tmp_path / "teacher.pt")
    student = begin_training(small_network(2), tmp_path / "teacher.pt")
    for one, other in zip(student.autoencoder.parameters(), teacher.autoencoder.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not (student.conditions.table.weight == 5.0).any()
    rows = private_latents(student, dataset_dir=str(chests), patients=2, **READER)
    assert len(rows) == 4 and rows[0]["latents"].shape == (4, 8, 8) and rows[0]["conditions"].shape == (8,)


def test_a_classifier_learns_what_its_set_shows():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (80, 2)).astype(np.float32)
    images = 0.3 * rng.random((80, 1, 32, 32)).astype(np.float32)
    images[:, 0, 8:24, 4:12] += 0.6 * labels[:, :1, None]
    labels[:40, 1] = np.nan
    network = train_classifier(torch.from_numpy(images), torch.from_numpy(labels), steps=60, batch_size=16)
    found = areas(predict(network, torch.from_numpy(images)), labels)
    assert found[0] > 0.9
    assert areas(np.zeros((4, 1)), np.array([[1.0], [0], [0], [0]])) == [None]


def test_the_papers_networks_have_the_papers_size():
    with torch.device("meta"):
        network = published()
    count = {name: round(sum(p.numel() for p in part.parameters()) / 1e6, 1) for name, part in network.named_children()}
    assert count["denoiser"] == 263.6 and count["reid"] == 23.8


@pytest.mark.slow
def test_the_papers_teacher_takes_a_real_step(tmp_path):
    """512 x 512 radiographs, 263.6 million parameters, one step of the teacher's own stage; about 6 GB of memory."""
    chests = write_chests(tmp_path / "chests", patients=2)
    places = dict.fromkeys(("checkpoint_dir", "save_to", "log_dir"))
    data = {"data_format": "chestxray14", "dataset_dir": str(chests), "train#dataset#validation_share": 0.0}
    short = {
        "epoch_length": 1,
        "max_epochs": 1,
        "batch_size": 1,
        "private_patients": 1,
        "train#trainer#ema_decay": None,
    }
    changed = {**places, **data, **short, "network": "$@network_def.to(@device)", "train#dataset#batch_size": 1}
    trainer = load_config(BUNDLE, ["train_teacher", "paper"], changed).get_parsed_content("train#trainer")
    last = trainer.network.denoiser.unet.out[2].conv  # it begins with zeros, so that step 1 moves no other layer
    before = last.weight.detach().clone()
    trainer.run()
    assert np.isfinite(float(trainer.state.output["loss"]))
    assert not torch.equal(before, last.weight)
