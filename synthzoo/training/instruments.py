"""Training of an instrument's network: AdamW, a warm-up cosine and averaged weights in half precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from synthzoo.datasets.loader import SeededLoader, seed_everything
from synthzoo.training.stages import cosine_schedule
from synthzoo.training.trainer import ObjectiveTrainer


def train_instrument(
    name: str,
    build: Callable[[], torch.nn.Module],
    objective: Callable[..., dict[str, torch.Tensor]],
    rows: Dataset,
    iterations: int,
    batch_size: int,
    rate: float,
    cache: str | None,
    folder: str | Path,
    **trainer: Any,
) -> None:
    """Train one network on the CPU and store its averaged weights as `<folder>/<name>.pt`.

    Args:
        name: of the weights file.
        build: makes the network, after the seed is set.
        objective, rows, iterations, batch_size: of the training.
        rate: the highest learning rate.
        cache: keeps checkpoints in `<cache>/<name>`; None keeps none.
        folder: of the weights.
        trainer: further arguments of `ObjectiveTrainer`, such as "ema_decay".
    """
    seed_everything(0)
    network = build()
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
    scheduler = cosine_schedule(optimizer, iterations, warmup=30, floor=0.01)
    ObjectiveTrainer(
        "cpu",
        1,
        SeededLoader(rows, batch_size),
        network,
        [{"objective": objective, "optimizer": optimizer, "scheduler": scheduler}],
        epoch_length=iterations,
        checkpoint_dir=Path(cache) / name if cache else None,
        checkpoint_every=100,
        save_to=Path(folder) / f"{name}.pt",
        save_half=True,
        **trainer,
    ).run()
