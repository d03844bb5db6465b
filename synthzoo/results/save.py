"""The one transform that writes a sample: every output by the kind of its ending, then the sidecar.

A sidecar is written after its files, so that its presence means that the case is complete.
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.transforms import Transform

from synthzoo.cases.table import CaseTable
from synthzoo.errors import UserError
from synthzoo.io.dicom import Study, study_of
from synthzoo.io.files import plain, text_of, write_json
from synthzoo.io.marks import Mark, stated
from synthzoo.results.external_host import external_host
from synthzoo.results.kinds import kind_of
from synthzoo.results.kinds.base import Content, Kind, is_map


class SaveResult(Transform):
    """Write one decollated sample: its outputs, then its sidecar. Use as the last entry of the postprocessing.

    With the table's `output_format` dicom, what a hospital's viewer opens is written as DICOM objects in place of the
    native file: an image as a series in a folder of its own, a label map as a segmentation, a video as ultrasound, a
    radiograph as digital X-ray. Heat maps and tables stay as they are.

    Every file says that it is synthetic, or, where it is a map or a table of an image that was given, by which bundle
    it was derived; see `synthzoo.io.marks`.

    Args:
        table: the `RequestTable` or `ImageTable` that the sample came from; says where to write and what was requested.
        outputs: key of the sample -> suffix, such as {"pred": "T1w.nii.gz"}; None writes `pred` with the table's
            suffix. The ending decides the kind of file, see `synthzoo.results.kinds`; the first is the main file.
        measure: None, or a function (array that was written, its scale) -> {name: number}, an instrument that measures
            what was requested; its answer stands in the sidecar under `measured`. The scale is the spacing in mm of
            volumes and images, and frames per second of videos.
        measured_keys: keys of the sample with numbers that go into the sidecar under `measured`.
        sidecar_keys: keys of the sample that go into the sidecar as they are (scores, regions).
        derived: keys of outputs that show the image that was given, such as its reconstruction: they are not synthetic.
        description: the sidecar's `Description`.
        settings: what the kinds of these outputs take, such as `affine` of volumes or `fps` of videos.

    A sample that is of no table goes on to whoever writes it; see `external_host`.

    Raises:
        UserError: an ending or a setting that no kind has; the disk is full or the folder cannot be written (the
            sample leaves nothing then); what the kinds say of an output.
    """

    def __init__(
        self,
        table: CaseTable,
        outputs: Mapping[str, str] | None = None,
        measure: Callable[[Any, Any], dict] | None = None,
        measured_keys: Sequence[str] = (),
        sidecar_keys: Sequence[str] = (),
        derived: Sequence[str] = (),
        description: str = "Made by a generative model; not an image of a person.",
        **settings: Any,
    ) -> None:
        self.table = table
        self.outputs = dict(outputs or {"pred": table.suffix})
        self.measure, self.measured_keys = measure, tuple(measured_keys)
        self.sidecar_keys, self.description = tuple(sidecar_keys), description
        self.derived = {self.outputs[key] for key in derived}
        self.kinds = _kinds(self.outputs.values(), settings)

    def __call__(self, data: dict) -> dict:
        if "row" not in data:
            return external_host(data, self.outputs, self.sidecar_keys)
        row, case = int(data["row"]), str(data["case"])
        if self.table.is_done(row):  # a row of a block that is run again for the sake of equal batches
            return data
        written: list[Path] = []
        try:
            sample = {**data, "source_path": self.table.paths[row]} if hasattr(self.table, "paths") else data
            made = [self.kinds[suffix].prepare(data[key], key, suffix, sample) for key, suffix in self.outputs.items()]
            study = self._study(row, case) if self.table.output_format == "dicom" else None
            dicom, files = [], []
            for suffix, content in zip(self.outputs.values(), made):
                kind, path = self.kinds[suffix], self.table.path(case, suffix)
                dicom.append(kind.dicom_paths(path, suffix, content, study) if study else [])
                files.append(dicom[-1] or kind.paths(path, content))
            record = self._record(data, row, made[0], [text_of(path.name) for paths in files for path in paths])
            for suffix, content, objects, paths in zip(self.outputs.values(), made, dicom, files):
                written += paths
                kind, mark = self.kinds[suffix], self._mark(suffix, record)
                if study and objects:
                    kind.write_dicom(paths[0], suffix, content, study, mark)
                else:
                    kind.write(paths[0], content, mark)
            write_json(self.table.sidecar(case), record)
        except BaseException:
            # Nothing of a case that is not complete: the next run makes it again.
            for path in written:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
                _remove_empty(path.parent, self.table.output_dir)
            _remove_empty(self.table.case_dir(case), self.table.output_dir)
            raise
        return data

    def _study(self, row: int, case: str) -> Study:
        request = self.table.request(row)
        given = self.table.paths[row] if hasattr(self.table, "paths") else None
        return study_of(case, json.dumps(plain(request)), request.get("requested"), given)

    def is_synthetic(self, suffix: str, record: Mapping) -> bool:
        """Whether an output is a generated image rather than a map, a table or a copy of an input image."""
        shows_input = not self.kinds[suffix].pixels or is_map(suffix) or suffix in self.derived
        return "input" not in record or not shows_input

    def _mark(self, suffix: str, record: Mapping) -> Mark:
        synthetic = self.is_synthetic(suffix, record)
        plainly = {key: value for key, value in record.items() if key not in ("Synthetic", "DerivedBy")}
        return Mark(synthetic, {**stated(synthetic, self.table.bundle, self.table.version), **plainly})

    def _record(self, data: Mapping, row: int, main: Content, names: list[str]) -> dict:
        request = self.table.request(row)
        synthetic = self.is_synthetic(next(iter(self.outputs.values())), request)
        mark = stated(synthetic, self.table.bundle, self.table.version)
        record = {"Description": self.description, **mark, **request}
        units = {name: rule["unit"] for name, rule in self.table.conditions.items() if rule.get("unit")}
        if units:
            record["units"] = units
        measured = {} if self.measure is None else self.measure(main.array, main.scale)
        measured |= {key: data[key] for key in self.measured_keys if key in data}
        if measured:
            record["measured"] = measured
        record.update({key: data[key] for key in self.sidecar_keys if key in data})
        record.update(files=names, **main.facts)
        return record


def _kinds(suffixes: Any, settings: Mapping[str, Any]) -> dict[str, Kind]:
    """One writer for each suffix, with those of the settings that its kind takes."""
    found, unknown = {}, set(settings)
    for suffix in suffixes:
        kind = kind_of(suffix)
        taken = {name: settings[name] for name in inspect.signature(kind).parameters if name in settings}
        found[suffix] = kind(**taken)
        unknown -= set(taken)
    if unknown:
        known = sorted({name for suffix in found for name in inspect.signature(kind_of(suffix)).parameters})
        raise UserError(
            f"SaveResult has no setting '{sorted(unknown)[0]}' for {', '.join(found)}: the known ones are "
            f"{', '.join(known) or 'none'}."
        )
    return found


def _remove_empty(folder: Path, stop: Path | None) -> None:
    """Remove this folder and those above it, up to but without `stop`, as long as they are empty."""
    while stop is not None and folder != stop and stop in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
