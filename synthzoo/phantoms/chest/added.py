"""Findings added to stored line integrals: a pool in which each study returns with other nodules and consolidations.

A finding replaces lung by its own tissue, so it adds its path length times its step in HU to a line integral and
nothing else. That path needs only the samples near it: milliseconds, where a projection takes tenths of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from synthzoo.errors import UserError
from synthzoo.phantoms.chest.anatomy import Anatomy
from synthzoo.phantoms.chest.findings import ENLARGED_CTR, LESIONS, Finding, Lesion, bounds, heart_volume
from synthzoo.phantoms.chest.patient import draw_patient, draw_study
from synthzoo.phantoms.chest.phantom import requested_findings
from synthzoo.phantoms.chest.pool import ChestPool, PoolSettings, load_pool, wanted_findings
from synthzoo.phantoms.chest.projection import STEP_MM, Beam, rolled
from synthzoo.phantoms.chest.report import write_report
from synthzoo.phantoms.chest.tissue import LUNG, WATER_PER_MM, organ_shares
from synthzoo.phantoms.chest.truth import FindingTruth, read_findings
from synthzoo.phantoms.fields import solve_increasing

ADDED = 317  # salt
PLACED = LESIONS[:2]  # kinds that lie anywhere in the lung
MOST_BITS = 8  # of a mask's byte, two of them lungs and heart


@dataclass(frozen=True)
class AddedSettings(PoolSettings):
    """A pool made of the TRAIN studies of another one, each `copies` times with findings that are drawn again.

    Attributes:
        copies: how often each study is there.
        counts: shares of rows to which none, one and two findings are added; a kind that a study has is not added.
    """

    copies: int = 4
    counts: tuple[float, ...] = (0.25, 0.5, 0.25)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.copies, bool) or not isinstance(self.copies, int) or not 1 <= self.copies <= 1000:
            raise UserError(f"copies = {self.copies!r}: a study takes 1 to 1000 copies with other findings.")
        known = len(self.counts) == 3 and all(share >= 0 for share in self.counts)
        if not known or abs(sum(self.counts) - 1) > 1e-6:
            raise UserError(
                f"counts = {self.counts!r}: give three shares whose sum is 1, of none, one and two findings."
            )

    @property
    def base(self) -> PoolSettings:
        """The pool to which findings are added."""
        known = asdict(self)
        del known["copies"], known["counts"]
        return PoolSettings(**known)

    def rows(self) -> list[tuple]:
        """Split, patient seed, study seed and copy of each row."""
        own = [row for row in super().rows() if row[0] == "TRAIN"]
        return [(*row, copy) for row in own for copy in range(self.copies)]

    def make_row(self, folder: Path, split: str, patient: int, visit: int, *copy: int) -> tuple:
        """See `PoolSettings.make_row`."""
        pool, numbers = _base(self.base, folder.parent)
        row = numbers[patient, visit]
        rng = np.random.default_rng([ADDED, patient, visit, *copy])
        record, planes = pool.records[row], np.array(pool.planes[row])
        present = {found["kind"] for found in record["findings"]}
        kinds = [kind for kind in PLACED if kind not in present]
        room = min(len(kinds), MOST_BITS - 2 - len(record["findings"]))
        count = min(int(rng.choice(3, p=self.counts)), room)
        wanted = [Finding(str(kind), seed=int(rng.integers(1 << 40))) for kind in rng.permutation(kinds)[:count]]
        mu, truths = add_findings(pool, row, wanted)
        for bit, found in enumerate(truths, 2 + len(record["findings"])):
            planes |= found.mask.astype(np.uint8) << np.uint8(bit)
        shown = [FindingTruth(**known, mask=np.zeros(0, bool)) for known in record["findings"]] + truths
        report = write_report(shown, (patient, visit, *copy))
        findings = [found.to_dict() for found in shown]
        return mu.astype(np.float16), planes, record | {"report": report, "findings": findings}


def add_findings(pool: ChestPool, row: int, findings: Sequence[Finding]) -> tuple[np.ndarray, list[FindingTruth]]:
    """Line integrals float32 (S, S) of a stored study with further nodules or consolidations, and the truth of these.

    The lung that the study's own findings take stays theirs. Volumes are summed over the samples of the rays.

    Args:
        pool: whose study it is.
        row: of the pool.
        findings: of the kinds in `PLACED`; one of which nothing shows is in no truth.

    Raises:
        UserError: another kind, or no place for one.
    """
    for one in findings:
        if one.kind not in PLACED:
            raise UserError(f"kind = {one.kind!r}: {' and '.join(PLACED)} can be added to stored line integrals.")
    mu = np.asarray(pool.mu[row], np.float32)
    if not findings:
        return mu, []
    an, lesions = placed_lesions(pool, row)
    study, lungs = pool.projection(row).study, pool.masks(row)["lungs"]
    beam, paths, placed = Beam.of(study, len(mu)), [], []
    for one in findings:
        lesion = Lesion(one, an)
        lesions = [*lesions, lesion]
        path, volume = last_path(an, beam, lesions)
        paths.append(rolled(path, study))
        mu = mu + paths[-1] * np.float32((lesion.hu - LUNG) * WATER_PER_MM / 1000)
        placed.append({"kind": lesion.kind, "side": lesion.side, "size_mm": lesion.size_mm, "volume_ml": volume})
    organs = np.stack([1000.0 * lungs, np.zeros_like(mu)])
    return mu, read_findings(np.concatenate([organs, paths]), placed, 0.0, 0.0)


def last_path(an: Anatomy, beam: Beam, lesions: Sequence[Lesion], step_mm: float = STEP_MM) -> tuple[np.ndarray, float]:
    """Path length in mm, float32 (S, S) before the roll, and volume in mL of what the last lesion takes of the lung.

    Args:
        an: the patient at his breath.
        beam: the study's rays.
        lesions: in the order in which they take lung; the last is one of `PLACED`.
        step_mm: along the beam.
    """
    window = beam.window(an, *bounds(lesions[-1], an), step_mm)
    (x, y, z), step = beam.samples(step_mm, window)
    with torch.inference_mode():
        taken = organ_shares(an, x - an.shear(z), y, z, beam.pixel_mm, lesions)[0][-1]
        path = np.zeros((beam.size, beam.size), np.float32)
        path[window[1:]] = (taken.sum(0) * step).numpy()
        area = (beam.scales(step_mm, window[0]) * beam.pixel_mm) ** 2
        return path, float((taken * area).sum(dtype=torch.float64)) * step_mm / 1000


@lru_cache(maxsize=64)
def placed_lesions(pool: ChestPool, row: int) -> tuple[Anatomy, list[Lesion]]:
    """Anatomy of a stored study, with the heart that it has, and the lesions that it was made with."""
    record, settings = pool.records[row], pool.settings
    patient = draw_patient(record["patient"], settings.spread)
    study = draw_study(record["patient"], record["study"], settings.view, settings.pose_spread, patient)
    an = Anatomy(patient, study.breath, None, study.arms)
    if abs(heart_volume(an) - record["heart_ml"]) > 1e-6 * record["heart_ml"]:

        def volume(ratio: float) -> float:
            return heart_volume(Anatomy(patient, study.breath, ratio, study.arms))

        ratio = solve_increasing(volume, record["heart_ml"], 0.2, 1.5 * ENLARGED_CTR[1], 16)
        an = Anatomy(patient, study.breath, ratio, study.arms)
    requested = requested_findings(wanted_findings(settings), record["patient"], record["study"])
    return an, [Lesion(one, an) for one in requested if one.kind in LESIONS]


@lru_cache(maxsize=4)
def _base(settings: PoolSettings, folder: Path) -> tuple[ChestPool, dict[tuple[int, int], int]]:
    pool = load_pool(settings, folder)
    return pool, {(record["patient"], record["study"]): row for row, record in enumerate(pool.records)}
