"""What does a generator's work: each part alone, on the same noise; and what a volume's slopes and spread say of it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi
from torch import nn

from synthzoo.datasets.brain.phantoms import BrainPhantomDataset, condition_vector
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.evaluation.denoiser_parts import ClosedFormAlone, NetworkAlone, has_closed_form, with_denoiser
from synthzoo.metrics.fidelity import gradient_energy, unexplained_spread
from synthzoo.networks.conditions import ConditionNormaliser
from synthzoo.networks.linear_denoiser import LatentGaussian
from synthzoo.systems.brain_ldm import shortcuts
from synthzoo.systems.brain_ldm.dataset import LatentDataset
from synthzoo.systems.brain_ldm.network import HybridConditioning, LatentDiffusion

SHAPE = (2, 4, 4, 4)


class Scaled(nn.Module):
    """Stands for a U-Net: a factor on the first channels of what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.3))

    def forward(self, x, timesteps, context=None):
        return self.factor * x[:, : SHAPE[0]]


class Pooled(nn.Module):
    """Stands for an autoencoder: means of 4^3 voxels, twice."""

    def encode(self, x):
        z = nn.functional.avg_pool3d(x, 4).expand(-1, SHAPE[0], -1, -1, -1)
        return z, torch.zeros_like(z)

    def decode(self, z):
        return nn.functional.interpolate(z[:, :1], scale_factor=4.0)


def network(closed_form=True):
    schedule, draw = NoiseSchedule(prediction="v"), torch.Generator().manual_seed(0)
    gaussian = LatentGaussian(SHAPE, 1, 3, schedule) if closed_form else None
    whole = LatentDiffusion(
        Pooled(),
        HybridConditioning(Scaled(), gaussian=gaussian),
        ConditionNormaliser([0.0], [10.0]),
        schedule,
        SHAPE,
        np.eye(4).tolist(),
        centre=True,
    )
    whole.fit_latents(0.5 + 0.1 * torch.randn(40, *SHAPE, generator=draw), 10 * torch.rand(40, 1, generator=draw))
    return whole.eval()


def test_channels_are_scaled_by_what_they_show():
    draw = torch.Generator().manual_seed(0)
    z = 0.5 + 0.1 * torch.randn(40, *SHAPE, generator=draw)
    shown = torch.arange(1.0, SHAPE[0] + 1)[:, None, None, None]

    class Weighed(Pooled):
        def decode(self, z):
            return (shown * z).sum(1, keepdim=True)

    whole = network(closed_form=False)
    whole.autoencoder, whole.by_image = Weighed(), True
    whole.fit_latents(z)
    ratio = whole.scale_factor / whole.scale_factor[0]
    assert torch.allclose(ratio, shown, rtol=1e-4)
    assert float(whole.normalise_latent(z).pow(2).mean()) == pytest.approx(1, rel=1e-4)
    assert torch.allclose(whole.autoencoder.decode(z), whole.decode(whole.normalise_latent(z)), atol=1e-5)


def test_each_part_of_the_denoiser_speaks_alone_and_both_together_as_before():
    whole, t = network(), torch.tensor([300, 700])
    noisy, conditions = torch.randn(2, *SHAPE), torch.tensor([[2.0], [float("nan")]])
    hybrid = whole.denoiser
    with torch.no_grad():
        both = whole.denoise(noisy, t, conditions)
        linear = with_denoiser(whole, ClosedFormAlone(hybrid.gaussian)).denoise(noisy, t, conditions)
        alone = with_denoiser(whole, NetworkAlone(hybrid)).denoise(noisy, t, conditions)
        torch.testing.assert_close(linear + alone, both)
        torch.testing.assert_close(alone, 0.3 * noisy, atol=1e-5, rtol=1e-4)
        assert whole.denoiser is hybrid and torch.equal(whole.denoise(noisy, t, conditions), both)
    assert has_closed_form(whole) and not has_closed_form(network(closed_form=False))


def test_weights_of_the_parts_are_told_apart_where_volumes_are_kept():
    from synthzoo.evaluation.volume_samples import fingerprint

    whole = network()
    parts = [ClosedFormAlone(whole.denoiser.gaussian), NetworkAlone(whole.denoiser)]
    assert len({fingerprint(one) for one in [whole, *(with_denoiser(whole, part) for part in parts)]}) == 3


def test_a_network_without_the_closed_form_begins_with_the_autoencoder_alone(tmp_path):
    whole, path = network(), tmp_path / "whole.pt"
    torch.save(whole.state_dict(), path)
    plain = network(closed_form=False)
    plain.latent_mean.zero_()
    with torch.no_grad():
        plain.denoiser.unet.factor.fill_(0.7)
    started = shortcuts.start_without(plain, path)
    assert torch.equal(started.latent_mean, whole.latent_mean)
    assert started.denoiser.unet.factor.item() == pytest.approx(0.7)
    torch.save(started.state_dict(), tmp_path / "plain.pt")
    beside = shortcuts.network_without(whole, Scaled(), tmp_path / "plain.pt")
    assert beside.denoiser.gaussian is None and whole.denoiser.gaussian is not None
    assert beside.denoiser.unet.factor.item() == pytest.approx(0.7)


def test_the_mean_of_a_request_takes_no_noise():
    whole, conditions = network(), torch.tensor([[1.0], [9.0]])
    first, second = (shortcuts.MeanInferer()(torch.randn(2, *SHAPE), whole, conditions) for _ in range(2))
    assert torch.equal(first, second) and not torch.equal(first[0], first[1])
    expected = whole.decode(whole.denoiser.gaussian.expected(whole.conditions(conditions))).clamp(0, 1)
    assert torch.equal(first, expected)


def test_a_closed_form_is_fitted_beside_a_network_that_has_none(tmp_path):
    class Ramps(BrainPhantomDataset):
        def image(self, row):
            noise = np.random.default_rng(row).random((4, 4, 4)).repeat(4, 0).repeat(4, 1).repeat(4, 2)
            return (0.1 * row / 20 + 0.5 * noise).astype(np.float16)

        def facts(self, row):
            return {"conditions": torch.tensor([row / 2]), "row": row}

    whole = network(closed_form=False)
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    fitted = shortcuts.fitted_closed_form(whole, lambda one: LatentDataset(one, Ramps(20, cache_dir=tmp_path)), 3)
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())
    assert has_closed_form(fitted) and not has_closed_form(whole)
    low, high = shortcuts.MeanInferer()(torch.randn(2, *SHAPE), fitted, torch.tensor([[0.0], [9.5]])).mean((1, 2, 3, 4))
    assert 0.03 < high - low < 0.2


def test_the_nearest_training_phantom_is_that_of_the_request(tmp_path):
    rows = BrainPhantomDataset(6, spacing_mm=6.0, cache_dir=tmp_path)
    requested = np.stack([condition_vector(rows.params(row)).numpy() for row in (4, 1)]) + 0.1
    low, high = np.array([20, 0, 5, 900]), np.array([90, 1, 120, 1600])
    found = shortcuts.nearest_phantoms(requested, low, high, rows)
    assert np.array_equal(found, np.stack([rows.image(4), rows.image(1)]).astype(np.float32))
    with pytest.raises(UserError, match="train_size = 0"):
        shortcuts.nearest_phantoms(requested, low, high, BrainPhantomDataset(0))


def test_latents_of_phantoms_are_encoded_once_and_of_others_each_time(tmp_path):
    class Rows(BrainPhantomDataset):
        read = 0

        def image(self, row):
            type(self).read += 1
            return np.full((16, 16, 16), row / 10, np.float16)

    first = LatentDataset(network(closed_form=False), Rows(5, cache_dir=tmp_path))
    again = LatentDataset(network(closed_form=False), Rows(5, cache_dir=tmp_path))
    assert Rows.read == 5 and torch.equal(first.latents, again.latents)
    assert torch.equal(first.conditions, again.conditions)
    other = LatentDataset(network(closed_form=False), Rows(5, split="validation", cache_dir=tmp_path))
    assert Rows.read == 10 and not torch.equal(other.conditions, first.conditions)
    LatentDataset(network(closed_form=False), Rows(5))
    assert Rows.read == 15


def test_an_image_and_its_mirror_image_are_two_rows_of_one_subject(tmp_path):
    class Ramps(BrainPhantomDataset):
        def image(self, row):
            return np.broadcast_to(np.linspace(0, row + 1, 16, dtype=np.float16)[:, None, None], (16, 16, 16))

    for _ in range(2):  # encoded, then read
        own = network(closed_form=False)
        both = LatentDataset(own, Ramps(3, cache_dir=tmp_path), batch_size=2, mirror=True)
        assert len(both) == 6 and torch.equal(both.conditions[0::2], both.conditions[1::2])
        raw = both.latents / own.scale_factor + own.latent_mean
        torch.testing.assert_close(raw[0::2].flip(2), raw[1::2])
        assert not torch.allclose(raw[0::2], raw[1::2])


def test_gradient_energy_is_the_mean_squared_slope_and_falls_with_blur():
    ramp = np.zeros((1, 12, 12, 12), np.float32) + 0.1 + 0.05 * np.arange(12).reshape(1, -1, 1, 1)
    assert gradient_energy(ramp)[0] == pytest.approx(0.05**2, rel=1e-4)
    volumes = np.random.default_rng(0).random((3, 16, 16, 16)).astype(np.float32)
    blurred = np.stack([ndi.gaussian_filter(volume, 1.0) for volume in volumes])
    assert (gradient_energy(blurred) < 0.3 * gradient_energy(volumes)).all()
    assert gradient_energy(np.zeros((1, 8, 8, 8)))[0] == 0


def test_spread_is_what_a_quadratic_of_the_conditions_leaves():
    rng = np.random.default_rng(1)
    conditions = rng.uniform(0, 100, (60, 3))
    fields = rng.standard_normal((3, 6, 6, 6))
    explained = np.tensordot(conditions, fields, 1) + (conditions[:, :1] * conditions[:, 1:2]).reshape(-1, 1, 1, 1)
    assert unexplained_spread(explained, conditions) < 1e-3 * explained.std()
    noisy = explained + 0.5 * rng.standard_normal(explained.shape)
    assert unexplained_spread(noisy, conditions) == pytest.approx(0.5, rel=0.05)
    with pytest.raises(UserError, match="10 volumes"):
        unexplained_spread(noisy[:10], conditions[:10])


def test_the_table_names_what_each_set_of_volumes_reaches(monkeypatch, tmp_path):
    from synthzoo.evaluation.brain_subjects import Brains
    from synthzoo.systems.brain_ldm.evaluation import SynthesisEvaluation

    rng = np.random.default_rng(2)
    size = 30
    evaluation = SynthesisEvaluation.__new__(SynthesisEvaluation)
    evaluation.measure_shortcuts, evaluation.without, evaluation.subjects = True, None, Brains()
    evaluation.closed_form_modes = None
    bounds = SimpleNamespace(low=torch.zeros(4), high=torch.full((4,), 100.0))
    evaluation.network = SimpleNamespace(conditions=bounds, denoiser=SimpleNamespace(gaussian=None))
    evaluation.requested, evaluation.count, evaluation.thin = rng.uniform(0, 100, (size, 4)), size, 1
    evaluation.training_size, evaluation.spacing_mm, evaluation.cache_dir = 5, 4.0, None
    true = 0.3 + 0.2 * rng.random((size, 8, 8, 8)).astype(np.float32)
    for name, value in {"generated": (ndi.gaussian_filter(true, (0, 1, 1, 1)), 0.1), "true": true}.items():
        evaluation.__dict__[name] = value
    evaluation.__dict__ |= {"restored": true, "true_features": true.reshape(size, -1)[:, :6]}
    evaluation.__dict__["other_features"] = evaluation.__dict__["true_features"] + 0.01
    evaluation.features = lambda images: images.reshape(len(images), -1)[:, :6]
    evaluation.measure = lambda images: dict.fromkeys(("ventricle_ml", "brain_ml", "age"), images.mean((1, 2, 3)))
    monkeypatch.setattr(shortcuts, "nearest_phantoms", lambda *_, **__: true[::-1])
    found = evaluation.shortcuts()
    rows = {row[0]: row[1:] for row in found.tables[0]["rows"]}
    assert list(rows) == ["generated", shortcuts.NEAREST, "phantoms through the autoencoder", "phantoms as requested"]
    assert all(len(row) == len(evaluation.shortcut_columns) for row in rows.values())
    assert rows["phantoms as requested"][1] == 1 and rows["phantoms as requested"][5] == 1
    assert rows["generated"][1] < 0.5 and found.figures["shortcuts_gradient_energy"] == rows["generated"][1]
    evaluation.measure_shortcuts = False
    assert not evaluation.shortcuts().tables
