"""Pools of chest phantoms: line integrals and masks that are made once, from which any number of radiographs follows.

A pose costs tenths of a second and an exposure milliseconds, so a training reads stored line integrals and exposes them
again. Patients are split, never studies: each split has its own range of patient seeds.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.errors import UserError
from synthzoo.io.files import write_array, write_json
from synthzoo.io.locks import locked
from synthzoo.phantoms.cache import cache_folder, settings_key
from synthzoo.phantoms.chest.exposure import expose
from synthzoo.phantoms.chest.findings import KINDS
from synthzoo.phantoms.chest.patient import PHANTOM, draw_patient, draw_study
from synthzoo.phantoms.chest.phantom import DRAWN, VERSION, check_size, chest_study
from synthzoo.phantoms.chest.projection import Projection

SPLITS = {"TRAIN": (0, 100_000), "VAL": (100_000, 200_000), "TEST": (200_000, 300_000)}
SHARES = {"TRAIN": 0.75, "VAL": 0.125, "TEST": 0.125}
VISITS = 313  # salt
SHARD = 8  # patients of a file while a pool is being made; a kill loses at most as many for each process
HEALTHY = "none"
ARRAYS = ("mu", "masks")


@dataclass(frozen=True)
class PoolSettings:
    """What a pool holds; its folder is named by these.

    Attributes:
        patients: how many, over all splits.
        studies: for each patient, a number or (fewest, most).
        size: side of the image in pixels.
        findings: "draw", "none", or kinds that every study has.
        first: number of the first patient within each split.
        view, spread, pose_spread: see `phantom.chest_study`.
    """

    patients: int = 1000
    studies: int | tuple[int, int] = (2, 6)
    size: int = 128
    findings: str | tuple[str, ...] = DRAWN
    first: int = 0
    view: str = "PA"
    spread: float = 1.0
    pose_spread: float = 1.0

    def __post_init__(self) -> None:
        counts = (self.patients, self.first)
        if not all(map(_is_integer, counts)) or not 1 <= self.patients <= 100_000 or self.first < 0:
            raise UserError(
                f"patients = {self.patients!r}, first = {self.first!r}: a pool takes 1 to 100000 patients, from 0 on."
            )
        pair: Any = (self.studies, self.studies) if _is_integer(self.studies) else self.studies
        if not (isinstance(pair, tuple) and len(pair) == 2 and all(map(_is_integer, pair)) and 1 <= pair[0] <= pair[1]):
            raise UserError(f"studies = {self.studies!r}: a patient of a pool has a number of them, or (fewest, most).")
        if pair[1] > 100:
            raise UserError(f"studies = {self.studies!r}: a patient of a pool has 100 at most.")
        chosen = (self.findings,) if isinstance(self.findings, str) else self.findings
        for kind in chosen:
            if kind not in (DRAWN, HEALTHY, *KINDS) or (kind in (DRAWN, HEALTHY) and len(chosen) > 1):
                raise UserError(f"findings = {self.findings!r}: a pool takes draw, none, or {', '.join(KINDS)}.")
        check_size(self.size)
        draw_study(0, 0, self.view, self.pose_spread, draw_patient(0, self.spread))  # they name a wrong value
        last = self.first + self.patients
        if last > SPLITS["TRAIN"][1]:
            raise UserError(f"first = {self.first}: a split of {PHANTOM} holds 100000 patients.")

    @property
    def visits(self) -> tuple[int, int]:
        """Fewest and most studies of a patient."""
        if isinstance(self.studies, int):
            return self.studies, self.studies
        low, high = self.studies
        return low, high

    @property
    def key(self) -> str:
        """Name of the pool's folder."""
        return f"chest-{self.size}-{settings_key([VERSION, asdict(self)])}"

    def seeds(self, split: str) -> range:
        """Patient seeds of a split: 75 % of the patients TRAIN, 12.5 % VAL, the rest TEST."""
        if split not in SPLITS:
            raise UserError(f"split = {split!r}: a pool of {PHANTOM} has the splits {', '.join(SPLITS)}.")
        counts = {name: round(share * self.patients) for name, share in SHARES.items()}
        counts["TRAIN"] = self.patients - counts["VAL"] - counts["TEST"]
        start = SPLITS[split][0] + self.first
        return range(start, start + counts[split])

    def rows(self) -> list[tuple]:
        """Split, patient seed and study seed of each row."""
        found = []
        for split in SPLITS:
            for patient in self.seeds(split):
                low, high = self.visits
                count = int(np.random.default_rng([VISITS, patient]).integers(low, high + 1))
                found += [(split, patient, visit) for visit in range(count)]
        return found

    def make_row(self, folder: Path, split: str, patient: int, visit: int) -> tuple[np.ndarray, np.ndarray, dict]:
        """What `make_row` gives for one of `rows`; `folder` is the pool's own."""
        return make_row(self, split, patient, visit)


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


class ChestPool:
    """A pool that is complete.

    Attributes:
        settings: what it holds.
        records: for each row "patient", "study", "split", "sex", "age", "ctr", "heart_ml", "pixel_mm", "report" and
            "findings", see `truth.FindingTruth.to_dict`.
        mu: float16 (N, S, S), memory-mapped.
    """

    def __init__(self, settings: PoolSettings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.records: list[dict] = json.loads((folder / "records.json").read_text(encoding="utf-8"))
        self.mu, self.planes = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS)

    def __len__(self) -> int:
        return len(self.records)

    def indices(self, split: str) -> np.ndarray:
        """Rows of a split, int64, ascending."""
        self.settings.seeds(split)
        return np.flatnonzero([record["split"] == split for record in self.records])

    def projection(self, row: int) -> Projection:
        """The stored line integrals, to be exposed; without paths."""
        record = self.records[row]
        view, spread = self.settings.view, self.settings.pose_spread
        patient = draw_patient(record["patient"], self.settings.spread)
        study = draw_study(record["patient"], record["study"], view, spread, patient)
        mu = np.asarray(self.mu[row], np.float32)
        return Projection(mu, np.zeros((0, *mu.shape), np.float32), record["pixel_mm"], study)

    def expose(self, row: int, exposure_seed: int = 0, style: str = "clinic", **fixed: Any) -> np.ndarray:
        """A radiograph of a row, float32 (S, S) in [0, 1], see `exposure.expose`."""
        return expose(self.projection(row), exposure_seed, style, **fixed)

    def masks(self, row: int) -> dict[str, np.ndarray]:
        """Masks of a row, bool (S, S): "lungs", "heart", and each finding's by kind."""
        names = ["lungs", "heart", *(found["kind"] for found in self.records[row]["findings"])]
        planes = np.asarray(self.planes[row])
        found: dict[str, np.ndarray] = {}
        for number, name in enumerate(names):
            plane = (planes >> number & 1).astype(bool)
            found[name] = found[name] | plane if name in found else plane
        return found


def load_pool(
    settings: PoolSettings | None = None,
    folder: str | Path | None = None,
    processes: int = 1,
    progress: Callable[[Iterable], Iterable] | None = None,
    **changed: Any,
) -> ChestPool:
    """A pool, made once and then read from its folder; one that was interrupted is completed, by one process at a time.

    Args:
        settings, changed: what it holds; keywords replace fields of `PoolSettings`.
        folder: in which the pool's own folder lies; None is `SYNTHZOO_CACHE` or `~/.cache/synthzoo`.
        processes: that make it.
        progress: wraps the iteration over parts, for instance `tqdm`.
    """
    if settings is None or changed:
        known = {} if settings is None else asdict(settings)
        kind = PoolSettings if settings is None else type(settings)
        settings = kind(**(known | {k: tuple(v) if isinstance(v, list) else v for k, v in changed.items()}))
    path = (Path(folder) if folder else cache_folder()) / settings.key
    if not (path / "records.json").is_file():
        with locked(path):  # another process may be making it: what it made is waited for and read
            if not (path / "records.json").is_file():
                _make(settings, path, processes, progress)
    return ChestPool(settings, path)


def _make(settings: PoolSettings, path: Path, processes: int, progress: Callable[[Iterable], Iterable] | None) -> None:
    rows = settings.rows()
    patients = sorted({row[1] for row in rows})
    groups = [set(patients[first : first + SHARD]) for first in range(0, len(patients), SHARD)]
    shards = [[row for row in rows if row[1] in group] for group in groups]
    parts = path / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(len(shards)) if not (parts / f"{number}.json").is_file()]
    work = partial(_make_shard, settings, shards, parts)
    if processes > 1 and len(missing) > 1:
        # Not forked: a forked copy of torch's threads may hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in (progress or iter)(_Sized(pool.map(work, missing), len(missing))):
                pass
    else:
        for number in (progress or iter)(missing):
            work(number)
    for name in ARRAYS:
        loaded = [np.load(parts / f"{number}.{name}.npy") for number in range(len(shards))]
        write_array(path / f"{name}.npy", np.concatenate(loaded))
    records = [json.loads((parts / f"{number}.json").read_text(encoding="utf-8")) for number in range(len(shards))]
    write_json(path / "records.json", [record for part in records for record in part])
    shutil.rmtree(parts, ignore_errors=True)


class _Sized:
    """An iterator that knows its length, for a progress bar."""

    def __init__(self, items: Iterable, length: int) -> None:
        self.items, self.length = items, length

    def __iter__(self) -> Iterator:
        return iter(self.items)

    def __len__(self) -> int:
        return self.length


def _make_shard(settings: PoolSettings, shards: Sequence[Sequence[tuple]], parts: Path, number: int) -> None:
    made = [settings.make_row(parts.parent, *row) for row in shards[number]]
    for name, arrays in zip(ARRAYS, zip(*(row[:2] for row in made))):
        write_array(parts / f"{number}.{name}.npy", np.stack(arrays))
    write_json(parts / f"{number}.json", [row[2] for row in made])  # last: it says that the part is whole


def wanted_findings(settings: PoolSettings) -> Any:
    """The findings of a pool's studies as `phantom.chest_study` takes them."""
    findings = settings.findings
    if isinstance(findings, str):
        return [] if findings == HEALTHY else (DRAWN if findings == DRAWN else [findings])
    return findings


def make_row(settings: PoolSettings, split: str, patient: int, visit: int) -> tuple[np.ndarray, np.ndarray, dict]:
    """Line integrals float16 (S, S), masks as bits uint8 (S, S) and the record of one study."""
    study = chest_study(
        patient,
        visit,
        wanted_findings(settings),
        settings.size,
        view=settings.view,
        spread=settings.spread,
        pose_spread=settings.pose_spread,
    )
    planes = np.zeros(study.lungs.shape, np.uint8)
    for bit, mask in enumerate([study.lungs, study.heart, *(found.mask for found in study.findings)][:8]):
        planes |= mask.astype(np.uint8) * np.uint8(1 << bit)
    record = {
        "split": split,
        "patient": patient,
        "study": visit,
        "sex": study.patient.sex,
        "age": study.patient.age,
        "ctr": study.ctr,
        "heart_ml": study.heart_ml,
        "pixel_mm": study.projection.pixel_mm,
        "view": study.study.view,
        "report": study.report,
        "findings": [found.to_dict() for found in study.findings[:6]],
    }
    return study.projection.mu.astype(np.float16), planes, record
