"""The t' estimator: up to which noise level does a generator denoise the private image back to itself?

A level t in [0, 1) is timestep int(T t). From each, M noisy copies of the marked private image are denoised, and
hits(t) counts those that both detectors take for it. t' is the highest level with a hit, t'_all the highest with M
hits; near 1 even almost pure noise falls back onto the image, which the model has then memorised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from synthzoo.errors import UserError

RUNS = 16  # M; t' grows with it, so that figures of another M do not compare
NONE = -1.0  # t' where no level has a hit
CURVES, SAMPLES, OTHERS = 1, 2, 3  # salts of seeds


def levels(step: float) -> list[float]:
    """The grid of noise levels from 0 up to below 1, ascending.

    >>> levels(0.25)
    [0.0, 0.25, 0.5, 0.75]

    Raises:
        UserError: a step outside of [0.001, 0.5].
    """
    if not 0.001 <= step <= 0.5:
        raise UserError(f"level_step = {step}: the grid of noise levels has a step from 0.001 to 0.5.")
    return [round(float(n * step), 6) for n in range(int(np.ceil(1 / step - 1e-9)))]


def timestep(level: float, num_steps: int) -> int:
    """The timestep int(T t) of a noise level."""
    return min(int(level * num_steps + 1e-9), num_steps - 1)


def streams(seed: int, salt: int, first: int, count: int) -> list[torch.Generator]:
    """One source of chance for each of `count` runs from number `first` on, whatever else is run beside it."""
    words = [np.random.SeedSequence([seed, 82, salt, first + n]).generate_state(2, np.uint64)[0] for n in range(count)]
    return [torch.Generator().manual_seed(int(word >> np.uint64(1))) for word in words]


def last_level(grid: Sequence[float], hits: Sequence[int], least: int) -> float:
    """The highest level of the grid with `least` hits or more, -1 where no level has them; gaps below do not count."""
    reached = [level for level, count in zip(grid, hits, strict=True) if count >= least]
    return max(reached, default=NONE)


@dataclass
class Curve:
    """Hits of M runs at each noise level.

    Attributes:
        grid: levels, ascending, the first 0.
        seen: bool (T, M, 2), whether c_AF and c_ID were positive.
        shown: the first run's image at each level, float32 (T, 1, S, S).
    """

    grid: list[float]
    seen: np.ndarray
    shown: torch.Tensor

    @property
    def runs(self) -> int:
        """M."""
        return self.seen.shape[1]

    @property
    def hits(self) -> list[int]:
        """For each level how many of M runs were the private image."""
        return self.seen.all(2).sum(1).tolist()

    @property
    def t_any(self) -> float:
        """t', the highest level with a hit."""
        return last_level(self.grid, self.hits, 1)

    @property
    def t_all(self) -> float:
        """t'_all, the highest level with M hits."""
        return last_level(self.grid, self.hits, self.runs)


def expect_hits(hits: int, runs: int, fingerprints: int, identities: int, name: str = "the image") -> None:
    """Raise one sentence unless every run from level 0, where hardly any noise is, was a hit.

    Args:
        hits, runs: at level 0.
        fingerprints, identities: how often each detector was positive there.
        name: of the image, for the sentence.
    """
    if hits == runs:
        return
    weaker = "fingerprint" if fingerprints <= identities else "image"
    raise UserError(
        f"{name}: hits(0) is {hits} of {runs}, but without noise every run has to be a hit: the {weaker} is not "
        f"recognised after the codec of the generator (c_AF {fingerprints}, c_ID {identities} of {runs}). Give an "
        "image with a clear fingerprint, or train the detectors with that codec (train_detectors.json), and audit it "
        "again."
    )


def measure_curve(
    reproduce: Callable[[int, Sequence[torch.Generator]], torch.Tensor],
    seen: Callable[[torch.Tensor], torch.Tensor],
    grid: Sequence[float],
    num_steps: int,
    runs: int = RUNS,
    seed: int = 0,
    name: str = "the image",
    progress: Callable[[Any], Any] = iter,
) -> Curve:
    """The hits curve; level 0 comes first, and without M hits there nothing else is run.

    Args:
        reproduce: (timestep, M sources of chance) -> images (M, 1, S, S) denoised from that level.
        seen: images -> bool (M, 2) of c_AF and c_ID.
        grid: levels, ascending, the first 0.
        num_steps: T of the schedule.
        runs: M.
        seed: of all chance; each run of each level has its own.
        name: of the image, for sentences.
        progress: wraps the loop over levels.

    Raises:
        UserError: see `expect_hits`.
    """
    found, shown = [], []
    for number, level in enumerate(progress(list(grid))):
        images = reproduce(timestep(level, num_steps), streams(seed, CURVES, number * runs, runs))
        found.append(seen(images).cpu().numpy())
        shown.append(images[:1].float().cpu())
        if number == 0:
            both = found[0]
            expect_hits(int(both.all(1).sum()), runs, int(both[:, 0].sum()), int(both[:, 1].sum()), name)
    return Curve(list(grid), np.stack(found), torch.cat(shown))
