"""Does a generator repeat its training images? Nearest training neighbours of generated and of held-out real images.

For every image x, d(x) is the distance to the nearest training image. A smooth image is near everything, so d alone
would call a blurred generator a copier. With a control, as many images as the training set holds, of the same prior and
never trained on, what counts is

    q(x) = d(x to its nearest training image) / d(x to its nearest control image),

near 1 for whatever is equally new to both, however smooth, and near 0 for a copy (after the test of Meehan et al.,
"A non-parametric test to detect data-copying in generative models", AISTATS 2020). A sample is suspicious if its q (d
without a control) is below the smallest of the held-out images, and the verdict is "copies" if more samples are
suspicious than chance allows:

    P(K >= k) <= 0.01  for K the number of N generated samples below the smallest of M held-out ones,
    if both came from one distribution:  P(K >= k) = prod_{i<k} (N - i) / (N + M - i).

Distances are root mean squares between volumes that were each scaled to mean 0 and deviation 1, so that brightness
alone hides nothing.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import betabinom

CHANCE = 0.01


def standardise(images: np.ndarray, step: int = 1) -> np.ndarray:
    """(N, ..., D, H, W) to float32 rows of mean 0 and deviation 1, every `step`-th voxel per axis."""
    images = np.asarray(images, dtype=np.float32)
    rows = images[..., ::step, ::step, ::step].reshape(len(images), -1)
    rows = rows - rows.mean(1, keepdims=True)
    return rows / np.maximum(rows.std(1, keepdims=True), 1e-6)


def squared_distances(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of all pairs of rows (N, K) and (M, K), (N, M); rounding may leave them below 0."""
    return (queries**2).sum(1)[:, None] + (references**2).sum(1)[None] - 2 * queries @ references.T


def nearest_distances(queries: np.ndarray, training: np.ndarray, step: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Root-mean-square distance to, and number of, the nearest of `training` for each of `queries`; (N,), (N,)."""
    q, t = standardise(queries, step), standardise(training, step)
    squared = squared_distances(q, t)
    nearest = squared.argmin(1)
    best = np.maximum(squared[np.arange(len(q)), nearest], 0) / q.shape[1]
    return np.sqrt(best), nearest


def chance_of(suspicious: int, generated: int, held_out: int, rank: int = 1) -> float:
    """P(K >= suspicious) if generated and held-out distances came from one distribution (see the module).

    Args:
        rank: suspicious is what lies below the held-out distance of this rank, 1 for the smallest; K is then
            beta-binomial with the parameters rank and held_out - rank + 1.
    """
    if rank > 1:
        return float(betabinom.sf(suspicious - 1, generated, rank, held_out - rank + 1))
    i = np.arange(suspicious)
    return float(np.prod((generated - i) / (generated + held_out - i)))


def memorisation(
    generated: np.ndarray,
    training: np.ndarray,
    held_out: np.ndarray,
    control: np.ndarray | None = None,
    step: int = 1,
) -> dict:
    """Nearest-neighbour figures with a verdict.

    Args:
        generated, training, held_out: image sets (N, ..., D, H, W) on one grid.
        control: as many unseen images as `training`, none of them in `held_out`; None compares distances as they are.
        step: use every `step`-th voxel per axis, to save time on large grids.

    Returns:
        medians and minima of both distances, their ratio (1: as new as real held-out ones; near 0: copies), with a
        control the medians and minima of q and the share of samples nearer to training than to it (0.5: none is
        preferred), the number of suspicious samples with the probability of as many by chance, and verdict "no copying
        seen" or "copies".
    """
    new, neighbours = nearest_distances(generated, training, step)
    floor, _ = nearest_distances(held_out, training, step)
    found = {f"generated_{key}": value for key, value in _ends(new).items()}
    found |= {f"held_out_{key}": value for key, value in _ends(floor).items()}
    found["ratio_of_medians"] = round(float(np.median(new) / max(np.median(floor), 1e-9)), 4)
    score, known = new, floor
    if control is not None:
        score = new / np.maximum(nearest_distances(generated, control, step)[0], 1e-9)
        known = floor / np.maximum(nearest_distances(held_out, control, step)[0], 1e-9)
        found |= {f"generated_q_{key}": value for key, value in _ends(score).items()}
        found |= {f"held_out_q_{key}": value for key, value in _ends(known).items()}
        found |= {
            "nearer_to_training": round(float((score < 1).mean()), 4),
            "nearer_to_training_held_out": round(float((known < 1).mean()), 4),
        }
    suspicious = int((score < known.min()).sum())
    chance = chance_of(suspicious, len(score), len(known))
    return found | {
        "suspicious": suspicious,
        "probability_by_chance": float(f"{chance:.3g}"),
        "verdict": "copies" if chance <= CHANCE else "no copying seen",
        "n": {"generated": len(new), "training": len(training), "held_out": len(floor)},
        "closest_pair": {"generated": int(score.argmin()), "training": int(neighbours[score.argmin()])},
    }


def _ends(values: np.ndarray) -> dict[str, float]:
    """Median and smallest."""
    return {"median": round(float(np.median(values)), 4), "min": round(float(values.min()), 4)}
