"""Benchmark of latent diffusion samplers in one process, taking turns: ours, monai-generative's and MONAI's own.

All have the same weights and decode what they sampled; where images are asked for, their quality is measured, too.
"""

from __future__ import annotations

from typing import Any

import torch

from synthzoo.errors import UserError
from synthzoo.evaluation.baselines import GenerativeSampler, MonaiSampler
from synthzoo.evaluation.benchmark import (
    compare,
    generate,
    machine_of,
    measure_quality,
    measure_samplers,
    sampling_table,
)
from synthzoo.evaluation.brain_subjects import Brains
from synthzoo.evaluation.subjects import Subjects


def benchmark_sampling(
    config: Any,
    command: str,
    turns: int = 5,
    batch: int = 4,
    quality: int = 0,
    baseline_steps: int = 50,
    seed: int = 0,
    subjects: Subjects | None = None,
) -> dict[str, Any]:
    """The card's report of `measure_samplers` for requests as the subjects draw them.

    Args:
        config: parser of a bundle whose network is a `LatentDiffusion`.
        command: that gives the same numbers.
        turns: rounds that are timed; the median counts.
        batch: volumes made at once.
        quality: volumes per sampler whose agreement and FID are measured; 0 leaves this out.
        baseline_steps: of the baselines' DDIM.
        seed: of noise and requests.
        subjects: whose volumes they are; None are brains.
    """
    network, ours = config.get_parsed_content("network"), config.get_parsed_content("inferer")
    samplers = {"ours": (ours, network)}
    plain = MonaiSampler(network, baseline_steps)
    samplers[plain.name] = (plain, plain.network)
    try:
        old = GenerativeSampler(network, baseline_steps, config["network_def"])
        samplers[old.name] = (old, old.network)
    except UserError as error:
        print(f"left out: {error}")
    device, count = next(network.parameters()).device, max(batch, quality)
    subjects, spacing_mm = subjects or Brains(), float(network.affine[0, :3].norm())
    low, high = (ends.cpu().numpy() for ends in (network.conditions.low, network.conditions.high))
    requested = subjects.requests(count, low, high, seed)
    conditions = torch.tensor(requested, dtype=torch.float32, device=device)
    noise = torch.randn(count, *network.latent_shape, generator=torch.Generator().manual_seed(seed)).to(device)
    rows = measure_samplers(samplers, noise[:batch], conditions[:batch], turns)
    if quality:
        options: dict[str, Any] = {"spacing_mm": spacing_mm, "split": "test", "requests": requested}
        true = subjects.phantoms(quality, "phantoms", **options)
        for name, (sampler, own) in samplers.items():
            images = generate(sampler, own, noise[:quality], conditions[:quality], batch, name)
            rows[name] |= measure_quality(images, requested, true, subjects, spacing_mm)
    settings = {name: config[name] for name in ("sampler", "steps", "guidance")}
    machine = machine_of(device)
    return {
        "command": command,
        "tables": [sampling_table(rows, settings, baseline_steps, batch, quality, machine)],
        "figures": compare(rows),
        "settings": settings | {"batch": batch, "torch": torch.__version__, "machine": machine},
        "samplers": rows,
    }
