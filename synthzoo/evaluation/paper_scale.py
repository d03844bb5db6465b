"""Cost of the published scale: memory and seconds of one training step of each stage, and of decoding."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from synthzoo.errors import UserError
from synthzoo.evaluation.benchmark import PeakMemory, synchronise
from synthzoo.networks.convolution import computes_in

STAGES = ("autoencoder", "diffusion", "decode")
COLUMNS = ["what", "data", "precision", "million parameters", "processor s", "peak GiB", "machine"]
CONDITIONS = [63.0, 0.0, 30.0, 1150.0]


def measure_paper(
    load: Callable[[Sequence[str], Mapping[str, Any]], Any],
    stage: str,
    crop: Sequence[int] | None = None,
    autocast: str | None = None,
) -> dict:
    """One row of the table: the stage's own config, with noise for images, since their values cost nothing.

    Args:
        load: (overlays, overrides) -> parsed config of the bundle.
        stage: one of `STAGES`.
        crop: voxels of the image; None takes 64 x 64 x 64 for "autoencoder" and the window of paper.json for "decode".
        autocast: None, "bfloat16" or "float16".

    Returns:
        stage, what, data, precision, parameters_m, seconds (of processor time, a step), peak_gib (all that was
        allocated: weights, gradients, moments, activations), values after the last step, and the machine.

    Raises:
        UserError: an unknown stage, a crop that the autoencoder cannot halve three times, a precision that this
            machine does not compute in.
    """
    if stage not in STAGES:
        raise UserError(f"stage = {stage!r}: the known ones are {', '.join(STAGES)}.")
    crop = None if crop is None else [int(n) for n in crop]
    if crop is not None and (len(crop) != 3 or any(n < 32 or n % 8 for n in crop)):
        raise UserError(f"crop = {crop}: three multiples of 8, each at least 32.")
    if autocast and not computes_in(getattr(torch, autocast), "cuda" if torch.cuda.is_available() else "cpu"):
        raise UserError(f"autocast = {autocast}: this processor does not compute in it; leave it out for float32.")
    row: dict[str, Any] = {"stage": stage, "precision": autocast or "float32"}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with PeakMemory(device) as memory:
        if stage == "decode":
            row |= decode_window(load, crop, autocast)
        else:
            row |= train_step(load, stage, crop or [64, 64, 64], autocast)
        synchronise(device)
    if device.type == "cuda":
        machine = torch.cuda.get_device_name(device)
    else:
        machine = f"{os.cpu_count()} cores ({platform.machine()}), {torch.get_num_threads()} threads"
    return row | {"peak_gib": round(memory.grown / 1024, 2), "machine": machine}


def train_step(load: Callable, stage: str, crop: list[int], autocast: str | None) -> dict:
    """The stage's own trainer for one iteration; two for the autoencoder, which hears its critic in the second."""
    iterations = 2 if stage == "autoencoder" else 1
    overrides: dict[str, Any] = {
        "network": "$@network_def.to(@device)",
        "batch_size": 1,
        "epoch_length": iterations,
        "max_epochs": 1,
        "amp": autocast is not None,
        "train#trainer#amp_dtype": autocast or "bfloat16",
        "train#trainer#progress": False,
        **dict.fromkeys(("checkpoint_dir", "save_to", "log_dir")),
    }
    if stage == "autoencoder":
        overrides |= {"image_shape": [1, *crop], "critic_from": 0, "train#objective#perceptual": None}
        overrides["train#dataset"] = "$[{'image': torch.rand(@image_shape)}]"
    else:
        row = f"{{'latent': torch.randn(@latent_shape), 'conditions': torch.tensor({CONDITIONS})}}"
        overrides["train#dataset"] = f"$[{row}]"
    config = load(["paper", f"train_{stage}", f"paper_{stage}"], overrides)
    trainer = config.get_parsed_content("train#trainer")
    part = {"autoencoder": trainer.network.autoencoder, "diffusion": trainer.network.denoiser}[stage]
    before = next(part.parameters()).detach().clone()
    began = time.process_time()
    trainer.run()
    seconds = (time.process_time() - began) / iterations
    found = {name: float(value) for name, value in trainer.state.output.items()}
    if torch.equal(before, next(part.parameters())) or not all(math.isfinite(value) for value in found.values()):
        raise RuntimeError(f"stage {stage}: the step moved nothing or gave {found}")
    data = f"crop {' x '.join(map(str, crop))}" if stage == "autoencoder" else "whole latent"
    if stage == "autoencoder":
        what = "training step, autoencoder with critic (Adam)"
    else:
        what = "training step, diffusion (AdamW)"
    return {
        "what": what,
        "data": f"{data}, batch 1",
        "parameters_m": round(sum(p.numel() for p in part.parameters()) / 1e6, 1),
        "seconds": round(seconds, 1),
        "values": {name: round(value, 5) for name, value in found.items()},
    }


@torch.inference_mode()
def decode_window(load: Callable, crop: list[int] | None, autocast: str | None) -> dict:
    """One of the windows in which paper.json decodes, the denoiser in memory too; the windows come one by one."""
    config = load(["paper"], {})
    network = config.get_parsed_content("network_def")
    device = config.get_parsed_content("device")
    autoencoder = network.to(device).eval().autoencoder
    window = [n // 8 for n in crop] if crop else [int(n) for n in config["decode_roi"]]
    latent = torch.randn(1, 3, *window, device=device)
    began = time.process_time()
    dtype = getattr(torch, autocast or "bfloat16")
    with torch.autocast(device.type, dtype=dtype, enabled=autocast is not None):
        image = autoencoder.decode(latent)
    synchronise(device)
    return {
        "what": "decoding, one window of it, the denoiser in memory",
        "data": f"latent {' x '.join(map(str, window))} -> {' x '.join(map(str, image.shape[2:]))}",
        "parameters_m": round(sum(p.numel() for p in autoencoder.parameters()) / 1e6, 1),
        "seconds": round(time.process_time() - began, 1),
    }


def paper_report(row: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> dict:
    """The card's report with this row in place of the one of the same stage, data, precision and machine."""

    def key(one: Mapping[str, Any]) -> tuple:
        return one["stage"], one["data"], one["precision"], one["machine"]

    rows = [dict(one) for one in (old or {}).get("measured", []) if key(one) != key(row)] + [dict(row)]
    rows.sort(key=lambda one: (STAGES.index(one["stage"]), one["precision"], one["machine"]))
    names = ("what", "data", "precision", "parameters_m", "seconds", "peak_gib", "machine")
    title = "The published scale: memory that one step takes in all (weights, gradients, moments, activations)"
    return {
        "command": "python scripts/benchmark.py paper --stage " + "|".join(STAGES),
        "tables": [{"title": title, "columns": COLUMNS, "rows": [[one[name] for name in names] for one in rows]}],
        "measured": rows,
    }
