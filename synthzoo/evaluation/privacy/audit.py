"""The audit: three sets of images in, tests with intervals and verdicts out.

Compared are `samples` of a generator, its `training` images, and a `holdout` of patients whom it never saw. Half of the
hold-out's patients, drawn at random, set thresholds; the others stand for a training set that cannot have leaked.
Duplicates within the training set count once, and held-out images that are copies of training images not at all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from synthzoo.errors import UserError
from synthzoo.evaluation.privacy import attacks
from synthzoo.evaluation.privacy.aligned import align
from synthzoo.evaluation.privacy.attacks import Distances
from synthzoo.evaluation.privacy.embedded import Embedded, common_grid, embed_set
from synthzoo.evaluation.privacy.page import picture_of
from synthzoo.evaluation.privacy.rows import Nearest, nearest_rows
from synthzoo.evaluation.privacy.sets import ImageSet, chosen, one_kind
from synthzoo.evaluation.privacy.spaces import IDENTITY, EdgeSpace, FeatureSpace, IdentitySpace, PixelSpace, Space
from synthzoo.evaluation.privacy.verdict import criteria_of, judge_tests

SCHEMA = 1  # of the report; another number when a key changes its meaning
CANDIDATES = 4  # nearest images of a space that are laid over a query
ALIGNED = 2000  # images of a set that are laid over others at most
SHOWN = 6  # nearest pairs in the report
ALIGNED_TITLE = "the image laid over the other, shifted, mirrored or inverted"
Probe = Callable[["Compared"], dict[str, Any] | None]
# Further tests of a domain, by name: each gives an entry of "tests" with its own "test" and "space", or None where it
# does not apply. A generator's marked training images (adversarial fingerprints) are such a test.
PROBES: dict[str, Probe] = {}


@dataclass
class Compared:
    """The sets of an audit, embedded, and which of their rows count.

    Attributes:
        unique: training images that are no duplicates of an earlier one, bool.
        calibration, reference: held-out images that set thresholds, and those in the place of a training set, bool;
            None without a hold-out that suffices.
    """

    samples: Embedded
    training: Embedded
    holdout: Embedded | None
    spaces: list[Space]
    grid: tuple[int, ...]
    unique: np.ndarray
    among: dict[str, Nearest]
    calibration: np.ndarray | None = None
    reference: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Audit:
    """Result of an audit: `report` is plain data, `pairs` are the images of its nearest pairs."""

    report: dict[str, Any]
    pairs: list[dict[str, Any]]


def audit(
    samples: ImageSet,
    training: ImageSet,
    holdout: ImageSet | None = None,
    identity: IdentitySpace | FeatureSpace | None = None,
    criteria: Mapping[str, Any] | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
    probes: Mapping[str, Probe] | None = None,
) -> Audit:
    """Compare a generator's samples with its training images.

    Args:
        samples, training, holdout: of one kind; without a hold-out a leak can be found and none excluded.
        identity: a network that tells the patients of this domain apart, or None.
        criteria: see `criteria_of`.
        seed: decides how the hold-out is split and which rows are drawn; the same seed gives the same report.
        say: is told what is being done.
        probes: further tests by name, beside those of `PROBES`.

    Raises:
        UserError: sets of different kinds, a set of which nothing can be read, fewer than 2 training images, or a
            hold-out that is the training set; volumes where `identity` takes pictures.
    """
    criteria = criteria_of(criteria)
    sets = [one for one in (samples, training, holdout) if one is not None]
    kind = one_kind(sets)
    grid = common_grid(sets)
    if identity is not None and kind not in identity.kinds:
        words = " and ".join(
            {"image": "pictures", "video": "videos", "volume": "volumes"}[one] for one in identity.kinds
        )
        raise UserError(f"--identity {identity.instrument} takes {words}, but these are {kind}s: leave it out.")
    spaces: list[Space] = [PixelSpace(kind, grid), EdgeSpace(kind, grid), *([identity] if identity else [])]
    with tempfile.TemporaryDirectory(prefix="audit_") as folder:
        embedded = []
        for number, one in enumerate(sets):
            say(f"reading {len(one)} images of {one.name}")
            place = Path(folder) / str(number)
            place.mkdir()
            embedded.append(embed_set(one, grid, spaces, place, mirror=one is not training))
        compared = _prepare(embedded, spaces, grid, criteria, seed)
        return _run(compared, criteria, seed, say, {**PROBES, **dict(probes or {})})


def _prepare(
    sets: Sequence[Embedded], spaces: list[Space], grid: tuple[int, ...], criteria: Mapping[str, Any], seed: int
) -> Compared:
    """Find duplicates, and split the hold-out."""
    samples, training = sets[:2]
    holdout = sets[2] if len(sets) > 2 else None
    if len(training) < 2:
        raise UserError(f"{training.images.name} holds 1 usable image: an audit needs at least 2 training images.")
    pixels = spaces[0]
    fellows = nearest_rows(training.rows["pixels"], training.rows["pixels"], 4, None, pixels.compare, True)
    least = min(criteria["duplicate_below"], 0.2 * float(np.median(fellows.distances[:, 0])))
    least = max(least, 1e-3) if np.median(fellows.distances[:, 0]) > 0 else criteria["duplicate_below"]
    earlier = (
        (fellows.distances < least) & (fellows.numbers < np.arange(len(training))[:, None]) & (fellows.numbers >= 0)
    )
    unique = ~earlier.any(1)
    if unique.sum() < 2:
        unique[:2] = True
    among = {
        space.name: nearest_rows(
            training.rows[space.name], training.rows[space.name], CANDIDATES, unique, space.compare, True
        )
        for space in spaces
    }
    compared = Compared(samples, training, holdout, spaces, grid, unique, among)
    if (~unique).any():
        compared.notes.append(
            f"{int((~unique).sum())} of {len(training)} training images are copies of others among them. Each counts "
            "once; a generator remembers repeated images best, so remove the copies before training."
        )
    if holdout is not None:
        _split(compared, least, int(criteria["least_patients"]), seed)
    return compared


def _split(compared: Compared, duplicate: float, least: int, seed: int) -> None:
    holdout, training = compared.holdout, compared.training
    known = nearest_rows(holdout.rows["pixels"], training.rows["pixels"], 1, None, compared.spaces[0].compare)
    usable = known.distances[:, 0] >= duplicate
    if not usable.any():
        raise UserError(
            f"all {len(holdout)} images of {holdout.images.name} are also in {training.images.name}: a hold-out holds "
            "images that the generator never saw."
        )
    if not usable.all():
        compared.notes.append(
            f"{int((~usable).sum())} of {len(holdout)} held-out images are copies of training images and were left out."
        )
    patients = np.unique(holdout.patients[usable])
    if len(patients) < least:
        compared.notes.append(
            f"The hold-out has {len(patients)} patients that count, but at least {least} are needed to set "
            "thresholds: it was not used."
        )
        return
    order = np.random.default_rng([seed, 70]).permutation(patients)
    first = set(order[: len(order) // 2])
    calibrates = np.array([patient in first for patient in holdout.patients])
    compared.calibration, compared.reference = usable & calibrates, usable & ~calibrates


def _run(
    compared: Compared,
    criteria: Mapping[str, Any],
    seed: int,
    say: Callable[[str], None],
    probes: Mapping[str, Probe],
) -> Audit:
    tests: list[dict[str, Any]] = []
    neighbours: dict[str, Nearest] = {}
    near: dict[str, dict[str, Nearest]] = {}
    for space in compared.spaces:
        say(f"comparing by {space.name}")
        near[space.name] = _neighbours(compared, space)
        found = _distances(compared, space, near[space.name], seed)
        neighbours[space.name] = near[space.name]["samples"]
        tests += _tests(found, space.name, space.title, criteria, seed, last=space is compared.spaces[-1])
    say("laying candidates over each other")
    rows, found, over = _aligned(compared, near, seed)
    tests += _tests(found, "aligned", ALIGNED_TITLE, criteria, seed)
    for name, probe in probes.items():
        say(f"testing by {name}")
        tests += [test for test in [probe(compared)] if test]
    verdict = judge_tests(tests, criteria)
    report = {
        "schema_version": SCHEMA,
        "verdict": verdict,
        "settings": {"seed": seed, "grid": list(compared.grid), "criteria": dict(criteria)},
        "sets": {role: _described(one) for role, one in _sets(compared)},
        "tests": tests,
        "notes": [*compared.notes, *_notes(compared, len(rows))],
        "not_tested": not_tested(compared),
    }
    return Audit(report, _pairs(compared, rows, found, over))


def _sets(compared: Compared) -> list[tuple[str, Embedded]]:
    named = [("samples", compared.samples), ("training", compared.training), ("holdout", compared.holdout)]
    return [(role, one) for role, one in named if one is not None]


def _neighbours(compared: Compared, space: Space) -> dict[str, Nearest]:
    """Nearest training and unseen images of samples and held-out images in one space."""
    name, unique = space.name, compared.unique
    training, samples = compared.training.rows[name], compared.samples.rows[name]
    found = {"samples": nearest_rows(samples, training, CANDIDATES, unique, space.compare)}
    if compared.calibration is not None:
        holdout, reference = compared.holdout.rows[name], compared.reference
        found["samples_unseen"] = nearest_rows(samples, holdout[:1], CANDIDATES, reference, space.compare)
        found["held"] = nearest_rows(holdout, training, CANDIDATES, unique, space.compare).of(compared.calibration)
        found["held_unseen"] = nearest_rows(holdout, holdout[:1], CANDIDATES, reference, space.compare)
        found["held_unseen"] = found["held_unseen"].of(compared.calibration)
        found["members"] = nearest_rows(training, samples, 1, None, space.compare)
        found["unseen"] = nearest_rows(holdout[:1], samples, 1, None, space.compare)
    return found


def _distances(compared: Compared, space: Space, near: Mapping[str, Nearest], seed: int) -> Distances:
    samples, training = compared.samples, compared.training
    drawn = np.random.default_rng([seed, 74]).choice(np.flatnonzero(compared.unique), len(samples))
    guess = [
        space.compare(samples.rows[space.name][0].read(row, row + 1), training.rows[space.name][0].take([other]))[0, 0]
        for row, other in enumerate(drawn)
    ]
    found = Distances(
        samples=near["samples"].distances[:, :2],
        nearest=near["samples"].numbers[:, 0],
        sample_patients=samples.patients,
        guess=np.array(guess, np.float32),
        training=int(compared.unique.sum()),
        among=compared.among[space.name].distances[compared.unique, :2],
    )
    if compared.calibration is not None:
        holdout = compared.holdout
        found.samples_unseen = near["samples_unseen"].distances[:, 0]
        found.held, found.held_nearest = near["held"].distances[:, 0], near["held"].numbers[:, 0]
        found.held_unseen = near["held_unseen"].distances[:, 0]
        found.held_patients = holdout.patients[compared.calibration]
        owners = [training.patients, holdout.patients[compared.calibration], holdout.patients[compared.reference]]
        images = min(int(np.unique(one, return_counts=True)[1].min()) for one in owners)
        values = [near["members"].distances[:, 0], near["unseen"].distances[compared.calibration, 0]]
        values.append(near["unseen"].distances[compared.reference, 0])
        found.members, found.calibration, found.unseen = (
            attacks.patient_minima(value, owner, images) for value, owner in zip(values, owners, strict=True)
        )
    return found


def _aligned(
    compared: Compared, near: Mapping[str, Mapping[str, Nearest]], seed: int
) -> tuple[np.ndarray, Distances, Nearest]:
    """Distances of images laid over each other: which samples, the distances, and the samples' nearest training "
    "images."""
    samples, training, grid = compared.samples, compared.training, compared.grid
    rows = chosen(len(samples), ALIGNED, seed)
    named = [space.name for space in compared.spaces]

    def over(queries: Embedded, numbers: np.ndarray, others: Embedded, which: str, places: np.ndarray) -> Nearest:
        return align(queries, numbers, others, [near[name][which].of(places) for name in named], grid)

    own = over(samples, rows, training, "samples", rows)
    fellows = np.flatnonzero(compared.unique)
    # Training images among themselves count only where nothing unseen is at hand.
    fellows = fellows[chosen(len(fellows), ALIGNED if compared.calibration is None else 1, seed)]
    among = align(training, fellows, training, [compared.among[name].of(fellows) for name in named], grid)
    drawn = np.random.default_rng([seed, 75]).choice(np.flatnonzero(compared.unique), len(rows))
    shape = (len(rows), 1)
    pairs = Nearest(np.zeros(shape, np.float32), drawn[:, None], np.zeros(shape, np.int64))
    found = Distances(
        samples=own.distances,
        nearest=own.numbers[:, 0],
        sample_patients=samples.patients[rows],
        guess=align(samples, rows, training, [pairs], grid).distances[:, 0],
        training=int(compared.unique.sum()),
        among=among.distances,
    )
    if compared.calibration is not None:
        holdout = compared.holdout
        held = np.flatnonzero(compared.calibration)
        places = chosen(len(held), ALIGNED, seed)
        found.samples_unseen = over(samples, rows, holdout, "samples_unseen", rows).distances[:, 0]
        known = over(holdout, held[places], training, "held", places)
        found.held, found.held_nearest = known.distances[:, 0], known.numbers[:, 0]
        found.held_unseen = over(holdout, held[places], holdout, "held_unseen", places).distances[:, 0]
        found.held_patients = holdout.patients[held[places]]
    return rows, found, own


def _tests(
    found: Distances, name: str, title: str, criteria: Mapping[str, Any], seed: int, last: bool = False
) -> list[dict[str, Any]]:
    """Tests of one space; `last` of those that tell patients apart best has the link and the recall, too."""
    if found.held is None:
        made = {"near_copy": attacks.near_copy(found)}
    else:
        made = {
            "nearest": attacks.nearest(found, seed),
            "copies": attacks.copies(found, criteria["copies_share"], seed),
        }
        if name in ("pixels", "aligned"):  # where a small distance can mean nothing but a copy
            made["exact"] = attacks.exact(found)
        if last:
            made["link"] = attacks.link(found, criteria["link_share"], seed)
        if found.members is not None:
            made["membership"] = attacks.membership(found, criteria["membership_share"], seed)
    if last:
        made["recall"] = attacks.recall(found)
    return [{"test": test, "space": name, "compared_by": title, **values} for test, values in made.items()]


def _described(one: Embedded) -> dict[str, Any]:
    return {
        "name": one.images.name,
        "kind": one.images.kind,
        "images": len(one),
        "patients": len(np.unique(one.patients)),
        "sizes": dict(one.sizes.most_common(5)),
        "not_read": len(one.failures),
        "first_not_read": one.failures[0] if one.failures else None,
    }


def _notes(compared: Compared, aligned: int) -> list[str]:
    grid = " x ".join(map(str, compared.grid))
    notes = []
    sizes = {size for _, one in _sets(compared) for size in one.sizes}
    if sizes != {grid}:
        many = f"{len(sizes)} sizes" if len(sizes) > 1 else f"size {next(iter(sizes))}"
        notes.append(f"Images of {many} were all brought to one grid of {grid}; what is finer was not compared.")
    for _, one in _sets(compared):
        if one.images.others:
            notes.append(f"{one.images.others} files of {one.images.name} are no {one.images.kind}s and did not count.")
        if one.failures:
            notes.append(f"{len(one.failures)} images of {one.images.name} were left out; first: {one.failures[0]}")
    if aligned < len(compared.samples):
        notes.append(f"{aligned} of {len(compared.samples)} samples, drawn at random, were laid over their candidates.")
    return notes


def not_tested(compared: Compared) -> list[str]:
    """What an audit says nothing about, one sentence each."""
    found = []
    if compared.calibration is None:
        found.append(
            "Whether the generator is safe: without enough images of patients whom it never saw there is nothing to "
            "compare with. A leak can be found this way, safety cannot be shown."
        )
    if not any(space.name == IDENTITY for space in compared.spaces):
        found.append(
            "Whether the same person is recognisable in a changed picture: no re-identification network for this "
            "kind of image was used, so that pictures were compared by their outlines alone."
        )
    return [
        *found,
        "Attackers who hold the generator's weights, who may ask it more than the samples that were given, or who "
        "know more than the image.",
        "Facts about a person (age, disease, name in a text) that samples may give away without repeating the image.",
        "Copies of parts of an image, rotated or bent ones, and details finer than the grid.",
        "Whether patients of the hold-out also stand in the training set with other images; only copies were sought.",
        "Differential privacy: nothing here is a proof, and more samples may show what these did not.",
    ]


def _pairs(compared: Compared, rows: np.ndarray, found: Distances, over: Nearest) -> list[dict[str, Any]]:
    """The nearest pairs of a sample and a training image, and for comparison of a held-out and a training image."""
    score = found.samples[:, 0]
    if found.samples_unseen is not None:
        score = attacks.ratios(score, found.samples_unseen)
    pairs, seen = [], set()
    for place in np.argsort(score, kind="stable"):
        number = int(over.numbers[place, 0])
        if number < 0 or number in seen:
            continue
        seen.add(number)
        row = int(rows[place])
        pairs.append(
            _pair(compared.samples, row, compared.training, number, "sample", found.samples[place, 0], score[place])
        )
        if len(pairs) == SHOWN:
            break
    if found.held is not None:
        held = np.flatnonzero(compared.calibration)
        held = held[chosen(len(held), ALIGNED, 0)] if len(held) > len(found.held) else held
        known = attacks.ratios(found.held, found.held_unseen)
        shown: set[str] = set()
        for place in np.argsort(known, kind="stable"):
            number, patient = int(found.held_nearest[place]), str(found.held_patients[place])
            if number >= 0 and patient not in shown and len(shown) < 2:
                shown.add(patient)
                pairs.append(
                    _pair(
                        *(compared.holdout, int(held[place]), compared.training, number, "held-out"),
                        *(found.held[place], known[place]),
                    )
                )
    return pairs


def _pair(
    one: Embedded, row: int, other: Embedded, number: int, kind: str, distance: float, ratio: float
) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": one.name(row),
        "training_name": other.name(number),
        "distance": round(float(distance), 4),
        "ratio": round(float(ratio), 4),
        "images": tuple(picture_of(image, one.images.kind) for image in (one.image(row), other.image(number))),
    }
