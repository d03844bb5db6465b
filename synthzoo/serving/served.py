"""One bundle that answers requests: the command of its card, run in a process that keeps the network warm.

A request runs the same evaluator over the same table as `python -m monai.bundle run` with the same keys, so the files
that it leaves are those of the command, bit for bit. Texts and pictures of a data set are not written.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from pydoc import locate
from typing import Any

import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents

from synthzoo.bundle.compose import load_config
from synthzoo.bundle.find import read_json, read_metadata
from synthzoo.bundle.order import walk
from synthzoo.errors import EndRun, UserError, find_user_error
from synthzoo.networks.weights import load_weights
from synthzoo.serving.calibrating import settings_of
from synthzoo.serving.options import Option, bundle_options, plain_value
from synthzoo.serving.sequences import as_sequence
from synthzoo.serving.tasks import config_of_task, metadata_of_task
from synthzoo.serving.watching import CallCounter, watched

RELEASED = "released"


class Cancelled(EndRun):
    """The request was cancelled while it ran."""


@dataclass
class Case:
    """One result: its name, what stands in its sidecar, and the file of each kind of output."""

    name: str
    sidecar: dict[str, Any]
    files: dict[str, Path] = field(default_factory=dict)


class ServedBundle:
    """A bundle's folder with its network, loaded at the first request.

    Args:
        folder: the bundle; only its configs and metadata are read here.
        device: "cpu", "cuda", "cuda:1" ...; None takes what the bundle's config says.
        versions: folder of fine-tuned weights, `<versions>/<version>/model.pt`; None knows the released ones only.
        entry: name of a further task of the bundle, see `synthzoo.serving.tasks`; None is the bundle itself.

    Raises:
        UserError: the bundle has no such task.
    """

    def __init__(
        self,
        folder: str | Path,
        device: str | None = None,
        versions: str | Path | None = None,
        entry: str | None = None,
    ) -> None:
        self.folder, self.entry = Path(folder).resolve(), entry
        self.name, self.device = self.folder.name, device
        self.metadata = read_metadata(self.folder)
        self.stem, self._released = "inference", None
        if entry is not None:
            stated, self.name = self.metadata, f"{self.folder.name}_{entry}"
            self.metadata = metadata_of_task(stated, entry, self.folder.name)
            self.stem, self._released = config_of_task(stated, entry)
        self.config = read_json(self.folder / "configs" / f"{self.stem}.json")
        self.block = self.metadata.get("synthzoo", {})
        self.task: str = self.block.get("task", "")
        self.outputs: dict[str, dict] = self.block.get("outputs", {})
        self.takes_images = "images" in self.config
        alone = [kind for kind, rule in self.outputs.items() if rule.get("without_images")]
        self.needs_images = self.takes_images and not alone and "requests" not in self.config
        self.of_images = {kind: rule for kind, rule in self.outputs.items() if kind not in alone}
        self.released_options: dict[str, Option] = bundle_options(self.metadata, self.config)
        self.table_id = find_table(self.config)
        self.versions = Path(versions) if versions else None
        self.network: torch.nn.Module | None = None
        self.loaded: str | None = None

    @property
    def options(self) -> dict[str, Option]:
        """Options by name, with the defaults of the weights that answer when no version is named."""
        return self.options_of()

    def options_of(self, version: str | None = None) -> dict[str, Option]:
        """The options with the defaults of a version; None is the one of `weights`."""
        settings = self.settings(version)
        return {
            name: replace(option, default=settings[name]) if name in settings else option
            for name, option in self.released_options.items()
        }

    def settings(self, version: str | None = None) -> dict[str, Any]:
        """Settings that a version's calibration found, such as a threshold; the released version's is in its config."""
        version = self.chosen(version)
        found = {} if version == RELEASED else settings_of(self.versions / version / "model.pt")
        known = self.released_options
        return {name: known[name].check(value) for name, value in found.items() if name in known}

    @property
    def modality(self) -> str:
        """The modality that metadata states for the input, such as "MR"."""
        return str(self.metadata["network_data_format"]["inputs"]["image"].get("modality", ""))

    @property
    def takes_labels(self) -> bool:
        """Whether an image that is given is a label map, as metadata says of the network's input or of a second one."""
        inputs = self.metadata["network_data_format"]["inputs"]
        stated = inputs["image"].get("format", "")
        return self.takes_images and (stated in ("labels", "segmentation") or "labels" in inputs)

    @property
    def mark(self) -> Mapping[str, str] | None:
        """Keys of the config that take a label of the image: its "path", the "values" that count, or what lies
        "above"; None for what takes none."""
        return self.block.get("mark")

    def known_versions(self) -> list[str]:
        """The names of the weights, the newest first, the released ones last."""
        found = [] if self.versions is None else [path.parent.name for path in self.versions.glob("*/model.pt")]
        return [*sorted(found, reverse=True), RELEASED]

    def chosen(self, version: str | None = None) -> str:
        """The name of a version; None is the newest that was better than what its training started from.

        Raises:
            UserError: there is no such version.
        """
        known = self.known_versions()
        version = version or next(name for name in known if name == RELEASED or self._improved(name))
        if version not in known:
            raise UserError(f"model_version is '{version}', but {self.name} has {', '.join(known)}.")
        return version

    def weights(self, version: str | None = None) -> Path:
        """The file of a version, see `chosen`."""
        version = self.chosen(version)
        if version == RELEASED:
            path = plain_value(self.config.get("weights"))
            if self._released is not None and not path:
                return self.folder / self._released
            return Path(path) if path else self.folder / "models" / "model.pt"
        return self.versions / version / "model.pt"

    def _improved(self, version: str) -> bool:
        """Whether a version is better than what it began from, by its record; a damaged one says nothing good."""
        path = self.versions / version / "version.json"
        if not path.is_file():
            return True
        try:
            return bool(read_json(path).get("improved", True)) and self.settings(version) is not None
        except (UserError, AttributeError):
            return False

    def weights_bytes(self) -> int:
        """Bytes of the loaded network, or an estimate from its file before it is loaded."""
        if self.network is not None:
            return sum(value.numel() * value.element_size() for value in self.network.state_dict().values())
        path = self.weights()
        return 2 * path.stat().st_size if path.is_file() else 0  # files may hold half precision

    def working_bytes(self) -> int:
        """Memory that one run needs besides the weights: what metadata measured, else a guess of 1 GB."""
        peak = self.block.get("peak_memory_gb")
        return int((peak if isinstance(peak, (int, float)) else 1.0) * 1e9)

    def load(self, version: str | None = None) -> None:
        """Bring the network with the weights of a version into memory; the one that is there stays."""
        path = self.weights(version)
        if self.network is not None and self.loaded == self._stamp(path):
            return
        stamp = self._stamp(path)
        if self.network is None:
            parser = load_config(self.folder, overrides=self._device(), base=self.stem)
            self.network = parser.get_parsed_content("network_def").to(parser.get_parsed_content("device")).eval()
        device = next((value.device for value in self.network.state_dict().values()), torch.device("cpu"))
        self.loaded = None
        load_weights(self.network, path, device)
        self.loaded = stamp

    @staticmethod
    def _stamp(path: Path) -> str:
        return f"{path}:{path.stat().st_mtime_ns if path.exists() else 0}"

    def unload(self) -> None:
        """Give the network's memory back."""
        self.network = self.loaded = None

    def run(
        self,
        values: Mapping[str, Any],
        output_dir: str | Path,
        image: str | Path | None = None,
        version: str | None = None,
        report: Callable[[int, int, int], None] | None = None,
    ) -> list[Case]:
        """Run one request and give its results, in the table's order.

        Args:
            values: checked options by name; see `synthzoo.serving.options.check_options`.
            output_dir: folder that receives the files; what is complete in it is not generated again.
            image: input volume of a bundle that takes images; a few do without and then generate.
            version: of the weights; None is the newest.
            report: called as report(done, total, calls) after each sample and before each module that is called; what
                it raises ends the run.

        Raises:
            UserError: an image that cannot be used, weights that do not fit, a value that the bundle refuses.
        """
        if self.needs_images and image is None:
            raise UserError(f"{self.name} needs an image: name one of the datastore or upload one.")
        version = self.chosen(version)
        self.load(version)
        overrides = {**self._overrides(version), **values, "output_dir": str(output_dir)}
        if image is not None and self.takes_images:
            overrides["images"] = str(image)
        try:
            parser = load_config(self.folder, overrides=overrides, base=self.stem)
            table = parser.get_parsed_content(self.table_id)
            evaluator = parser.get_parsed_content("evaluator")
            with self._reported(evaluator, len(table), report):
                if len(table):
                    parser.get_parsed_content("run")
        except Exception as error:
            mistake = find_user_error(error)
            if mistake is not None:
                raise mistake from error
            cancelled = find_cause(error, Cancelled)
            if cancelled is not None:
                raise cancelled from error
            raise
        return [self._case(table, case) for case in table.cases]

    def _device(self) -> dict[str, str]:
        return {} if self.device is None else {"device": f"$torch.device({self.device!r})"}

    def _overrides(self, version: str) -> dict[str, Any]:
        """The warm network, what its calibration has set, and no texts and pictures."""
        overrides: dict[str, Any] = {"network": self.network, **self._device(), **self.settings(version)}
        if self.weights(version) != self.weights(RELEASED):
            overrides["weights"] = str(self.weights(version))
        handlers = self.config.get("handlers")
        if isinstance(handlers, list):
            overrides["handlers"] = [item for item in handlers if is_served(item)]
        steps = (self.config.get("postprocessing") or {}).get("transforms")
        if isinstance(steps, list):
            overrides["postprocessing#transforms"] = [item for item in steps if is_served(item)]
        if "progress" in (self.config.get("inferer") or {}):
            overrides["inferer#progress"] = False
        return overrides

    @contextlib.contextmanager
    def _reported(self, evaluator: Any, total: int, report: Callable | None) -> Iterator[None]:
        """Call `report` after every sample and before every module that is called, see `watching`."""
        if report is None:
            yield
            return
        counter, done = CallCounter(self.network), [0]

        def check() -> None:
            report(done[0], total, counter.calls)

        def iterated(engine: Any) -> None:
            batch = engine.state.batch
            done[0] += len(batch) if isinstance(batch, list) else len(batch["image"])
            check()

        evaluator.add_event_handler(Events.ITERATION_STARTED, check)
        evaluator.add_event_handler(IterationEvents.FORWARD_COMPLETED, check)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, iterated)
        with watched(counter, check):
            yield

    def _case(self, table: Any, name: str) -> Case:
        files = {kind: table.path(name, rule["suffix"]) for kind, rule in self.outputs.items() if "suffix" in rule}
        main = table.path(name, table.suffix)
        if "image" in files and not files["image"].is_file() and main not in files.values():
            files["image"] = main  # an image is called by its contrast, which a request may choose
        files = {kind: path for kind, path in files.items() if path.is_file()}
        sidecar = table.sidecar(name)
        record = json.loads(sidecar.read_text(encoding="utf-8")) if sidecar.is_file() else {}
        for kind, path in files.items():
            if path.suffix == ".avi":
                files[kind], record["frame_ms"] = as_sequence(path)
        return Case(name, record, files)


def find_table(config: Mapping) -> str:
    """Id of the table of cases in inference.json, for example `dataset` or `dataset#data`."""
    for where, node in walk(config["dataset"], "dataset"):
        if isinstance(node, dict) and "output_dir" in node:
            return where
    raise UserError("inference.json: dataset holds no table with output_dir; see synthzoo.cases.table.CaseTable.")


def is_served(item: Any) -> bool:
    """Whether a handler or transform belongs to a served answer: its class may say `served = False`.

    Those that write texts and pictures of a whole data set say so.
    """
    target = str(item.get("_target_", "")) if isinstance(item, dict) else ""
    return bool(getattr(locate(target), "served", True)) if "." in target else True


def find_cause(error: BaseException | None, kind: type) -> BaseException | None:
    """The first error of a kind in the chain of causes."""
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__ or error.__context__
    return None
