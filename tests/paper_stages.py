"""One step of a training stage at a published scale, which several systems' tests take."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from synthzoo.bundle.compose import load_config


def move_by_one_step(
    bundle: Any, stage: str, part: str, rows: Any, below: Sequence[str] = (), **overrides: Any
) -> None:
    """Train `part` of a bundle's network for one iteration of `stage`, which lies over `below`.

    It moves, and all figures are finite.
    """
    settings = {
        **overrides,
        "network": "$@network_def.to(@device)",
        "batch_size": 1,
        "epoch_length": 1,
        "max_epochs": 1,
        "data_format": "published",
        "train#trainer#progress": False,
        "train#dataset": rows,
        **dict.fromkeys(("checkpoint_dir", "save_to", "log_dir")),
    }
    trainer = load_config(bundle, ["paper", *below, f"train_{stage}", f"paper_{stage}"], settings).get_parsed_content(
        "train#trainer"
    )
    moved = getattr(trainer.network, part)
    before = next(moved.parameters()).detach().clone()
    trainer.run()
    assert not torch.equal(before, next(moved.parameters()))
    assert all(math.isfinite(value) for value in trainer.state.output.values())
