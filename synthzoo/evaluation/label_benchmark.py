"""Benchmark of label-to-image synthesis in one process, taking turns: sampling and painting, ours and MONAI's own.

Samplers have the same weights, requests and noise: ours as shipped and without guidance, and MONAI's
`LatentDiffusionInferer` with its `DDIMScheduler`, which has none, at as many steps and at the 50 of the paper. Painters
have the same widths; MONAI's `SPADENet` has no block at full resolution, and its weights, which speed does not depend
on, are random.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from monai.networks.nets import SPADENet
from torch import nn

from synthzoo.evaluation.baselines import MonaiSampler
from synthzoo.evaluation.benchmark import machine_of, measure_samplers, synchronise
from synthzoo.inferers.label_to_image import LabelToImageInferer
from synthzoo.networks.label_to_image import LabelToImage
from synthzoo.networks.spade import StylePainter

OURS, UNGUIDED = "ours", "ours without guidance"
PUBLISHED_STEPS = 50
COLUMNS = ["sampler", "s per label map", "processor s", "network calls", "GFLOP per label map", "peak MiB"]


def monai_painter(own: StylePainter) -> SPADENet:
    """MONAI's SPADENet of the widths of a painter of slices, weights at random."""
    widths = own.decoder.num_channels[-2::-1]  # without that of the head, and from the finest to the coarsest
    hidden = own.head.norm_0.mlp_shared.conv.out_channels
    size = {"input_shape": list(own.image_size), "z_dim": own.code_size, "spade_intermediate_channels": hidden}
    return SPADENet(2, 1, 1, own.classes, channels=widths, **size).eval()


@torch.inference_mode()
def processor_seconds(
    tasks: Mapping[str, Callable[[], Any]], device: torch.device, turns: int
) -> dict[str, tuple[float, float]]:
    """Name -> median seconds, and of processor time, of tasks that take turns; one round goes before, unmeasured."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for turn in range(turns + 1):
        for name, task in tasks.items():
            synchronise(device)
            began, busy = time.perf_counter(), time.process_time()
            task()
            synchronise(device)
            if turn:
                taken[name].append((time.perf_counter() - began, time.process_time() - busy))
    return {name: tuple(map(statistics.median, zip(*found))) for name, found in taken.items()}  # type: ignore[misc]


def benchmark_labels(
    network: LabelToImage,
    inferer: LabelToImageInferer,
    command: str,
    turns: int = 5,
    batch: int = 16,
    seed: int = 0,
) -> dict[str, Any]:
    """The card's report of sampling and painting.

    Args:
        network: in eval mode.
        inferer: that of the bundle.
        command: that gives the same numbers.
        turns: rounds; medians are reported.
        batch: label maps at once.
        seed: of noise and requests, which are drawn evenly from the network's bounds.
    """
    known, draw = network.conditions, torch.Generator().manual_seed(seed)
    device = known.low.device
    noise = torch.randn(batch, *network.latent_shape, generator=draw).to(device)
    conditions = known.low + (known.high - known.low) * torch.rand(batch, len(known), generator=draw).to(device)
    unguided = copy.copy(inferer)
    unguided.guidance = 1.0
    samplers: dict[str, tuple[Callable, nn.Module]] = {
        OURS: (sampling(inferer), network),
        UNGUIDED: (sampling(unguided), network),
    }
    for steps in dict.fromkeys((inferer.steps, PUBLISHED_STEPS)):
        plain = MonaiSampler(network, steps)
        samplers[f"MONAI, DDIM, {steps} steps"] = (plain, plain.network)
    with torch.inference_mode():
        rows = measure_samplers(samplers, noise, conditions, turns=1, peak_seconds=0.05)  # calls, work and memory
        maps = inferer.sample(noise, network, conditions)
        style = torch.rand(batch, 1, *network.painter.style_size, generator=draw).to(device)
    tasks = {name: partial(run, noise, own, conditions=conditions) for name, (run, own) in samplers.items()}
    seconds = processor_seconds(tasks, device, turns)
    theirs = monai_painter(network.painter).to(device)
    painters = {
        "ours, style encoded and painted": lambda: network.painter(maps, network.painter.style(style)[0]),
        "MONAI's SPADENet": lambda: theirs(maps, style)[0],
    }
    painted = processor_seconds(painters, device, turns)
    machine = machine_of(device)
    how = f"{inferer.sampler_name}, {inferer.steps} steps, guidance {inferer.guidance:g}"
    title = f"The same weights in other samplers, in turns, {batch} label maps at once, {machine}; ours: {how}"
    table = [
        [name, round(seconds[name][0] / batch, 4), round(seconds[name][1] / batch, 4)]
        + [row[key] for key in ("network_calls", "gflop_per_volume", "peak_memory_mib")]
        for name, row in rows.items()
    ]
    paint_title = f"Painting, in turns, {batch} slices at once; SPADENet has the same widths and no block at full "
    paint_title += f"resolution: {millions(network.painter)} and {millions(theirs)} M parameters"
    paint = [[name, *(round(part / batch, 4) for part in found)] for name, found in painted.items()]
    ours, same = seconds[OURS][1], seconds[UNGUIDED][1]
    others = [name for name in rows if name.startswith("MONAI")]
    figures = {f"times_as_fast_as_{name}": round(seconds[name][1] / ours, 2) for name in others}
    figures |= {f"unguided_times_as_fast_as_{name}": round(seconds[name][1] / same, 2) for name in others}
    own, other = (found[1] for found in painted.values())
    figures["painting_times_as_fast_as_SPADENet"] = round(other / own, 2)
    tables = [{"title": title, "columns": COLUMNS, "rows": table}]
    tables.append({"title": paint_title, "columns": ["painter", "s per slice", "processor s"], "rows": paint})
    return {"command": command, "tables": tables, "figures": figures, "measured": rows}


def sampling(inferer: LabelToImageInferer) -> Callable[..., torch.Tensor]:
    """An inferer's sampling as a sampler of `measure_samplers`."""

    def run(noise: torch.Tensor, network: LabelToImage, conditions: torch.Tensor | None = None) -> torch.Tensor:
        return inferer.sample(noise, network, conditions)

    return run


def millions(network: nn.Module) -> float:
    """Parameters in millions."""
    return round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 2)
