"""Figures of a generator from re-identification scores: memorised videos, learned patients, kept identity.

With scores s(q, t) of every query q against every training video t:

    s(q) = max_t s(q, t)        a(q) = the t of that maximum
    tau = 95th percentile of s(q) over videos of patients who were never trained on
    memorised = {q: s(q) > tau}
    learned = |{a(q)}| / min(N_train, N_queries)

`learned` depends on the number of queries and on hubs (training videos that are nearest to many), so it stands beside
the same figure of unseen patients, which is not 0. Scores need not be symmetric and may have any scale. NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synthzoo.errors import UserError

PERCENTILE = 95.0


def nearest(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best score of each query and the number of the training video that has it: (Q, N) -> float (Q,), int64 (Q,)."""
    scores = np.asarray(scores)
    if scores.ndim != 2 or not scores.shape[1]:
        raise UserError(f"scores of shape {scores.shape}: at least one training video is needed to compare with.")
    found = scores.argmax(1)
    return scores[np.arange(len(scores)), found], found


def unseen_threshold(best: np.ndarray, percentile: float = PERCENTILE) -> float:
    """tau: the percentile of the best scores of unseen patients' videos.

    Raises:
        UserError: fewer than 20 videos, of which no such percentile can be estimated.
    """
    if len(best) < 20:
        raise UserError(
            f"{len(best)} videos of unseen patients: a threshold needs at least 20 of them; give more in unseen_dir, "
            "or set threshold by hand."
        )
    return float(np.percentile(np.asarray(best, np.float64), percentile))


def memorised_share(best: np.ndarray, threshold: float) -> float:
    """Share of queries whose best score is above the threshold."""
    return float((np.asarray(best) > threshold).mean())


def learned_share(found: np.ndarray, training: int, patients: Sequence | None = None) -> float:
    """Share of the training videos, or of their patients, that are nearest to at least one query.

    Args:
        found: number of the nearest training video of each query, int (Q,).
        training: N, how many training videos (or, with `patients`, how many patients) there are.
        patients: of each training video; None counts videos.

    Returns:
        distinct ones / min(training, Q); 0 without queries.
    """
    if not len(found):
        return 0.0
    owners = np.asarray(found) if patients is None else np.asarray(patients)[np.asarray(found)]
    return len(np.unique(owners)) / min(int(training), len(found))


def largest_hub(found: np.ndarray) -> int:
    """Number of queries that share the most frequent nearest training video."""
    return int(np.unique(np.asarray(found), return_counts=True)[1].max()) if len(found) else 0


def identity_break(curve: np.ndarray, least: float, shortest: int = 2) -> int | None:
    """The frame at which a video becomes somebody else, from its scores against its own first frame.

    The curve is cut in two where its parts' means explain it best (least squares). The cut counts if the mean after it
    lies below `least` and the mean before it does not.

    Args:
        curve: score of frame k against frame 0, float (T,); its first value does not count.
        least: scores below it are those of two different patients.
        shortest: frames on either side of a cut.

    Returns:
        number of the first frame of the other patient, or None.
    """
    curve = np.asarray(curve, np.float64)
    values, best, place = curve[1:], -np.inf, None
    for cut in range(shortest, len(values) - shortest + 1):
        before, after = values[:cut], values[cut:]
        gain = cut * before.mean() ** 2 + len(after) * after.mean() ** 2
        if gain > best:
            best, place = gain, cut
    if place is None or values[place:].mean() >= least or values[:place].mean() < least:
        return None
    return place + 1


def roc(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at every threshold, float (n,) each, from (0, 0) to (1, 1)."""
    scores = np.concatenate([positives, negatives]).astype(np.float64)
    truth = np.concatenate([np.ones(len(positives)), np.zeros(len(negatives))])
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # equal scores are one point
    true, false = np.cumsum(truth[order])[last], np.cumsum(1 - truth[order])[last]
    return np.append(0, false / max(len(negatives), 1)), np.append(0, true / max(len(positives), 1))


def auc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Probability that a positive scores above a negative, equal scores counting half (Mann and Whitney)."""
    ranks = np.sort(np.asarray(negatives, np.float64))
    positives = np.asarray(positives, np.float64)
    below, upto = np.searchsorted(ranks, positives, "left"), np.searchsorted(ranks, positives, "right")
    return float((below + upto).mean() / (2 * len(ranks)))


def auc_interval(
    positives: np.ndarray, negatives: np.ndarray, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of the area under the curve: positives and negatives are drawn again, each with
    replacement."""
    rng = np.random.default_rng(seed)
    positives, negatives = np.asarray(positives), np.asarray(negatives)
    found = [auc(rng.choice(positives, len(positives)), rng.choice(negatives, len(negatives))) for _ in range(draws)]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def pixel_scores(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Pearson correlation of raw pixels of all pairs, the floor of any comparison: (Q, ...), (R, ...) -> (Q, R)."""
    rows = []
    for images in (queries, references):
        flat = np.asarray(images, np.float64).reshape(len(images), -1)
        flat = flat - flat.mean(1, keepdims=True)
        rows.append(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12))
    return rows[0] @ rows[1].T
