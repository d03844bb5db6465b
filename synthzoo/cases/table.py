"""A table of cases: what it shares out among processes, where each case is written, and which ones are done already.

A case is one row: a request (`requests.RequestTable`) or an input image (`images.ImageTable`). Its files are
`<output_dir>/<case>/<folder>/<case>_<suffix>` and a sidecar of the same name with `.json`, which is written last. A
case whose sidecar says the same seed, conditions, bundle, version, weights and sampler is done and is not run again.
In the BIDS layout (`folder` is set) label maps go to `<output_dir>/derivatives/<bundle>/<case>/<folder>/`.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from synthzoo.cases.failures import Failure, failure_of
from synthzoo.errors import EndRun, UserError, printable
from synthzoo.io.files import expect_writable, sha256, text_of
from synthzoo.io.kinds import stem

logger = logging.getLogger(__name__)
LABELS = ("dseg", "mask", "probseg")  # the last word of the suffixes that BIDS keeps among the derivatives
# What BIDS calls images that have other names elsewhere.
BIDS_NAMES = {"T1Gd": "ce-gadolinium_T1w", "PD": "PDw"}
LONGEST_SHOWN = 120  # letters of a value in a sentence
FORMATS = ("native", "dicom")
IDENTITY = (
    *("bundle", "version", "weights_sha256", "sampler", "settings", "seed", "requested", "input"),
    "output_format",
)


def process_rank() -> tuple[int, int]:
    """Rank and number of processes as `torchrun` states them in the environment; (0, 1) in a single process."""
    return int(os.environ.get("RANK", 0)), max(1, int(os.environ.get("WORLD_SIZE", 1)))


class OtherRequest(UserError, EndRun):
    """Results of other settings lie in the output folder; to mix them with those of this run would mislead."""


def is_label(suffix: str) -> bool:
    """Whether a suffix such as `dseg.nii.gz` means a label map."""
    return stem(suffix).rsplit("_", 1)[-1] in LABELS


def bids_suffix(suffix: str) -> str:
    """A suffix as BIDS has it: `ce-gadolinium_T1w.nii.gz` for `T1Gd.nii.gz`; most are the same.

    >>> bids_suffix("T1Gd.nii.gz"), bids_suffix("T2w.json")
    ('ce-gadolinium_T1w.nii.gz', 'T2w.json')
    """
    name, point, ending = suffix.partition(".")
    return f"{BIDS_NAMES.get(name, name)}{point}{ending}"


class CaseTable(Dataset):
    """Rows that become files; subclasses give `record(row)` and `load(row)`.

    Args:
        output_dir: folder of the results, or None when nothing is saved (then nothing is skipped either).
        suffix: end of the main file's name, `T1w.nii.gz`; the sidecar is `T1w.json`.
        folder: folder below the case's own, `anat` in the BIDS layout, empty in the plain one.
        bundle: name of the bundle, for the sidecar.
        bundle_root: folder of the bundle; the version is read from its `configs/metadata.json` and the weights'
            SHA-256 is taken from `models/model.pt`, where these exist.
        weights: another weights file than `models/model.pt`.
        settings: what the result depends on beside the request, by name; in the sidecar under `settings_key`.
        block: rows that are batched together. A block is run again whole when one of its rows is missing, so that a
            resumed run makes the same batches, and so the same bits, as an uninterrupted one. Set it to the batch size.
        output_format: "native" writes NIfTI, PNG and AVI, "dicom" what a hospital's viewer opens, see `SaveResult`.
        overwrite: True replaces results that were made from another request; False refuses.
        other_suffixes: that the main file has under other settings, such as another contrast: a case that lies there
            under one of these was made from another request.
    """

    settings_key = "sampler"  # of generators; what is made from an image by no sampler has "settings"
    config_id = "dataset"  # of the table in inference.json, for sentences
    takes_inputs = False  # whether a row is a file, which may be wrong in any way
    conditions: dict[str, dict] = {}
    failures: list[str]

    def __init__(
        self,
        output_dir: str | None = None,
        suffix: str = "T1w.nii.gz",
        folder: str = "",
        bundle: str = "",
        bundle_root: str | None = None,
        weights: str | None = None,
        settings: dict[str, Any] | None = None,
        block: int = 1,
        output_format: str = "native",
        overwrite: bool = False,
        other_suffixes: Sequence[str] = (),
    ) -> None:
        if output_format not in FORMATS:
            raise UserError(f"output_format is {output_format!r}, but must be {' or '.join(FORMATS)}.")
        self.output_format = output_format
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.suffix, self.folder, self.overwrite, self.block = suffix, folder, overwrite, max(1, int(block))
        self.other_suffixes = [other for other in other_suffixes if other != suffix]
        if folder:
            self.suffix = bids_suffix(suffix)
        self.bundle, self.settings = bundle, dict(settings or {})
        root = None if bundle_root is None else Path(bundle_root)
        self.bundle_root, self.metadata = root, _metadata(root)
        metadata = self.metadata
        self.version, self.example_input = metadata.get("version"), metadata.get("synthzoo", {}).get("example_input")
        inputs = metadata.get("network_data_format", {}).get("inputs", {})
        self.modality: str = inputs.get("image", {}).get("modality", "")
        weights_path = Path(weights) if weights else (root / "models" / "model.pt" if root else None)
        self.weights_sha256 = _weights_sha256(weights_path)
        if self.output_dir is not None:
            expect_writable(self.output_dir)
        self.started = time.time()
        self.failures = []
        self.cases: list[str] = []
        self.rows: list[int] = []
        self.skipped = 0

    def record(self, row: int) -> dict:
        """What belongs to this row alone: seed and requested values, or the input file and its hash."""
        raise NotImplementedError

    def load(self, row: int) -> dict:
        """The sample that the network needs for this row."""
        raise NotImplementedError

    def share_out(self) -> None:
        """Keep the rows of this process (blocks rank, rank + world, ...) that are not done yet, in `self.rows`."""
        rank, world = process_rank()
        self.rows, self.skipped = [], 0
        count = len(self.cases)
        for number, start in enumerate(range(0, count, self.block)):
            if number % world != rank:
                continue
            done: dict[int, bool] = {}
            for row in range(start, min(start + self.block, count)):
                try:
                    done[row] = self.is_done(row)
                except Exception as error:
                    self.leave_out(row, error)
            self.skipped += sum(done.values())
            self.rows += [] if all(done.values()) else list(done)

    def named(self, row: int) -> str:
        """The row's case as a sentence names it."""
        return f"case {self.cases[row]}"

    def names(self, row: int) -> tuple[str, ...]:
        """What a sentence that names the row's case has in it."""
        return (self.cases[row],)

    def ends_run(self, error: Exception) -> bool:
        """Whether an error of one case ends the run: there is one case only, or none of its own input is to blame."""
        foreseen = not self.cases or not failure_of(error, 0, self.named(0)).traceback
        return len(self.cases) == 1 or not (foreseen or self.takes_inputs)

    def leave_out(self, row: int, error: Exception) -> None:
        """Note that a row cannot be done, and remove what was written of it.

        Raises:
            UserError: there is one case only.
            Exception: the error, where it is nobody's input that is to blame; see `failure_of` for others.
        """
        self._discard(row)
        failure = failure_of(error, row, self.named(row), self.names(row))
        if failure.traceback and self.ends_run(error):
            raise error
        if len(self.cases) == 1:
            raise UserError(failure.sentence) from error
        self.note(failure)

    def note(self, failure: Failure) -> None:
        """Say that a row is left out, on standard error, and keep its sentence in `failures`."""
        if len(self.cases) == 1:
            raise UserError(failure.sentence)
        if failure.traceback:
            logger.error(f"{failure.sentence}\n{failure.traceback}")
        self.failures.append(failure.sentence)
        print(f"warning: left out: {failure.sentence}", file=sys.stderr)

    def _discard(self, row: int) -> None:
        """Remove the files of a case that this run began and did not complete."""
        if self.output_dir is None or self.sidecar(self.cases[row]).exists():
            return
        folder = self.case_dir(self.cases[row])
        for path in folder.glob(f"{glob.escape(self.cases[row])}_*"):
            with suppress(OSError):
                if path.is_file() and path.stat().st_mtime >= self.started:
                    path.unlink()
        with suppress(OSError):
            folder.rmdir()

    def case_dir(self, case: str) -> Path:
        """The folder of a case's files."""
        if self.output_dir is None:
            raise UserError("output_dir is not set: give the folder that the results shall go to.")
        return self.output_dir / case / self.folder if self.folder else self.output_dir / case

    def path(self, case: str, suffix: str | None = None) -> Path:
        """The path of a case's file with this suffix (default: the main one)."""
        suffix = suffix or self.suffix
        folder = self.case_dir(case)
        if self.folder:
            suffix = bids_suffix(suffix)
            if is_label(suffix):
                folder = self.derivatives / case / self.folder
        return folder / f"{case}_{suffix}"

    @property
    def derivatives(self) -> Path:
        """The folder of what was derived from the images, in the BIDS layout."""
        return self.output_dir / "derivatives" / (self.bundle or "synthzoo")

    def sidecar(self, case: str) -> Path:
        """The path of a case's JSON sidecar."""
        return self.path(case, stem(self.suffix) + ".json")

    def request(self, row: int) -> dict:
        """Everything that decides the result of this row, as it goes into the sidecar."""
        format_of = {} if self.output_format == "native" else {"output_format": self.output_format}
        return {
            "bundle": self.bundle,
            "version": self.version,
            "weights_sha256": self.weights_sha256,
            self.settings_key: self.settings,
            **self.record(row),
            **format_of,
        }

    def is_done(self, row: int) -> bool:
        """Whether the row's file and sidecar exist and say this same request.

        Raises:
            UserError: the sidecar is of another request and `overwrite` is False.
        """
        if self.output_dir is None:
            return False
        case = self.cases[row]
        places = [self.sidecar(case), *(self.path(case, f"{stem(other)}.json") for other in self.other_suffixes)]
        sidecar = next((place for place in places if place.is_file()), places[0])
        try:
            found = json.loads(sidecar.read_text(encoding="utf-8"))
            main = (found.get("files") or [text_of(self.path(case).name)])[0]
            if not any(text_of(path.name) == main for path in sidecar.parent.iterdir()):  # names are bytes, see text_of
                return False
        except (ValueError, OSError, AttributeError, LookupError, TypeError, RecursionError):  # no sidecar of ours
            return False
        requested = json.loads(json.dumps(self.request(row)))
        different = [key for key in IDENTITY if key in requested and found.get(key) != requested[key]]
        if found.get("output_format", "native") != self.output_format:
            different = ["output_format"]
        if not different:
            return True
        if self.overwrite:
            # What was made under another name is not written over.
            for name in [sidecar.name, *(found.get("files") or [])] if sidecar != places[0] else ():
                with suppress(OSError):
                    (sidecar.parent / Path(str(name)).name).unlink()
            return False
        key = different[0] if different == ["input"] else [name for name in different if name != "input"][-1]
        # Another input concerns its case alone; other settings concern the whole set.
        kind = UserError if key == "input" else OtherRequest
        there, now = (printable(str(held.get(key)), LONGEST_SHOWN) for held in (found, requested))
        raise kind(
            f"{sidecar} was made from another request ({key} is {there} there and {now} now): "
            f"choose another output_dir, or replace it with --{self.config_id}#overwrite True."
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        row = self.rows[index]
        return {**self.load(row), "case": self.cases[row], "row": row}


def _weights_sha256(path: Path | None) -> str | None:
    """The hash of a weights file; None where there is none, for whoever loads it says so."""
    try:
        return sha256(path) if path and path.is_file() else None
    except OSError as error:
        raise UserError(f"{path}: these weights cannot be read ({error.strerror}): check its permissions.") from None


def _metadata(root: Path | None) -> dict[str, Any]:
    """What `<root>/configs/metadata.json` says, nothing where it cannot be read."""
    try:
        found = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError, TypeError):
        return {}
