"""Writes videos in EchoNet-Dynamic's layout, clip by clip, so that a run which was killed can go on.

A clip's video is written first, whole or not at all; then one line with all its cells is appended to a journal; the
tables are rewritten, whole or not at all, whenever a tenth of the rows is new, and at the end. What the journal or the
tables name is complete. Several processes may fill one folder: each has its own journal.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.cases.table import process_rank
from synthzoo.datasets.echo.echonet import SPLITS, video_name
from synthzoo.datasets.echo.echonet_table import CHORDS, COLUMNS, FILE_LIST, LATENTS, TRACINGS, VIDEOS, table_of
from synthzoo.datasets.echo.tracings import traced_area
from synthzoo.errors import UserError
from synthzoo.io.files import FULL, atomic_path, plain, write_bytes, write_text
from synthzoo.io.locks import locked
from synthzoo.io.marks import Mark, with_mark
from synthzoo.io.videos import as_uint8, avi_bytes

WORDS = {"train": "TRAIN", "validation": "VAL", "test": "TEST"}
AT_LEAST = 64  # new rows before the tables are rewritten


def hashed_name(text: str) -> str:
    """A name in the style of the published set, "0X" and 16 upper-case hexadecimal digits of the text's SHA-256."""
    return "0X" + hashlib.sha256(text.encode()).hexdigest()[:16].upper()


class EchoNetWriter:
    """Fills a folder with Videos/, FileList.csv, VolumeTracings.csv and, if requested, Latents/ and one table more.

    Use it as a context, or call `close` at the end:

        with EchoNetWriter("out") as writer:
            if name not in writer:
                writer.add(name, frames, fps=50, ef=55, split="train")

    Args:
        folder: the data set's folder; made if it is missing. What is complete in it is kept.
        extra_table: name of a table for the values given as `extra`, such as "phantom.csv"; readers ignore it.

    Raises:
        UserError: the folder's tables cannot be read or are of another kind.
    """

    def __init__(self, folder: str | Path, extra_table: str | None = None) -> None:
        self.folder, self.extra_table = Path(folder), extra_table
        self.journal = self.folder / f".journal_{process_rank()[0]}.jsonl"
        self.rows: dict[str, dict] = {}
        self.unsaved = 0
        try:
            with locked(self.folder):
                self._read()
        except OSError as error:
            raise UserError(f"{self.folder} cannot be used ({error.strerror}): choose another folder.") from error

    def __enter__(self) -> EchoNetWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, name: str) -> bool:
        """Whether a clip of this name is complete: its row is known and its video is there."""
        name = video_name(name)
        return name in self.rows and (self.folder / VIDEOS / f"{name}.avi").is_file()

    def add(
        self,
        name: str,
        frames: Any,
        fps: float,
        ef: float,
        split: str,
        esv: float | None = None,
        edv: float | None = None,
        tracings: Mapping[int, Any] | None = None,
        latents: torch.Tensor | None = None,
        extra: Mapping[str, Any] | None = None,
        mark: Mark | None = None,
    ) -> bool:
        """Write one clip, unless it is complete already.

        Args:
            name: the video's name, see `hashed_name`.
            frames: uint8 or float in [0, 1], (T, H, W) or (1, T, H, W).
            fps: frames per second.
            ef: ejection fraction in percent.
            split: "train", "validation" or "test".
            esv, edv: volumes in mL, or None.
            tracings: frame -> [n, 4] long axis and chords in pixels; written from the smallest to the largest, as
                readers of the published set expect.
            latents: (T, C, h, w), for `Latents/<name>.pt`.
            extra: column -> value for the extra table.
            mark: what the video says of its content, see `synthzoo.io.marks`.

        Returns:
            whether the clip was written; False when it was there.

        Raises:
            UserError: a value out of range, a complete clip of this name with other values, or no space left.
        """
        name = video_name(name)
        cells = self._cells(name, frames, fps, ef, split, esv, edv)
        traced = _traced(name, tracings or {}, int(cells["NumberOfFrames"]))
        if name in self:
            different = [key for key in COLUMNS if self.rows[name]["list"].get(key) != cells[key]]
            if not different:
                return False
            key = different[0]
            raise UserError(
                f"{self.folder / FILE_LIST}: {name} is there with {key} {self.rows[name]['list'].get(key)}, but "
                f"{cells[key]} is to be written: choose another folder, or remove the video {name}.avi."
            )
        if latents is not None:
            with atomic_path(self.folder / LATENTS / f"{name}.pt") as temporary:
                torch.save(latents.detach().cpu().clone(), temporary)
        path = self.folder / VIDEOS / f"{name}.avi"
        write_bytes(path, with_mark(avi_bytes(as_uint8(frames, str(path)), fps, name=str(path)), mark))
        row = {"list": cells, "tracings": traced, "extra": {k: _text(v) for k, v in (extra or {}).items()}}
        self._note(name, row)
        self.rows.pop(name, None)  # of a video that was removed
        self.rows[name] = row
        self.unsaved += 1
        if self.unsaved >= max(AT_LEAST, len(self.rows) // 10):
            self.save()
        return True

    def save(self) -> None:
        """Rewrite the tables with every clip that is complete, those of other processes too."""
        with locked(self.folder):
            self._read()
            listed = [row["list"] for row in self.rows.values()]
            if listed:
                write_text(self.folder / FILE_LIST, _csv(COLUMNS, listed))
            lines = [
                dict(zip(CHORDS, (f"{name}.avi", *points)))
                for name, row in self.rows.items()
                for points in row["tracings"]
            ]
            if lines:
                write_text(self.folder / TRACINGS, _csv(CHORDS, lines))
            extra = [{"FileName": name, **row["extra"]} for name, row in self.rows.items() if row["extra"]]
            if self.extra_table and extra:
                columns = list(dict.fromkeys(column for line in extra for column in line))
                write_text(self.folder / self.extra_table, _csv(columns, extra))
            # Their rows are in the tables now. Another process that runs keeps its own until it does the same.
            alone = process_rank()[1] == 1
            for journal in self.folder.glob(".journal_*.jsonl") if alone else [self.journal]:
                journal.unlink(missing_ok=True)
        self.unsaved = 0

    def close(self) -> None:
        """Write the tables and remove what a killed run left half written."""
        self.save()
        if process_rank()[1] == 1:
            for path in self.folder.glob("*/.tmp[0-9]*_*"):
                with suppress(OSError):
                    path.unlink()

    def _cells(
        self, name: str, frames: Any, fps: float, ef: float, split: str, esv: float | None, edv: float | None
    ) -> dict[str, str]:
        where = f"{self.folder / VIDEOS / name}.avi"
        shape = tuple(np.shape(frames))[-3:]
        if len(shape) != 3:
            raise UserError(f"{where}: frames have the shape {np.shape(frames)}, but (T, H, W) is needed.")
        if not 0 <= float(ef) <= 100:  # NaN too
            raise UserError(f"{where}: EF is {ef}, but must lie between 0 and 100 percent.")
        if str(split).lower() not in SPLITS:
            raise UserError(f"{where}: split is {split!r}, but must be train, validation or test.")
        for key, value in (("ESV", esv), ("EDV", edv)):
            if value is not None and not 0 <= float(value) <= 2000:
                raise UserError(f"{where}: {key} is {value}, but must lie between 0 and 2000 mL.")
        word = WORDS[SPLITS[str(split).lower()]]
        values = (name, float(ef), esv, edv, shape[1], shape[2], float(fps), shape[0], word)
        return dict(zip(COLUMNS, map(_text, values)))

    def _note(self, name: str, row: dict) -> None:
        """Append a row to the journal, in one write that reaches the disk."""
        try:
            with open(self.journal, "a", encoding="utf-8") as file:
                # The first line break ends what a killed run left of a line.
                file.write("\n" + json.dumps({"name": name, **row}) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise UserError(
                f"no space left to write {self.journal}: every complete clip is kept; free some space and run the same "
                "command again to go on."
            ) from error

    def _read(self) -> None:
        """Take the rows of the tables and of all journals, in this order; those known already keep their place."""
        found: dict[str, dict] = {}
        path = self.folder / FILE_LIST
        if path.is_file():
            spelt = {column.lower(): column for column in COLUMNS}
            for _, cells in table_of(path, COLUMNS, f"this writer makes {','.join(COLUMNS)}"):
                listed = {spelt[key]: value for key, value in cells.items() if key in spelt}
                found[listed["FileName"]] = {"list": listed, "tracings": [], "extra": {}}
            self._read_more(found)
        for journal in sorted(self.folder.glob(".journal_*.jsonl")):
            for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError, KeyError):  # empty, or cut off where a run was killed
                    row = json.loads(line)
                    found[row.pop("name")] = row
        self.rows = {**found, **{name: row for name, row in self.rows.items() if name not in found}}

    def _read_more(self, found: dict[str, dict]) -> None:
        if (self.folder / TRACINGS).is_file():
            for _, cells in table_of(self.folder / TRACINGS, CHORDS, f"this writer makes {','.join(CHORDS)}"):
                name = cells["filename"].removesuffix(".avi")
                if name in found:
                    found[name]["tracings"].append([cells[column.lower()] for column in CHORDS[1:]])
        if self.extra_table and (self.folder / self.extra_table).is_file():
            text = (self.folder / self.extra_table).read_text(encoding="utf-8")
            for line in csv.DictReader(io.StringIO(text)):
                if line.get("FileName") in found:
                    cells = {key: value for key, value in line.items() if key != "FileName" and value}
                    found[line["FileName"]]["extra"] = cells


def _traced(name: str, tracings: Mapping[int, Any], frames: int) -> list[list[str]]:
    """Cells X1, Y1, X2, Y2, Frame of the tracings, those of the smaller area first."""
    arrays = {int(frame): np.asarray(plain(points), dtype=np.float64) for frame, points in tracings.items()}
    for frame, points in arrays.items():
        if not 0 <= frame < frames:
            raise UserError(f"{name}: frame {frame} is traced, but the video has the frames 0 to {frames - 1}.")
        if points.ndim != 2 or points.shape[1] != 4 or len(points) < 3 or not np.isfinite(points).all():
            raise UserError(f"{name}: the tracing of frame {frame} must be finite [n, 4], the long axis and chords.")
    ordered = sorted(arrays, key=lambda frame: (traced_area(arrays[frame]), frame))
    return [[*(_text(round(float(x), 4)) for x in line), str(frame)] for frame in ordered for line in arrays[frame]]


def _text(value: Any) -> str:
    """A cell: integers without a point, others so that they read back exactly."""
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
    return str(value)


def _csv(columns: Sequence[str], rows: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
