"""A stage of training from a network, a dataset, an objective and numbers, with AdamW and a warm-up cosine.

rate(i) = learning_rate (i + 1) / warmup                                          for the first `warmup` iterations
rate(i) = learning_rate (floor + (1 - floor) (1 + cos(pi t)) / 2),  t in [0, 1]   for the rest
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import Dataset

from synthzoo.datasets.loader import SeededLoader
from synthzoo.errors import UserError
from synthzoo.training.trainer import ObjectiveTrainer

COSINE = "cosine"


def stage(
    network: torch.nn.Module,
    dataset: Dataset,
    objective: Callable[..., dict[str, torch.Tensor]],
    parameters: Iterable[torch.nn.Parameter],
    max_epochs: int,
    epoch_length: int | None = None,
    batch_size: int = 1,
    learning_rate: float = 1e-3,
    seed: int = 0,
    betas: Sequence[float] = (0.9, 0.999),
    weight_decay: float = 0.01,
    schedule: str | Callable[[torch.optim.Optimizer], LRScheduler] | None = COSINE,
    warmup: int = 0,
    floor: float = 0.02,
    critic: torch.nn.Module | None = None,
    critic_rate: float = 1e-4,
    critic_from: int = 0,
    critic_betas: Sequence[float] = (0.9, 0.999),
    shuffle: bool = True,
    files: Mapping[str, Any] | None = None,
    save_half: bool = True,
    **trainer: Any,
) -> ObjectiveTrainer:
    """The trainer of one stage: AdamW on `parameters` with a warm-up and a cosine, over a `SeededLoader` of `dataset`.

    Args:
        network: the bundle's composite network on its device.
        dataset: map-style; its rows are mappings of tensors.
        objective: (network, batch) -> {"loss": scalar, ...}, see `ObjectiveTrainer`.
        parameters: what this stage trains, for example `$@network.denoiser.parameters()`.
        max_epochs: epochs in total, those before a resume included.
        epoch_length: iterations per epoch; None takes one pass over the dataset.
        batch_size: rows per iteration and per process.
        learning_rate: the highest.
        seed: of order, augmentation and objectives.
        betas, weight_decay: of AdamW; with a weight decay of 0 it is Adam.
        schedule: "cosine"; optimiser -> scheduler, stepped once per iteration; or None for a constant rate.
        warmup, floor: of the cosine, see `cosine_schedule`.
        critic: a second objective that trains its own parameters by Adam after each step, such as `PatchCritic`.
        critic_rate: its learning rate.
        critic_from: iteration from which it learns.
        critic_betas: of its Adam.
        shuffle: False visits the rows in order.
        files: {"checkpoint_dir", "log_dir", "save_to"}, where the run writes; what is absent or None is not written.
        save_half: store the weights in half precision.
        trainer: further arguments of `ObjectiveTrainer`, such as "ema_decay", "amp", "init_from", "batch_shapes".

    Raises:
        UserError: a dataset without rows, another schedule, and what `ObjectiveTrainer` says.
    """
    device = next(network.parameters()).device
    loader = SeededLoader(dataset, batch_size, seed, shuffle)
    epoch_length = len(loader) if epoch_length is None else epoch_length
    optimizer = torch.optim.AdamW(parameters, learning_rate, tuple(betas), weight_decay=weight_decay)
    if schedule == COSINE:
        scheduler: LRScheduler | None = cosine_schedule(optimizer, max_epochs * epoch_length, warmup, floor)
    elif callable(schedule):
        scheduler = schedule(optimizer)
    elif schedule is None:
        scheduler = None
    else:
        raise UserError(f'train#trainer#schedule = {schedule!r}: give "{COSINE}", a scheduler or null.')
    steps = [{"objective": objective, "optimizer": optimizer, "scheduler": scheduler}]
    if critic is not None:
        own = torch.optim.Adam(critic.to(device).parameters(), critic_rate, tuple(critic_betas))
        steps.append({"objective": critic, "optimizer": own, "from_iteration": critic_from})
    settings = {"save_half": save_half, **dict(files or {}), **trainer}
    return ObjectiveTrainer(device, max_epochs, loader, network, steps, epoch_length, seed, **settings)


def cosine_schedule(optimizer: torch.optim.Optimizer, total: int, warmup: int = 0, floor: float = 0.0) -> LambdaLR:
    """Learning-rate factor that rises linearly over `warmup` iterations and falls as a half cosine to `floor`.

    MONAI's `WarmupCosineSchedule` begins at rate 0, which wastes the first iteration, and cuts the cosine off at its
    lowest rate where this one is moved up to it.

    Args:
        optimizer: whose rates are multiplied.
        total: iterations until `floor` is reached.
        warmup: iterations that rise.
        floor: lowest factor, in [0, 1].
    """

    def factor(iteration: int) -> float:
        if iteration < warmup:
            return (iteration + 1) / warmup
        done = min(1.0, (iteration - warmup) / max(1, total - warmup))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

    return LambdaLR(optimizer, factor)
