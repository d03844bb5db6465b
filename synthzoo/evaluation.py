"""What a brain generator does with its requests, measured by instruments that saw none of its training.

Requests are uniform in the conditions. Beside each figure stands the phantom's own: the same instrument on true
phantoms of the same requests (the ceiling), and shuffled requests (the floor).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from synthzoo.data.brain_phantom import BrainPhantomDataset
from synthzoo.data.files import write_json
from synthzoo.metrics.brain_age import measure_ages
from synthzoo.metrics.brain_segmentation import features
from synthzoo.metrics.brain_volumes import measure_brains
from synthzoo.metrics.conditioning import conditioning
from synthzoo.metrics.fidelity import fid_with_floor, pairwise_ms_ssim
from synthzoo.metrics.memorisation import memorisation

MEASURED = ("ventricle_ml", "brain_ml", "age")


def uniform_requests(count: int, low, high, seed: int) -> np.ndarray:
    """Conditions (count, 4) in user units, uniform between the bounds; sex is 0 or 1."""
    values = np.random.default_rng([seed, 41]).uniform(low, high, (count, len(low)))
    values[:, 1] = np.round(values[:, 1])
    return values


class SynthesisEvaluation:
    """Generates for uniform requests, measures, and writes metrics.json.

    Args:
        network: the composite network with trained weights.
        inferer: a `SynthesisInferer`.
        metrics_file: where the figures go.
        command: the command that gives them, for the card.
        count: requests.
        training_size: training phantoms among which nearest neighbours are sought.
        seed: of requests and start noise.
        batch_size: images at once.
        cache_dir: folder of cached phantoms, or None.
    """

    def __init__(
        self,
        network: Any,
        inferer: Any,
        metrics_file: str,
        command: str,
        count: int = 200,
        training_size: int = 300,
        seed: int = 0,
        batch_size: int = 8,
        cache_dir: str | None = None,
    ):
        self.network, self.inferer, self.metrics_file, self.command = network.eval(), inferer, metrics_file, command
        self.count, self.training_size, self.seed = int(count), int(training_size), int(seed)
        self.batch_size, self.cache_dir = int(batch_size), cache_dir

    def generate(self, asked: np.ndarray) -> tuple[np.ndarray, float]:
        """Images (N, D, H, W) for conditions (N, K), and seconds per image."""
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(len(asked), *self.network.latent_shape, generator=generator)
        values = torch.tensor(asked, dtype=torch.float32)
        began, images = time.perf_counter(), []
        for first in tqdm(range(0, len(asked), self.batch_size), desc="generate"):
            part = slice(first, first + self.batch_size)
            images.append(self.inferer(noise[part], self.network, conditions=values[part])[:, 0].numpy())
        return np.concatenate(images), (time.perf_counter() - began) / len(asked)

    def run(self) -> dict:
        """Measure everything, write the file and return what it holds."""
        bounds = self.network.conditions
        asked = uniform_requests(self.count, bounds.low.numpy(), bounds.high.numpy(), self.seed)
        made, seconds = self.generate(asked)
        true = stack(BrainPhantomDataset(self.count, split="test", requests=asked), "phantoms as asked")
        other = stack(BrainPhantomDataset(self.count, split="test", first=50_000, independent=1.0), "other phantoms")
        train = BrainPhantomDataset(self.training_size, split="train", cache_dir=self.cache_dir)
        train = stack(train, "training phantoms")
        rows, figures = [], {}
        columns = {"ventricle_ml": 2, "brain_ml": 3, "age": 0}
        for kind, images in (("generated", made), ("phantom (ceiling)", true)):
            measured = measure_brains(images) | {"age": measure_ages(images)}
            for name in MEASURED:
                found = conditioning(asked[:, columns[name]], measured[name], self.seed)
                rows.append([name, kind, found["r"], found["slope"], found["mae"], found["shuffled"]["r"]])
                if kind == "generated":
                    figures[f"r {name}"], figures[f"slope {name}"] = found["r"], found["slope"]
        similar = [pairwise_ms_ssim(images) for images in (made, true)]
        distance = fid_with_floor(features(made), features(true), features(other))
        near = memorisation(made, train, other[: len(made)], step=2)
        scalars = {**plain("fid", distance), **plain("memorisation", near)}
        scalars |= {**plain("ms_ssim generated", similar[0]), **plain("ms_ssim phantoms", similar[1])}
        figures["seconds_per_sample_cpu"] = round(seconds, 3)
        metrics = {
            "command": self.command,
            "tables": [
                {
                    "title": f"Asked against measured, {self.count} uniform requests",
                    "columns": ["condition", "images", "r", "slope", "MAE", "r of shuffled requests"],
                    "rows": rows,
                },
                {
                    "title": "Fidelity, diversity and memorisation",
                    "columns": ["figure", "value"],
                    "rows": [[name, value] for name, value in scalars.items()],
                },
            ],
            "figures": figures,
        }
        write_json(Path(self.metrics_file), metrics)
        return metrics


def stack(dataset: BrainPhantomDataset, what: str) -> np.ndarray:
    """All images of a data set, float32 (N, D, H, W)."""
    return np.stack([dataset.image(row).astype(np.float32) for row in tqdm(range(len(dataset)), desc=what)])


def plain(prefix: str, found: Any) -> dict:
    """`{name: number}` -> `{"prefix name": number}`, numbers, texts and truth values only."""
    items = found.items() if isinstance(found, dict) else [("", found)]
    return {f"{prefix} {name}".strip(): v for name, v in items if isinstance(v, (int, float, str, bool))}
