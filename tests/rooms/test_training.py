"""The training loop on a network of six numbers, where every step can be worked out by hand."""

from __future__ import annotations

import functools

import pytest
import torch
from ignite.engine import Events
from torch.utils.data import Dataset

from synthzoo.datasets.loader import SeededBatches, SeededLoader
from synthzoo.errors import UserError
from synthzoo.networks.weights import load_weights
from synthzoo.training import ObjectiveTrainer, cosine_schedule, stage


class Rows(Dataset):
    """Row k is (k, 2k, 3k) plus noise drawn while it is made, as an augmentation would."""

    def __init__(self, length: int = 7) -> None:
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, row):
        return {"image": torch.tensor([1.0, 2.0, 3.0]) * row / 7 + 0.01 * torch.randn(3), "row": row}


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = torch.nn.Linear(3, 1, bias=False), torch.nn.Linear(3, 1, bias=False)
        self.register_buffer("scale_factor", torch.tensor(2.0))


def objective(network, batch):
    noise = torch.randn(len(batch["image"]), 1)  # randomness inside the objective, as diffusion has
    return {"loss": (network.a(batch["image"]) - 1 + 0.1 * noise).square().mean()}


def make_trainer(folder, network=None, steps=None, max_epochs=3, **kwargs):
    network = network or Network()
    optimizer = torch.optim.Adam(network.a.parameters(), 0.01)
    steps = steps or [
        {"objective": objective, "optimizer": optimizer, "scheduler": cosine_schedule(optimizer, 12, warmup=2)}
    ]
    loader = SeededLoader(kwargs.pop("dataset", Rows()), batch_size=2, seed=5)
    return ObjectiveTrainer(
        "cpu",
        max_epochs,
        loader,
        network,
        steps,
        epoch_length=4,
        ema_decay=0.9,
        checkpoint_dir=folder,
        save_to=folder / "model.pt",
        progress=False,
        **kwargs,
    )


class Killed(BaseException):
    """Stands for SIGKILL: nothing that the trainer catches."""


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    whole = make_trainer(tmp_path / "whole", checkpoint_every=3)
    whole.run()

    def deadly(network, batch, calls=[0]):  # noqa: B006, the list counts the calls
        calls[0] += 1
        if calls[0] == 8:  # the last checkpoint was at iteration 6, inside the second epoch
            raise Killed
        return objective(network, batch)

    network = Network()
    optimizer = torch.optim.Adam(network.a.parameters(), 0.01)
    step = {"objective": deadly, "optimizer": optimizer, "scheduler": cosine_schedule(optimizer, 12, warmup=2)}
    with pytest.raises(Killed):
        make_trainer(tmp_path / "killed", network, [step], checkpoint_every=3).run()
    resumed = make_trainer(tmp_path / "killed", checkpoint_every=3)
    assert resumed.state.iteration == 6
    resumed.run()
    assert resumed.state.iteration == 12
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name])
        assert torch.equal(whole.ema.state_dict()[name], resumed.ema.state_dict()[name])


def test_order_and_augmentation_depend_only_on_seed_and_iteration():
    def batches(start, count, workers):
        loader = SeededLoader(Rows(), batch_size=2, seed=1, num_workers=workers)
        loader.start_at(start)
        stream = iter(loader)
        return [next(stream) for _ in range(count)]

    whole = batches(0, 9, 0)
    late = batches(5, 4, 1)
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(whole[5:], late))
    rows = [int(row) for batch in whole for row in batch["row"]][:14]
    assert sorted(rows[:7]) == list(range(7)) and sorted(rows[7:]) == list(range(7)) and rows[:7] != rows[7:]


def test_ranks_share_a_batch_without_overlap():
    shares = [next(iter(SeededBatches(8, 2, seed=3, rank=rank, world_size=4))) for rank in range(4)]
    rows = [row for share in shares for row, _ in share]
    assert sorted(rows) == list(range(8))


def test_saved_weights_are_the_closed_form_moving_average(tmp_path):
    network, seen = Network(), []

    def remember(trainer):
        seen.append(trainer.network.a.weight.detach().clone())

    expected = network.a.weight.detach().clone()
    trainer = make_trainer(tmp_path, network)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, remember)
    trainer.run()
    for i, weight in enumerate(seen):
        decay = min(0.9, (1 + i) / (10 + i))
        expected = decay * expected + (1 - decay) * weight
    saved = load_weights(Network(), tmp_path / "model.pt")
    assert torch.allclose(saved.a.weight, expected, atol=1e-6)
    assert torch.equal(saved.b.weight, network.b.weight) and float(saved.scale_factor) == 2.0
    assert not torch.equal(saved.a.weight, network.a.weight)


def test_two_optimisers_step_in_order_and_touch_only_their_own_weights(tmp_path):
    network, order = Network(), []
    before = {name: value.clone() for name, value in network.state_dict().items()}

    class First:
        name = "generator"

        def __call__(self, network, batch):
            order.append("generator")
            assert not network.b.weight.requires_grad and network.a.weight.requires_grad
            return {"loss": (network.a(batch["image"]) + network.b(batch["image"])).mean()}

    class Second:
        name = "discriminator"

        def __call__(self, network, batch):
            order.append("discriminator")
            moved = before["a.weight"] - 0.1 * torch.sign(before["a.weight"] - network.a.weight)
            assert len(order) > 2 or not torch.equal(moved, before["a.weight"])  # the first pair has stepped already
            assert network.a.weight.requires_grad is False
            return {"loss": network.b(batch["image"]).square().mean()}

    steps = [
        {"objective": First(), "optimizer": torch.optim.SGD(network.a.parameters(), 0.1)},
        {"objective": Second(), "optimizer": torch.optim.SGD(network.b.parameters(), 0.1), "from_iteration": 1},
    ]
    trainer = make_trainer(tmp_path, network, steps, max_epochs=1)
    trainer.run()
    assert order == ["generator", "generator", "discriminator", "generator", "discriminator"] + order[5:]
    assert len(order) == 7 and "generator/loss" in trainer.state.output
    assert not torch.equal(network.a.weight, before["a.weight"])


def test_wrong_shapes_and_broken_losses_are_told_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"'image' has shape \[3\], the network needs \[1, 8, 8, 8\]"):
        make_trainer(tmp_path / "a", batch_shapes={"image": [1, 8, 8, 8]}).run()
    network = Network()
    step = {
        "objective": lambda network, batch: {"loss": network.a(batch["image"]).mean() * float("nan")},
        "optimizer": torch.optim.SGD(network.parameters(), 0.1),
    }
    with pytest.raises(UserError, match="loss became nan at iteration 1; lower the learning rate"):
        make_trainer(tmp_path / "b", network, [step]).run()
    with pytest.raises(UserError, match="has 0 rows"):
        make_trainer(tmp_path / "c", dataset=Rows(0))
    make_trainer(tmp_path / "d", max_epochs=1).run()
    other = Network()
    other.a = torch.nn.Linear(5, 1)
    with pytest.raises(UserError, match="checkpoint.pt: does not belong to this network"):
        make_trainer(tmp_path / "d", other)


def test_tensorboard_gets_scalars_and_images(tmp_path):
    class WithImages:
        def __call__(self, network, batch):
            return objective(network, batch)

        def images(self, network, batch, inferer):
            assert not network.training
            return {"square": torch.ones(1, 4, 4)}

    network = Network()
    steps = [{"objective": WithImages(), "optimizer": torch.optim.SGD(network.a.parameters(), 0.1)}]
    make_trainer(tmp_path, network, steps, max_epochs=1, log_dir=tmp_path / "logs", log_every=1).run()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(tmp_path / "logs"))
    log.Reload()
    assert len(log.Scalars("train/loss")) == 4 and log.Tags()["images"] == ["square"]


def make_stage(folder, **more):
    network = Network()
    files = {"checkpoint_dir": folder, "log_dir": None, "save_to": folder / "model.pt"}
    given = {"max_epochs": 3, "epoch_length": 4, "batch_size": 2, "learning_rate": 0.01, "seed": 5, "warmup": 2}
    given |= {
        "weight_decay": 0.0,
        "floor": 0.0,
        "save_half": False,
        "ema_decay": 0.9,
        "files": files,
        "progress": False,
    }
    return stage(network, Rows(), objective, network.a.parameters(), **(given | more))


def test_a_stage_is_the_trainer_that_one_would_build_by_hand(tmp_path):
    by_hand, short = make_trainer(tmp_path / "hand", seed=5), make_stage(tmp_path / "stage")
    by_hand.run(), short.run()
    for name in ("model.pt", "checkpoint.pt"):
        one, two = (torch.load(tmp_path / way / name, weights_only=True) for way in ("hand", "stage"))
        one, two = one.get("network", one), two.get("network", two)
        assert all(torch.equal(one[key], two[key]) for key in one), name


def test_a_stage_without_a_length_takes_one_pass_and_a_schedule_of_none_keeps_the_rate(tmp_path):
    trainer = make_stage(tmp_path, epoch_length=None, schedule=None)
    assert trainer.state.epoch_length == 3  # 7 rows in batches of 2
    trainer.run()
    assert trainer.steps[0]["optimizer"].param_groups[0]["lr"] == 0.01


def test_a_stage_takes_another_schedule_and_refuses_an_unknown_word(tmp_path):
    halved = functools.partial(torch.optim.lr_scheduler.StepLR, step_size=12, gamma=0.5)
    trainer = make_stage(tmp_path, schedule=halved)
    trainer.run()
    assert trainer.steps[0]["optimizer"].param_groups[0]["lr"] == pytest.approx(0.005)
    with pytest.raises(UserError, match="schedule = 'linear': give \"cosine\""):
        make_stage(tmp_path, schedule="linear")


def test_the_critic_of_a_stage_learns_its_own_parameters_from_its_iteration_on(tmp_path):
    class Critic(torch.nn.Linear):
        name = "critic"

        def forward(self, network, batch):
            return {"loss": super().forward(batch["image"]).square().mean()}

    critic, seen = Critic(3, 1), []
    trainer = make_stage(tmp_path, critic=critic, critic_from=8)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.append(critic.weight.detach().clone()))
    trainer.run()
    assert torch.equal(seen[0], seen[7]) and not torch.equal(seen[7], seen[8])
