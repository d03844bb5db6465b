"""Stage one with a critic: two optimisers, each with its own gradients, the critic late, the defaults untouched."""

import pytest
import torch
from ignite.engine import Events
from monai.networks.nets import PatchDiscriminator
from torch.utils.data import Dataset

from synthzoo.datasets.loader import SeededLoader
from synthzoo.errors import UserError
from synthzoo.objectives.adversarial import PatchCritic
from synthzoo.objectives.autoencoder import AutoencoderObjective
from synthzoo.training import ObjectiveTrainer


class Autoencoder(torch.nn.Module):
    """Two convolutions each way; encode gives mean and deviation."""

    def __init__(self):
        super().__init__()
        self.down = torch.nn.Conv3d(1, 4, 2, stride=2)
        self.up = torch.nn.ConvTranspose3d(4, 1, 2, stride=2)

    def encode(self, x):
        mean = self.down(x)
        return mean, torch.full_like(mean, 0.01)

    def decode(self, z):
        return self.up(z)


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.autoencoder = Autoencoder()


class Blobs(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, row):
        x = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 16)] * 3, indexing="ij"))
        return {"image": torch.exp(-4 * ((x - 0.2 * row + 0.3) ** 2).sum(0, keepdim=True))}


@pytest.fixture
def parts():
    torch.manual_seed(0)
    network = Network()
    critic = PatchCritic(PatchDiscriminator(3, 4, 1, num_layers_d=1, norm="INSTANCE"))
    objective = AutoencoderObjective(kl_weight=1e-8, edge_weight=0, critic=critic, adversarial_weight=0.005)
    return network, critic, objective


def steps_of(network, critic, objective, late=0):
    return [
        {"objective": objective, "optimizer": torch.optim.Adam(network.autoencoder.parameters(), 3e-3)},
        {"objective": critic, "optimizer": torch.optim.Adam(critic.parameters(), 1e-3), "from_iteration": late},
    ]


def trainer_of(network, steps, tmp_path, iterations, resume=True):
    loader = SeededLoader(Blobs(), 2)
    return ObjectiveTrainer(
        "cpu", 1, loader, network, steps, iterations, checkpoint_dir=tmp_path, progress=False, resume=resume
    )


def test_both_steps_lower_their_losses_and_the_critic_starts_late(parts, tmp_path):
    network, critic, objective = parts
    trainer, seen = trainer_of(network, steps_of(*parts, late=10), tmp_path, 60), []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.append(dict(engine.state.output)))
    trainer.run()
    assert "critic/loss" not in seen[9] and "critic/loss" in seen[10]
    assert "autoencoder/adversarial" not in seen[10] and "autoencoder/adversarial" in seen[11]
    assert int(critic.steps) == 50
    assert seen[-1]["autoencoder/l1"] < 0.5 * seen[0]["autoencoder/l1"]
    first, last = (sum(out["critic/loss"] for out in part) for part in (seen[10:15], seen[-5:]))
    assert last < first


def test_neither_side_gets_the_others_gradient(parts, tmp_path):
    network, critic, objective = parts
    critic.steps += 1
    before = {name: value.clone() for name, value in critic.state_dict().items()}
    optimizer = torch.optim.SGD(network.autoencoder.parameters(), 0.1)
    trainer = trainer_of(network, steps_of(*parts), tmp_path, 1)
    batch = {"image": torch.stack([Blobs()[row]["image"] for row in range(2)])}
    values = trainer.take_step({"objective": objective, "optimizer": optimizer, "scheduler": None}, batch)
    assert any("adversarial" in name for name in values)
    assert all(parameter.grad is None for parameter in critic.parameters())
    assert all(torch.equal(value, before[name]) for name, value in critic.state_dict().items())
    assert all(parameter.grad is not None for parameter in network.autoencoder.parameters())
    network.zero_grad()
    assert not critic.restored.requires_grad
    trainer.take_step(trainer.steps[1], batch)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert any(parameter.grad is not None for parameter in critic.parameters())


def test_the_verdict_reaches_the_autoencoder(parts):
    network, critic, objective = parts
    image = Blobs()[0]["image"][None]
    restored = network.autoencoder.decode(network.autoencoder.encode(image)[0])
    critic.verdict(restored).backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in network.autoencoder.parameters())


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path):
    def run(folder, lengths):
        for iterations in lengths:
            torch.manual_seed(0)
            network = Network()
            critic = PatchCritic(PatchDiscriminator(3, 4, 1, num_layers_d=1, norm="INSTANCE"))
            objective = AutoencoderObjective(edge_weight=0, critic=critic)
            trainer_of(network, steps_of(network, critic, objective, late=2), folder, iterations).run()
        return network, critic

    whole, halves = run(tmp_path / "a", [8]), run(tmp_path / "b", [4, 8])
    for one, other in zip(whole, halves):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


def test_without_options_the_loss_is_what_it_was(parts):
    network, _, _ = parts
    image = Blobs()[1]["image"][None]
    torch.manual_seed(3)
    found = AutoencoderObjective()(network, {"image": image})
    torch.manual_seed(3)
    mean, deviation = network.autoencoder.encode(image)
    restored = network.autoencoder.decode(mean + deviation * torch.randn_like(deviation))
    edges = sum((restored.diff(dim=a) - image.diff(dim=a)).abs().mean() for a in (2, 3, 4)) / 3
    kl = 0.5 * (mean**2 + deviation**2 - (deviation**2).log() - 1).sum()
    assert list(found) == ["loss", "l1", "kl"]
    torch.testing.assert_close(found["loss"], (restored - image).abs().mean() + 0.5 * edges + 1e-7 * kl)


def test_a_perceptual_distance_sees_images_between_minus_one_and_one(parts, monkeypatch):
    network, _, _ = parts
    image, seen = Blobs()[1]["image"][None], []

    def distance(x, y):
        seen.append((float(y.min()), float(y.max())))
        return (x - y).abs().mean()

    torch.manual_seed(3)
    plain = AutoencoderObjective(edge_weight=0)(network, {"image": image})
    torch.manual_seed(3)
    found = AutoencoderObjective(edge_weight=0, perceptual=distance, perceptual_weight=0.5)(network, {"image": image})
    assert seen[0][0] < -0.9 and seen[0][1] > 0.8
    torch.testing.assert_close(found["loss"], plain["loss"] + 0.5 * 2 * plain["l1"])
    import monai.losses

    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(monai.losses, "PerceptualLoss", offline)
    with pytest.raises(UserError, match="perceptual = 'squeeze': this network cannot be had .*set perceptual to null"):
        AutoencoderObjective(perceptual="squeeze")


def test_the_spectral_term_adds_the_error_of_the_amplitudes(parts):
    network, image, found = parts[0], torch.rand(1, 1, 8, 8, 8), []
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        found.append(AutoencoderObjective(edge_weight=0, spectral_weight=weight)(network, {"image": image}))
    assert "spectral" not in found[0] and found[1]["spectral"] > 0
    torch.testing.assert_close(found[1]["loss"], found[0]["loss"] + 2 * found[1]["spectral"])
