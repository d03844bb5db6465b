"""The one frame of an evaluation: parts that are measured in turn, kept as they are done, and reported once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from synthzoo.errors import UserError
from synthzoo.evaluation.report import Report
from synthzoo.io.files import plain, write_json
from synthzoo.networks.saving import digest_of, save_atomically


@dataclass
class Found:
    """Tables and figures that one part of an evaluation measured.

    Attributes:
        tables: of the report, see `add`.
        figures: name -> number or word, of the report.
        data: what pictures are drawn from, in JSON's types; kept with the part and not reported.
    """

    tables: list[dict] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    def add(self, title: str, columns: Sequence[str], rows: Sequence[Sequence]) -> None:
        """Append a table."""
        self.tables.append({"title": title, "columns": list(columns), "rows": [list(row) for row in rows]})


class Evaluation:
    """Measures a network in parts and writes one report; an evaluation that was killed goes on where it stopped.

    A subclass names its parts in `PARTS`, in the order of the report, has a method of that name for each, which
    returns `Found`, and draws its pictures in `draw`. What several parts need, it generates through `cached`.

    Args:
        network: trained; the evaluation runs on its device.
        report: takes the figures.
        work_dir: keeps what is done, in a folder for each network and setting.
        settings: what decides the numbers: another value, another folder.
        inferer: that of the bundle, whose settings count, too.
        parts: which parts to measure; None measures all. Of the others is reported what work_dir has of them, and where
            it does not have them all, what the metrics file says of the same network under the same settings.

    Raises:
        UserError: a part that the evaluation does not have.
    """

    PARTS: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        network: torch.nn.Module,
        report: Report,
        work_dir: str | Path,
        settings: Mapping[str, Any],
        inferer: Any = None,
        parts: Sequence[str] | None = None,
    ) -> None:
        self.network, self.report, self.inferer = network.eval(), report, inferer
        tensor = next(network.parameters(), None)
        self.device = torch.device("cpu") if tensor is None else tensor.device
        self.parts = list(self.PARTS if parts is None else parts)
        unknown = [part for part in self.parts if part not in self.PARTS]
        if unknown:
            raise UserError(f"parts = {unknown}: the evaluation knows {', '.join(self.PARTS)}.")
        identity = [type(self).__name__, digest_of(network), plain(dict(settings)), described(inferer)]
        name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        self.folder = Path(work_dir) / name

    def run(self) -> dict[str, Any]:
        """Measure, write, and return what was written."""
        found = {}
        for part in self.PARTS:
            path = self.folder / f"{part}.json"
            if part in self.parts and not path.is_file():
                start = time.perf_counter()
                write_json(path, vars(getattr(self, part)()))
                print(f"{part}: {time.perf_counter() - start:.0f} s", flush=True)
            if path.is_file():
                found[part] = Found(**json.loads(path.read_text(encoding="utf-8")))
        self.draw(found)
        tables = [table for one in found.values() for table in one.tables]
        figures = {name: value for one in found.values() for name, value in one.figures.items()}
        whole = set(found) == set(self.PARTS)
        return self.report.write(tables, figures, self.reported_settings(), self.folder.name, keep=not whole)

    def draw(self, found: Mapping[str, Found]) -> None:
        """Draw the evaluation's pictures; `found` holds the parts that are done."""

    def reported_settings(self) -> dict[str, Any] | None:
        """What the metrics file says under "settings"; None leaves the key out."""
        return None

    def cached(self, name: str, make: Callable[[], Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Tensors by name, from `work_dir` where they lie there, otherwise by `make`, and kept there."""
        path = self.folder / f"{name}.pt"
        if not path.is_file():
            save_atomically(dict(make()), path)
        return torch.load(path, weights_only=True)

    def clock(self) -> float:
        """Seconds: on a CPU of this process, so that what else runs there does not count, else of the wall."""
        return time.process_time() if self.device.type == "cpu" else time.perf_counter()

    @property
    def kind_of_device(self) -> str:
        """ "gpu" or "cpu", the ending of figures that depend on it."""
        return "gpu" if self.device.type == "cuda" else "cpu"


def described(inferer: Any) -> dict[str, Any] | None:
    """The class and the plain settings of an inferer; what it holds besides and its progress bar are left out."""
    if inferer is None:
        return None
    plain_types = (str, int, float, bool, type(None), list, tuple, dict)
    kept = {name: value for name, value in vars(inferer).items() if isinstance(value, plain_types)}
    kept.pop("progress", None)
    return {"class": type(inferer).__name__, **json.loads(json.dumps(plain(kept), default=str))}
