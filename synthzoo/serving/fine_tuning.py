"""Fine-tuning of a bundle on scans of one's own, with the bundle's own training config, into a version of its weights.

The objective on held-out scans, with the same randomness each time, is taken before the training and after each epoch.
The weights of the best epoch so far stand in `<versions>/<number>/model.pt` at any moment, so that a stop or a kill
loses none of it; `version.json` beside them says what they are. Of a bundle that is calibrated, they are calibrated
again in the end; until then `calibrated` is false, and calibration and settings are those that the training began with.
"""

from __future__ import annotations

import copy
import datetime
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data.utils import list_data_collate

from synthzoo.bundle.compose import load_config
from synthzoo.bundle.find import read_json
from synthzoo.bundle.order import walk
from synthzoo.cases.values import check_value
from synthzoo.datasets.loader import SeededRows, seed_everything
from synthzoo.datasets.participants import TABLE
from synthzoo.errors import UserError, find_user_error
from synthzoo.io.files import sha256, write_json, write_text
from synthzoo.io.kinds import stem
from synthzoo.networks.saving import save_weights
from synthzoo.serving.calibrating import calibrate, calibration_subjects, settings_of

HELD_OUT = 0.2
FEW = 5  # with fewer scans none is held out


@dataclass
class Scan:
    """A scan to learn from.

    Args:
        name: as a file's name.
        path: `.nii` or `.nii.gz`.
        conditions: values by the name of the condition, as far as they are known.
    """

    name: str
    path: Path
    conditions: dict[str, Any] = field(default_factory=dict)


def training_stages(bundle: str | Path) -> list[str]:
    """The training configs of a bundle that can learn from a table of scans: those that declare `fine_tuning`.

    Its value holds what such a stage does otherwise when it starts from trained weights, as overrides by id. The stage
    has a `data_format` that takes "tsv".
    """
    paths = sorted((Path(bundle) / "configs").glob("train*.json"))
    return [path.stem for path in paths if "fine_tuning" in read_json(path)]


def find_reader(config: Mapping) -> str | None:
    """Id of the data set that takes `data_format` in a training config, such as `train#dataset#dataset`; or None."""
    for where, node in walk(config.get("train", {}), "train"):
        if isinstance(node, dict) and "data_format" in node:
            return where
    return None


def find_node(config: Mapping, where: str) -> Any:
    """The part of a config at an id such as `train#dataset#0`."""
    node: Any = config
    for key in where.split("#"):
        node = node[int(key) if isinstance(node, list) else key]
    return node


def held_out_rows(config: Mapping, split: str) -> dict[str, Any]:
    """The part of a training config that makes the rows, reading another split, each of its rows once."""
    reader = find_reader(config)
    config = copy.deepcopy(dict(config))
    node = find_node(config, reader)
    node["split"] = split
    if "length" in node:
        node["length"] = None
    return find_node(config, "#".join(reader.split("#")[:2]))


def fine_tune(
    bundle: str | Path,
    stage: str,
    scans: Sequence[Scan],
    versions: str | Path,
    weights: str | Path,
    epochs: int = 10,
    learning_rate: float | None = None,
    device: str | None = None,
    seed: int = 0,
    calibration: int | None = None,
) -> dict[str, Any]:
    """Train on the scans and keep the best epoch as a new version; gives what version.json says.

    Args:
        bundle: its folder.
        stage: one of `training_stages`.
        scans: at least 1; from 5 on, a fifth of them is held out.
        versions: folder of the bundle's versions.
        weights: where the training starts.
        epochs: passes over the scans.
        learning_rate: None takes that of the config.
        device: None takes that of the config.
        seed: of order, augmentation and noise.
        calibration: subjects of the calibration of a bundle that has one, see `calibrating`; 0 leaves it out, None
            takes the number of the bundle.

    Raises:
        UserError: an unknown stage, no scans, scans that cannot be read.
    """
    bundle, versions = Path(bundle), Path(versions)
    if stage not in training_stages(bundle):
        known = ", ".join(training_stages(bundle)) or "none"
        raise UserError(f"stage is '{stage}', but {bundle.name} trains on scans with {known}.")
    if not scans:
        raise UserError(f"{bundle.name}: there is no scan to learn from; add images to the datastore.")
    version = new_version(versions)
    config = {**read_json(bundle / "configs" / "inference.json"), **read_json(bundle / "configs" / f"{stage}.json")}
    conditions = read_json(bundle / "configs" / "metadata.json").get("synthzoo", {}).get("conditions", {})
    held_out = max(1, round(len(scans) * HELD_OUT)) if len(scans) >= FEW else 0
    write_table(version / "data", scans, conditions, held_out)
    train = len(scans) - held_out
    rows = train * int(find_node(config, find_reader(config)).get("rows_per_scan", 1))
    batch = min(int(config.get("batch_size", 1)), rows)
    record: dict[str, Any] = {
        "bundle": bundle.name,
        "stage": stage,
        "epochs": epochs,
        "scans": train,
        "held_out": held_out,
        "started_from_sha256": sha256(weights),
        "started": datetime.datetime.now().isoformat(timespec="seconds"),
        "improved": False,
    }
    own_subjects = calibration_subjects(bundle)
    if own_subjects is not None:
        record |= {"calibrated": False, "settings": settings_of(weights)}
    keeper = KeepBest(version, record)
    overrides: dict[str, Any] = {
        "data_format": "tsv",
        "dataset_dir": str(version / "data"),
        "weights": str(weights),
        "seed": seed,
        "max_epochs": epochs,
        "epoch_length": math.ceil(rows / batch),
        "batch_size": batch,
        "cache_dir": None,
        "checkpoint_dir": None,
        "log_dir": None,
        "save_to": None,
        "train#trainer#init_from": str(weights),
        "train#trainer#resume": False,
        "train#trainer#progress": False,
        "train#trainer#train_handlers": [keeper],
    }
    overrides |= config["fine_tuning"]
    if learning_rate is not None:
        overrides["learning_rate"] = learning_rate
    if device is not None:
        overrides["device"] = f"$torch.device({device!r})"
    overrides["held_out_scans"] = held_out_rows(config, "validation" if held_out else "train")
    try:
        parser = load_config(bundle, overlays=(stage,), overrides=overrides)
        trainer = parser.get_parsed_content("train#trainer")
        keeper.rows = SeededRows(parser.get_parsed_content("held_out_scans"), seed)
        keeper.batch_size = batch
        began = time.monotonic()
        trainer.run()
        keeper.record["total_time"] = f"{time.monotonic() - began:.0f} s"
        write_json(version / "version.json", keeper.record)
        subjects = own_subjects if calibration is None else calibration
        if own_subjects is not None and subjects and (version / "model.pt").is_file():
            del trainer, parser
            keeper.rows = ()  # the memory is needed for another network
            print(f"calibrating on {subjects} healthy subjects; a stop keeps the weights uncalibrated", flush=True)
            made: dict[str, Any] = calibrate(bundle, version / "model.pt", subjects, device)
            keeper.record |= {**made, "settings": {**record["settings"], **made["settings"]}}
            write_json(version / "version.json", keeper.record)
    except Exception as error:
        mistake = find_user_error(error)
        if mistake is not None:
            raise mistake from error
        raise
    return keeper.record


def new_version(versions: Path) -> Path:
    """Make the folder of the next version, `0001`, `0002`, ..."""
    versions.mkdir(parents=True, exist_ok=True)
    number = max([int(path.name) for path in versions.iterdir() if path.name.isdigit()], default=0) + 1
    folder = versions / f"{number:04d}"
    folder.mkdir()
    return folder


def write_table(folder: Path, scans: Sequence[Scan], conditions: Mapping[str, Mapping], held_out: int) -> None:
    """participants.tsv and links to the scans; the last `held_out` of them are for validation."""
    (folder / "images").mkdir(parents=True)
    lines = ["\t".join(["id", *conditions, "split"])]
    for number, scan in enumerate(scans):
        ending = scan.path.name.removeprefix(stem(scan.path.name))
        os.symlink(scan.path.resolve(), folder / "images" / f"{scan.name}{ending}")
        cells = [known_value(name, scan.conditions.get(name), schema) for name, schema in conditions.items()]
        lines.append("\t".join([scan.name, *cells, "train" if number < len(scans) - held_out else "validation"]))
    write_text(folder / TABLE, "\n".join(lines) + "\n")


def known_value(name: str, value: Any, schema: Mapping[str, Any]) -> str:
    """The cell of a condition: its value, or n/a where it is unknown or out of the range that the bundle takes."""
    try:
        value = check_value(name, value, schema)
    except UserError:
        value = None
    return "n/a" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


class KeepBest:
    """Handler: after each epoch, measure the objective on the held-out scans and keep the weights if it is the lowest.

    Args:
        folder: of the version; receives model.pt and version.json.
        record: what version.json shall say besides.
    """

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self.folder, self.record = folder, dict(record, losses=[])
        self.rows: Any = ()
        self.batch_size = 1
        self.best = math.inf

    def attach(self, engine: Engine) -> None:
        """Measure at the start and after every epoch."""
        engine.add_event_handler(Events.STARTED, self.before)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.after)

    def before(self, trainer: Any) -> None:
        """The objective of the weights that the training starts from."""
        self.record["before"] = self.measure(trainer)
        self.report(trainer, 0, self.record["before"])

    def after(self, trainer: Any) -> None:
        """The objective of this epoch; the weights are kept if none was better."""
        loss = self.measure(trainer)
        self.record["losses"].append(loss)
        if loss < self.best:
            self.best = loss
            save_weights(self.network(trainer), self.folder / "model.pt")
            self.record |= {"best": loss, "best_epoch": trainer.state.epoch, "improved": loss < self.record["before"]}
        write_json(self.folder / "version.json", self.record)
        self.report(trainer, trainer.state.epoch, loss)

    @staticmethod
    def network(trainer: Any) -> torch.nn.Module:
        """The averaged network where there is one."""
        return trainer.network if trainer.ema is None else trainer.ema

    @torch.no_grad()
    def measure(self, trainer: Any) -> float:
        """Mean of the first objective over the held-out scans, with the same random numbers at every call."""
        network, objective = self.network(trainer), trainer.steps[0]["objective"]
        state = torch.get_rng_state()
        was_training = network.training
        network.eval()
        try:
            losses = []
            for row in range(len(self.rows)):
                batch = list_data_collate([self.rows[row, row]])
                batch = {
                    key: value.to(trainer.state.device) if torch.is_tensor(value) else value
                    for key, value in batch.items()
                }
                seed_everything(row)
                losses.append(float(objective(network, batch)["loss"]))
            return round(sum(losses) / len(losses), 6)
        finally:
            network.train(was_training)
            torch.set_rng_state(state)

    def report(self, trainer: Any, epoch: int, loss: float) -> None:
        """One line on standard output, which the server keeps."""
        best = "" if math.isinf(self.best) else f", best {self.best:g}"
        print(f"epoch {epoch} of {trainer.state.max_epochs}: held-out objective {loss:g}{best}", flush=True)
