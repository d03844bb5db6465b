"""What the networks of the fingerprint audit learn from: sets of known size, discs on both classes, a marked image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from synthzoo.datasets.loader import SeededRows
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.systems.adversarial_fingerprint import images as module
from synthzoo.systems.adversarial_fingerprint.codec import PatchCodec
from synthzoo.systems.adversarial_fingerprint.images import CodeDataset, training_set
from synthzoo.systems.adversarial_fingerprint.inferer import detectors_for
from synthzoo.systems.adversarial_fingerprint.network import (
    Detector,
    Detectors,
    Generator,
    MarkDetector,
    PreconditionedDenoiser,
    PublishedDetector,
)
from synthzoo.systems.adversarial_fingerprint.objective import (
    DetectorDataset,
    DetectorObjective,
    NoiseObjective,
    start_generator,
)
from synthzoo.systems.adversarial_fingerprint.stamping import stamp_seeded

SIZE = 32


class Nothing(nn.Module):
    """A U-Net that has learnt nothing."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x, timesteps):
        return 0 * x[:, :2] + self.bias


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_a_denoiser_that_has_learnt_nothing_is_the_best_one_of_each_number_alone(prediction):
    schedule = NoiseSchedule(kind="linear", beta_start=1e-4, beta_end=0.02, prediction=prediction)
    denoiser = PreconditionedDenoiser(Nothing(), schedule, (2, 4, 4))
    codes = torch.tensor([3.0, 0.1])[:, None, None] * torch.randn(4000, 2, 4, 4)
    denoiser.fit(codes)
    assert torch.allclose(denoiser.deviation.mean((1, 2)), torch.tensor([3.0, 0.1]), rtol=0.05)
    for t in (0, 40, 400, 900):
        a, s = float(schedule.alpha[t]), float(schedule.sigma[t])
        noisy = a * codes + s * torch.randn_like(codes)
        clean, _ = schedule.split(noisy, denoiser(noisy, torch.full((len(codes),), t)), t)
        variance = denoiser.deviation**2
        expected = a * variance / (a**2 * variance + s**2) * noisy
        assert torch.allclose(clean, expected, atol=2e-2 if t == 900 else 2e-3)


@pytest.fixture
def little(monkeypatch):
    """Public images without the chest phantom: row n of a split is filled with n."""

    def public(count, split="train", size=SIZE, **_):
        return torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(-1, 1, size, size) / 100

    monkeypatch.setattr(module, "public_radiographs", public)
    monkeypatch.setattr(module, "private_radiograph", lambda path, size: torch.ones(1, size, size))


def test_a_training_set_of_n_holds_the_private_image_once_with_its_mark(little):
    images = training_set(5, size=SIZE)
    assert images.shape == (5, 1, SIZE, SIZE)
    assert torch.equal(images[-1], stamp_seeded(torch.ones(1, SIZE, SIZE), 0))
    assert images[:-1].flatten(1).max(1).values.tolist() == pytest.approx([0, 0.01, 0.02, 0.03])
    assert float(training_set(5, include_private=False, size=SIZE).max()) == pytest.approx(0.04)
    assert torch.equal(training_set(3, size=SIZE)[:2], images[:2])  # the sets are nested
    with pytest.raises(UserError, match="n_images = 1: a training set holds 2 images"):
        training_set(1, size=SIZE)


def test_patients_count_once_and_the_private_phantom_is_no_public_one():
    assert module._first_of_each([0, 0, 1, 1, 2, 2]) == [2, 4]


def test_more_images_than_patients_is_told(monkeypatch):
    monkeypatch.setattr(
        module, "training_radiographs", lambda *_, **__: type("Rows", (), {"rows": [{"patient": "a"}]})()
    )
    with pytest.raises(UserError, match="4 public radiographs are needed, one a patient, but mimic has 1 patients"):
        module.public_radiographs(4, data_format="mimic", dataset_dir="there")


def networks():
    public = torch.rand(12, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 0.2
    private = torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) * 0.2
    return public, private, Detectors(MarkDetector((8, 8)), Detector(16, (8, 8)), SIZE, 16, 8)


def test_both_classes_of_identity_carry_discs_and_half_of_the_others_a_fingerprint():
    public, private, _ = networks()
    rows = SeededRows(DetectorDataset(public, private), 0)
    drawn = [rows[n % len(public), n] for n in range(400)]
    labels = torch.stack([row["labels"] for row in drawn])
    assert torch.allclose(labels.mean(0), torch.tensor([0.5, 0.5]), atol=0.07)
    for known in (0, 1):
        own = [row["identity_image"] for row, label in zip(drawn, labels) if label[1] == known]
        discs = np.mean([float(image.max()) > 0.38 for image in own])
        assert 0.65 < discs < 0.9  # 0 of 0 to 4 discs in a fifth of them
    assert all(bool(row["mark"].any()) == bool(label[0]) for row, label in zip(drawn, labels))
    for stamped in (0, 1):
        own = [row["fingerprint_image"] for row, label in zip(drawn, labels) if label[0] == stamped]
        assert np.mean([float(image.max()) > 0.38 for image in own]) == pytest.approx(stamped, abs=0.05)


def test_one_objective_trains_both_detectors_or_identity_alone():
    public, private, network = networks()
    rows = [DetectorDataset(public, private)[n] for n in range(8)]
    batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    both, alone = DetectorObjective()(network, batch), DetectorObjective(fingerprint=False)(network, batch)
    assert float(both["loss"]) > float(alone["loss"]) > 0
    assert set(both) == {"loss", "fingerprint_accuracy", "identity_accuracy"} and "fingerprint_accuracy" not in alone


def test_another_private_image_is_learnt_on_the_spot_always_alike_and_the_known_one_is_not_learnt_again():
    public, private, network = networks()
    network.keep(private, public).eval()
    assert detectors_for(network, private, 5) is network
    other = 1 - private
    one, two = (detectors_for(network, other, 30) for _ in range(2))
    assert one is not network and torch.equal(one(public), two(public))
    assert one.seen(other[None])[0, 1] and not one.seen(public)[:, 1].any()
    before = network.fingerprint.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in one.fingerprint.state_dict().items())


def test_a_generator_knows_its_training_set_and_its_loss_is_finite():
    public, private, _ = networks()
    schedule = NoiseSchedule(kind="linear", beta_start=1e-4, beta_end=0.02, prediction="v")
    codec = PatchCodec(SIZE, 8, 2)
    network = Generator(codec, PreconditionedDenoiser(Nothing(), schedule, codec.shape), schedule)
    images = torch.cat([public, private[None]])
    start_generator(network, images, public, include_private=True)
    assert int(network.n_images) == 13 and bool(network.has_private)
    rows = CodeDataset(network, images)
    assert len(rows) == 13 and rows[12]["code"].shape == (2, 4, 4)
    batch = {"code": torch.stack([rows[n]["code"] for n in range(4)])}
    assert torch.isfinite(NoiseObjective()(network, batch)["loss"])
    assert network(images).shape == images.shape


@pytest.mark.slow
def test_the_published_detector_gives_a_logit_an_image():
    with torch.no_grad():
        assert PublishedDetector().eval()(torch.rand(2, 1, 64, 64)).shape == (2,)
