"""Does a generator repeat its training images? Nearest training neighbours of generated and of held-out real images.

For every image x, d(x) is the distance to the nearest training image. Held-out images were never trained on, so their
d is the floor that honest novelty has; copies lie below it. A sample counts as suspicious if its d is below the
smallest held-out d, and the verdict is "copies" if more samples are suspicious than chance allows:

    P(K >= k) <= 0.01  for K the number of N generated samples below the smallest of M held-out ones,
    if both came from one law:  P(K >= k) = prod_{i<k} (N - i) / (N + M - i).

Distances are root mean squares between volumes that were each scaled to mean 0 and deviation 1, so that brightness
alone hides nothing.
"""

from __future__ import annotations

import numpy as np

CHANCE = 0.01


def standardise(images: np.ndarray, step: int = 1) -> np.ndarray:
    """(N, ..., D, H, W) to float32 rows of mean 0 and deviation 1, every `step`-th voxel per axis."""
    images = np.asarray(images, dtype=np.float32)
    rows = images[..., ::step, ::step, ::step].reshape(len(images), -1)
    rows = rows - rows.mean(1, keepdims=True)
    return rows / np.maximum(rows.std(1, keepdims=True), 1e-6)


def nearest_distances(queries: np.ndarray, training: np.ndarray, step: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Root-mean-square distance to, and number of, the nearest of `training` for each of `queries`; (N,), (N,)."""
    q, t = standardise(queries, step), standardise(training, step)
    squared = (q**2).sum(1)[:, None] + (t**2).sum(1)[None] - 2 * q @ t.T
    nearest = squared.argmin(1)
    best = np.maximum(squared[np.arange(len(q)), nearest], 0) / q.shape[1]
    return np.sqrt(best), nearest


def chance_of(suspicious: int, generated: int, held_out: int) -> float:
    """P(K >= suspicious) if generated and held-out distances came from one law (see the module)."""
    i = np.arange(suspicious)
    return float(np.prod((generated - i) / (generated + held_out - i)))


def memorisation(generated: np.ndarray, training: np.ndarray, held_out: np.ndarray, step: int = 1) -> dict:
    """Nearest-neighbour figures with a verdict.

    Args:
        generated, training, held_out: image sets (N, ..., D, H, W) on one grid.
        step: use every `step`-th voxel per axis, to save time on large grids.

    Returns:
        medians and minima of both distances, their ratio (1: as new as real held-out ones; near 0: copies), the number
        of suspicious samples with the probability of as many by chance, and verdict "no copying seen" or "copies".
    """
    new, neighbours = nearest_distances(generated, training, step)
    floor, _ = nearest_distances(held_out, training, step)
    suspicious = int((new < floor.min()).sum())
    chance = chance_of(suspicious, len(new), len(floor))
    return {
        "generated_median": round(float(np.median(new)), 4),
        "generated_min": round(float(new.min()), 4),
        "held_out_median": round(float(np.median(floor)), 4),
        "held_out_min": round(float(floor.min()), 4),
        "ratio_of_medians": round(float(np.median(new) / max(np.median(floor), 1e-9)), 4),
        "suspicious": suspicious,
        "probability_by_chance": float(f"{chance:.3g}"),
        "verdict": "copies" if chance <= CHANCE else "no copying seen",
        "n": {"generated": len(new), "training": len(training), "held_out": len(floor)},
        "closest_pair": {"generated": int(new.argmin()), "training": int(neighbours[new.argmin()])},
    }
