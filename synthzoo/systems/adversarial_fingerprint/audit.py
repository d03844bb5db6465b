"""One audit: the hits curve, the count among samples, and the bound through the noise level, of one private image."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from synthzoo.errors import UserError
from synthzoo.systems.adversarial_fingerprint.bounds import Count, level_bound
from synthzoo.systems.adversarial_fingerprint.network import Generator
from synthzoo.systems.adversarial_fingerprint.noise_levels import (
    NONE,
    OTHERS,
    RUNS,
    Curve,
    levels,
    measure_curve,
    streams,
    timestep,
)
from synthzoo.systems.adversarial_fingerprint.sources import AT_ONCE, drawn

Seen = Callable[[torch.Tensor], torch.Tensor]
NEAREST = 4  # samples that are kept to be looked at


@dataclass(frozen=True)
class AuditSettings:
    """Numbers of an audit.

    Attributes:
        level_step: of the grid of noise levels.
        runs: M, at each level.
        steps: calls of the denoiser for a whole sample.
        samples: S, counted.
        others: B, other training images that are denoised from level t'.
        seed: of all chance.
    """

    level_step: float = 0.05
    runs: int = RUNS
    steps: int = 25
    samples: int = 200
    others: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        levels(self.level_step)
        for name, least in {"runs": 1, "steps": 1, "samples": 1, "others": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise UserError(f"{name} = {getattr(self, name)}: an audit takes at least {least}.")


@dataclass
class Tally:
    """Counts over samples.

    Attributes:
        samples: S.
        fingerprints, identities, hits: of which c_AF, c_ID, and both were positive.
        nearest: those nearest to the private image, float32 (n, 1, S, S).
        distances: their root mean square difference from it, ascending.
    """

    samples: int
    fingerprints: int
    identities: int
    hits: int
    nearest: torch.Tensor
    distances: list[float]

    def beside(self, mistakes: Tally | None) -> Count:
        """The count beside that of a model without the private image."""
        false = () if mistakes is None else (mistakes.hits, mistakes.samples)
        return Count(self.hits, self.samples, *false)


def tally(batches: Iterable[torch.Tensor], seen: Seen, image: torch.Tensor) -> Tally:
    """Count what the detectors see in samples, float32 (n, 1, S, S) at a time, beside the image (1, S, S)."""
    flags, distances, nearest = [], torch.empty(0), torch.empty(0, *image.shape)
    for batch in batches:
        batch = batch.float().cpu()
        flags.append(seen(batch).numpy())
        distances = torch.cat([distances, (batch - image).square().mean((1, 2, 3)).sqrt()])
        nearest = torch.cat([nearest, batch])
        order = distances.argsort(stable=True)[:NEAREST]
        distances, nearest = distances[order], nearest[order]
    found = np.concatenate(flags)
    return Tally(
        samples=len(found),
        fingerprints=int(found[:, 0].sum()),
        identities=int(found[:, 1].sum()),
        hits=int(found.all(1).sum()),
        nearest=nearest,
        distances=[round(float(value), 4) for value in distances],
    )


@dataclass
class Bound:
    """Upper bound of q through the level t'.

    Attributes:
        level: t'.
        own, others: (hits, runs) there of the private image and of other training images.
        q: the bound.
    """

    level: float
    own: tuple[int, int]
    others: tuple[int, int]
    q: float


def curve_of(
    generator: Generator,
    seen: Seen,
    image: torch.Tensor,
    settings: AuditSettings,
    name: str = "the image",
    progress: Callable[[Any], Any] = iter,
) -> Curve:
    """The hits curve of the marked private image (1, S, S) in [0, 1], see `measure_curve`."""
    code = codes_of(generator, image[None])[0]
    return measure_curve(
        lambda level, sources: generator.from_level(code, level, settings.steps, sources),
        seen,
        levels(settings.level_step),
        generator.schedule.num_steps,
        settings.runs,
        settings.seed,
        name,
        progress,
    )


@torch.no_grad()
def codes_of(generator: Generator, images: torch.Tensor) -> torch.Tensor:
    """Codes (N, K, h, w) of images (N, 1, S, S), on the generator's device."""
    return generator.codec.encode(images.to(next(generator.parameters()).device))


def bound_of(
    generator: Generator, seen: Seen, curve: Curve, public: torch.Tensor, n_images: int, settings: AuditSettings
) -> Bound | None:
    """The bound at level t', from other images of the training set.

    Args:
        generator: audited.
        seen: the detectors.
        curve: of the private image.
        public: images of the training set without the private one (P, 1, S, S); B of them are drawn, each once as long
            as there are enough.
        n_images: N.
        settings: of the audit.

    Returns:
        None where no level has a hit or no other image is known.
    """
    if curve.t_any == NONE or not len(public) or n_images < 2:
        return None
    rng = np.random.default_rng([settings.seed, 83])
    rounds = -(-settings.others // len(public))
    rows = np.concatenate([rng.permutation(len(public)) for _ in range(rounds)])[: settings.others]
    level, hits = timestep(curve.t_any, generator.schedule.num_steps), 0
    sources = streams(settings.seed, OTHERS, 0, len(rows))
    for first in range(0, len(rows), AT_ONCE):
        codes = codes_of(generator, public[rows[first : first + AT_ONCE]])
        images = generator.from_level(codes, level, settings.steps, sources[first : first + AT_ONCE])
        hits += int(seen(images).all(1).sum())
    own = curve.hits[curve.grid.index(curve.t_any)], curve.runs
    others = hits, len(rows)
    return Bound(curve.t_any, own, others, level_bound(n_images, own, others))


def tally_of(generator: Generator, seen: Seen, image: torch.Tensor, settings: AuditSettings, apart: int = 0) -> Tally:
    """Counts over S samples of a generator; `apart` gives a second set of samples that shares none with the first."""
    settings = replace(settings, seed=settings.seed + 7_919 * apart)
    return tally(drawn(generator, settings.samples, settings.steps, settings.seed), seen, image)
