"""The tests of an audit, from distances alone: each an attack with its control and its naive guess, or a ratio.

For a sample x let dT(x) be its distance to the nearest training image and dU(x) that to the nearest of images that the
generator never saw. A smooth image is near everything, so that only both together tell:

    q(x) = dT(x) / dU(x)          low for whatever is nearer to the training set than its smoothness explains

    nearest     median of q over samples against that over held-out images, which are equally new to both
    copies      attack: q(x) lies below that of nearly all held-out images. Control: the mirrored claim, 1 / q(x), a
                copy of an unseen image, which no generator can have made. Guess: any training image, not the nearest
    exact       attack: q(x) is less than half of that of every held-out image, so that one such sample is a copy.
                Control and guess: as above
    link        attack: dT(x) lies below that of 95 % of held-out images (re-identification ratio of Dombrowski et al.,
                2024). Control: the same with dU. Guess: as above
    membership  attack on each training patient: whether his image lies nearer to a sample than those of 95 % of unseen
                patients do. Control: the same on unseen patients who did not set the threshold. Guess: a coin
    near_copy   where nothing unseen is at hand: the nearest training image lies twice as near as the second. Control:
                training images among themselves. It can find a leak and exclude none
    recall      share of the training images that are nearest to some sample, beside that of unseen images (no verdict)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import fisher_exact

from synthzoo.evaluation.privacy.rates import (
    Rate,
    bootstrap_ratio,
    bootstrap_risk,
    claims,
    rank_of,
    risk,
    wilson,
)
from synthzoo.metrics.memorisation import chance_of
from synthzoo.metrics.reidentification import largest_hub, learned_share

LEAST = 1e-6  # of a distance that others are divided by
NEAR_COPY = EXACT = 0.5


@dataclass
class Distances:
    """Distances in one space; `held` are the unseen images that set thresholds, one row each.

    Attributes:
        samples: to the two nearest training images, (S, 2), and whom the samples are of, (S,).
        nearest: number of the nearest training image of each sample.
        samples_unseen: to the nearest unseen image, (S,); None without a hold-out.
        guess: to a training image at random, (S,).
        held, held_unseen: of held-out images to training and to the other unseen ones, (H,).
        held_nearest: number of the nearest training image of each.
        held_patients: whom they show.
        training: number of training images; members, unseen, calibration: patients' distances to the nearest sample.
        among: distances of training images to their two nearest fellows.
    """

    samples: np.ndarray
    nearest: np.ndarray
    sample_patients: np.ndarray
    guess: np.ndarray
    training: int
    among: np.ndarray
    samples_unseen: np.ndarray | None = None
    held: np.ndarray | None = None
    held_unseen: np.ndarray | None = None
    held_nearest: np.ndarray | None = None
    held_patients: np.ndarray | None = None
    members: np.ndarray | None = None
    unseen: np.ndarray | None = None
    calibration: np.ndarray | None = None


def ratios(to_training: np.ndarray, to_unseen: np.ndarray) -> np.ndarray:
    """q of images, see the module."""
    return (to_training + LEAST) / (to_unseen + LEAST)


def nearest(found: Distances, seed: int) -> dict[str, Any]:
    """The ratio of medians of q with its interval, and the plain distances beside it."""
    own, known = ratios(found.samples[:, 0], found.samples_unseen), ratios(found.held, found.held_unseen)
    value, low, high = bootstrap_ratio(own, known, found.held_patients, seed)
    return {
        "ratio": value,
        "interval": [low, high],
        "samples_nearest_median": float(np.median(found.samples[:, 0])),
        "held_out_nearest_median": float(np.median(found.held)),
        "nearer_to_training": wilson(int((own < 1).sum()), len(own)).as_dict(),
        "nearer_to_training_held_out": wilson(int((known < 1).sum()), len(known)).as_dict(),
    }


def copies(found: Distances, share: float, seed: int) -> dict[str, Any]:
    """Samples that are nearer to one training image than unseen images are; `share` of these are called copies, too."""
    own = ratios(found.samples[:, 0], found.samples_unseen)
    first = first_of_each(found.held_patients)
    known = ratios(found.held, found.held_unseen)[first]
    guess = ratios(found.guess, found.samples_unseen)
    return _attack(own, known, 1 / own, 1 / known, guess, known, share, found.sample_patients, seed)


def exact(found: Distances) -> dict[str, Any]:
    """Samples that are copies beyond doubt, be there only one."""
    own, known = ratios(found.samples[:, 0], found.samples_unseen), ratios(found.held, found.held_unseen)
    counts = [(own < EXACT * known.min()).sum(), (1 / own < EXACT / known.max()).sum()]
    counts.append((ratios(found.guess, found.samples_unseen) < EXACT * known.min()).sum())
    attack, control, guess = (wilson(int(count), len(own)) for count in counts)
    return _framed(attack, control, guess, risk(attack, control), None)


def link(found: Distances, share: float, seed: int) -> dict[str, Any]:
    """Samples that are linked to a training image, by the distance alone."""
    first = first_of_each(found.held_patients)
    known, other = found.held[first], found.held_unseen[first]
    own, control = found.samples[:, 0], found.samples_unseen
    return _attack(own, known, control, other, found.guess, known, share, found.sample_patients, seed)


def membership(found: Distances, share: float, seed: int) -> dict[str, Any]:
    """Training patients who are recognised as such by the samples."""
    coins = np.random.default_rng([seed, 73])
    guess, by_guess = coins.random(len(found.members)), coins.random(len(found.calibration))
    own = np.arange(len(found.members))
    known = found.calibration
    return _attack(found.members, known, found.unseen, known, guess, by_guess, share, own, seed)


def near_copy(found: Distances) -> dict[str, Any]:
    """Samples that are twice as near to one training image as to any other."""
    own, fellows = ((part[:, 0] / np.maximum(part[:, 1], LEAST) < NEAR_COPY) for part in (found.samples, found.among))
    attack, control = wilson(int(own.sum()), len(own)), wilson(int(fellows.sum()), len(fellows))
    guess = wilson(int((found.guess / np.maximum(found.samples[:, 1], LEAST) < NEAR_COPY).sum()), len(own))
    table = [[own.sum(), (~own).sum()], [fellows.sum(), (~fellows).sum()]]
    chance = float(fisher_exact(table, alternative="greater").pvalue)
    return _framed(attack, control, guess, risk(attack, control), chance)


def recall(found: Distances) -> dict[str, Any]:
    """Share of the training images that were nearest to a sample, and that of as many unseen images."""
    result = {"samples": _learned(found.nearest, found.training), "largest_hub": largest_hub(found.nearest)}
    if found.held_nearest is not None:
        count = min(len(found.nearest), len(found.held_nearest))
        result |= {
            "of_each": count,
            "samples_of_as_many": _learned(found.nearest[:count], found.training),
            "held_out_of_as_many": _learned(found.held_nearest[:count], found.training),
        }
    return result


def counted(hits: int, samples: int, false_hits: int, false_samples: int, chance: float) -> dict[str, Any]:
    """A test of samples that were counted by a detector, against those of a generator that cannot have made them.

    Args:
        hits, samples: of the generator that is audited.
        false_hits, false_samples: of the other one, which is the guess, too.
        chance: probability of as many hits by the detector's mistakes alone.
    """
    attack, control = wilson(hits, samples), wilson(false_hits, false_samples)
    return _framed(attack, control, control, risk(attack, control), chance)


def first_of_each(patients: np.ndarray) -> np.ndarray:
    """Number of the first row of each patient, ascending."""
    return np.sort(np.unique(patients, return_index=True)[1])


def patient_minima(distances: np.ndarray, patients: np.ndarray, images: int) -> np.ndarray:
    """The least distance of each patient over his first `images` images."""
    found: dict[str, list[float]] = {}
    for patient, distance in zip(patients, distances, strict=True):
        own = found.setdefault(patient, [])
        if len(own) < images:
            own.append(float(distance))
    return np.array([min(own) for own in found.values()])


def _learned(numbers: np.ndarray, training: int) -> dict[str, Any]:
    count = min(training, len(numbers))
    return wilson(round(learned_share(numbers, training) * count), count).as_dict()


def _attack(
    own: np.ndarray,
    known: np.ndarray,
    control: np.ndarray,
    other: np.ndarray,
    guess: np.ndarray,
    by_guess: np.ndarray,
    share: float,
    patients: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    """Values below the held-out one of a rank are claims; images of one patient count as one attack."""
    rank = rank_of(share, len(known))
    alike = len(np.unique(patients)) / len(own)
    rates = [
        wilson(claims(values, held, rank) * part, len(values) * part)
        for values, held, part in ((own, known, alike), (control, other, alike), (guess, by_guess, alike))
    ]
    if len(control) != len(own):
        rates[1] = wilson(claims(control, other, rank), len(control))
    value, low, high = risk(rates[0], rates[1])
    drawn = bootstrap_risk(own, known, control, other, rank, seed)
    chance = chance_of(int(rates[0].successes), round(rates[0].n), len(known), rank)
    left = (value, min(low, drawn[0]), max(high, drawn[1]))
    return _framed(rates[0], rates[1], rates[2], left, chance)


def _framed(attack: Rate, control: Rate, guess: Rate, left: tuple[float, float, float], chance: float | None) -> dict:
    return {
        "attack": attack.as_dict(),
        "control": control.as_dict(),
        "baseline": guess.as_dict(),
        "better_than_guess": attack.centre > guess.centre,
        "risk": {"value": left[0], "interval": [left[1], left[2]]},
        "probability_by_chance": chance,
    }
