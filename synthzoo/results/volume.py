"""What a run leaves: per case the volumes and their sidecar, and for the whole set the BIDS texts and a preview.

A sidecar is written after its volumes, so that its presence means that the case is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.transforms import Transform

from synthzoo.cases.table import CaseTable
from synthzoo.errors import UserError
from synthzoo.io.files import plain, write_json
from synthzoo.io.nifti import affine_of, write_nifti
from synthzoo.results.dataset_files import (
    gather_failures,
    locked,
    remove_leftovers,
    write_dataset_files,
    write_preview,
)
from synthzoo.results.external_host import external_host


class Written(NamedTuple):
    """A file that was written: its array, what an instrument has to know beside it, and the sidecar's facts on it."""

    array: np.ndarray
    scale: Any
    facts: dict


class SaveResult(Transform):
    """Write one decollated sample: its volumes, then its sidecar. Use as the last entry of the postprocessing.

    Args:
        table: the `RequestTable` or `ImageTable` that the sample came from; says where to write and what was requested.
        outputs: key of the sample -> suffix, such as {"pred": "T1w.nii.gz"}; None writes `pred` with the table's
            suffix. Each is a tensor [1, D, H, W] or [D, H, W]; `dseg` and `mask` suffixes are written as uint8, all
            others as float32.
        affine: [4, 4] voxel to world in mm (RAS) of generated volumes; a tensor, an array or nested lists.
        spacing_mm: instead of `affine`: the spacing, with the volume's middle at the origin. With neither, the
            sample's own affine (MetaTensor) is taken.
        measure: None, or a function (image float32 [D, H, W] array, spacing in mm) -> {name: number}, an instrument
            that measures what was requested; its answer stands in the sidecar under `measured`.
        sidecar_keys: keys of the sample that go into the sidecar as they are (scores, regions).
        description: the sidecar's `Description`.

    A sample that is of no table goes on to whoever writes it; see `external_host`.

    Raises:
        UserError: the disk is full or the folder cannot be written (the sample leaves nothing then), or the network
            gave NaN or Inf.
    """

    def __init__(
        self,
        table: CaseTable,
        outputs: dict[str, str] | None = None,
        affine: Any = None,
        spacing_mm: Any = None,
        measure: Callable | None = None,
        sidecar_keys: tuple[str, ...] = (),
        description: str = "Made by a generative model; not an image of a person.",
    ):
        self.table = table
        self.outputs = dict(outputs or {"pred": table.suffix})
        self.affine = None if affine is None else np.asarray(plain(affine), dtype=np.float64).reshape(4, 4)
        self.spacing_mm, self.measure = spacing_mm, measure
        self.sidecar_keys, self.description = tuple(sidecar_keys), description

    def __call__(self, data: dict) -> dict:
        if "row" not in data:
            return external_host(data, self.outputs, self.sidecar_keys)
        row, case = int(data["row"]), str(data["case"])
        if self.table.is_done(row):  # a row of a block that is run again for the sake of equal batches
            return data
        written, first = [], None
        try:
            for key, suffix in self.outputs.items():
                path = self.table.path(case, suffix)
                made = self.write(path, suffix, key, data)
                written.append(path)
                first = first or made
            write_json(self.table.sidecar(case), self._record(data, row, first, [path.name for path in written]))
        except BaseException:
            # Nothing of a case that is not complete: the next run makes it again.
            for path in written:
                path.unlink(missing_ok=True)
                _remove_empty(path.parent, self.table.output_dir)
            _remove_empty(self.table.case_dir(case), self.table.output_dir)
            raise
        return data

    def write(self, path: Path, suffix: str, key: str, data: dict) -> Written:
        """Write one output of a sample; a subclass writes other kinds of files.

        Args:
            path: the file, to be written whole or not at all.
            suffix: the output's, such as "T1w.nii.gz".
            key: its key in the sample.
            data: the sample.

        Returns:
            what was written; the sidecar tells it of the case's main file.
        """
        array, affine = self._volume(data[key], str(data["case"]))
        if suffix.split(".")[0].rsplit("_", 1)[-1] in ("dseg", "mask"):
            array = np.rint(array).astype(np.uint8)
        write_nifti(path, array, affine)
        spacing = [float(mm) for mm in np.linalg.norm(affine[:3, :3], axis=0)]
        facts = {"shape": list(array.shape), "spacing_mm": [round(mm, 6) for mm in spacing]}
        return Written(array, spacing, facts)

    def _volume(self, value, case: str) -> tuple[np.ndarray, np.ndarray]:
        """Array [D, H, W] float32 and affine [4, 4] of a tensor."""
        array = finite_array(value, case)
        if self.affine is not None:
            return array, self.affine
        if self.spacing_mm is not None:
            return array, affine_of(plain(self.spacing_mm), array.shape)
        affine = getattr(value, "affine", None)
        return array, np.eye(4) if affine is None else np.asarray(plain(affine), dtype=np.float64)

    def _record(self, data: dict, row: int, main: Written, names: list[str]) -> dict:
        record = {"Description": self.description, **self.table.request(row)}
        units = {name: rule["unit"] for name, rule in self.table.conditions.items() if rule.get("unit")}
        if units:
            record["units"] = units
        if self.measure is not None:
            record["measured"] = self.measure(main.array, main.scale)
        record.update({key: data[key] for key in self.sidecar_keys if key in data})
        record.update(files=names, **main.facts)
        return record


def finite_array(value, case: str) -> np.ndarray:
    """What a network gave for a case, [1, A, B, C] or [A, B, C], as float32 [A, B, C].

    Raises:
        UserError: NaN or Inf.
    """
    array = torch.as_tensor(value).detach().float().cpu().numpy()
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if not np.isfinite(array).all():
        raise UserError(f"the network gave NaN or Inf for {case}: run it in full precision, or check its weights.")
    return array


def _remove_empty(folder, stop) -> None:
    """Remove this folder and those above it, up to but without `stop`, as long as they are empty."""
    while folder != stop and stop in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


class FinalizeDataset:
    """Handler for the end of a run: participants.tsv, dataset_description.json, preview PNG, and what was left out.

    Under `torchrun` the last process to end does it for all. It also runs when nothing was left to do.

    Args:
        table: the table of the run.
        preview: number of cases in `preview.png`; 0 for none.
        overlay: suffix of a heat map to draw over the main file in the preview, or None.
        name: `Name` in dataset_description.json; None takes the bundle's name.

    Raises:
        UserError: at the end, when inputs were left out because they could not be used.
    """

    served = False  # a server answers with results, not with texts and pictures of a data set
    draw: Callable[[CaseTable, list[Path], str | None], None] = staticmethod(write_preview)

    def __init__(self, table: CaseTable, preview: int = 8, overlay: str | None = None, name: str | None = None):
        self.table, self.preview, self.overlay, self.name = table, int(preview), overlay, name

    def attach(self, engine: Engine) -> None:
        """Run at the engine's end, or now when no row is left (MONAI then does not run the engine at all)."""
        if len(self.table) == 0:
            if self.table.skipped:
                print(f"all {self.table.skipped} results exist already in {self.table.output_dir}; nothing to do")
            self(engine)
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine | None = None) -> None:
        failures = self.table.failures
        if self.table.output_dir is not None:
            with locked(self.table.output_dir):
                failures = gather_failures(self.table)
                if failures is None:
                    return
                remove_leftovers(self.table)
                shown = {"preview": self.preview, "overlay": self.overlay, "draw": self.draw}
                write_dataset_files(self.table, name=self.name, **shown)
        if failures:
            more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
            raise UserError(f"{len(failures)} inputs could not be used, the others are done: {failures[0]}{more}")
