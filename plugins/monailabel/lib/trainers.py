"""The Train button: a bundle learns on from the datastore's images, and the best epoch becomes a version of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monailabel.interfaces.tasks.train import TrainTask

from lib.requests import PASSED_OVER, expect_plain
from lib.service import Service
from synthzoo.io.kinds import format_of_name
from synthzoo.serving.calibrating import calibration_subjects
from synthzoo.serving.fine_tuning import Scan, fine_tune, training_stages
from synthzoo.serving.options import Option, check_options
from synthzoo.serving.served import ServedBundle

logger = logging.getLogger(__name__)
MOST_SUBJECTS = 64
STOCK = (*PASSED_OVER, "run_id", "local_rank", "model", "dataset", "val_split", "name", "pretrained")


def trainable(bundle: ServedBundle) -> bool:
    """Whether a bundle has a training config that reads scans of one's own; a further task of it has none."""
    return bundle.entry is None and bool(training_stages(bundle.folder))


class BundleTrainer(TrainTask):
    """Fine-tuning of one bundle.

    Args:
        service: knows where versions go.
        bundle: what is served.
    """

    def __init__(self, service: Service, bundle: ServedBundle):
        super().__init__(f"Fine-tune {bundle.metadata.get('name', bundle.name)} on the datastore's images")
        self.service, self.bundle = service, bundle
        devices = ["auto", "cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        stages = training_stages(bundle.folder)
        self.options = {
            "stage": Option("stage", "string", stages[-1], enum=tuple(stages), description="a training config"),
            "epochs": Option("epochs", "integer", 10, 1, 10_000, description="passes over the images"),
            "learning_rate": Option("learning_rate", "number", 1e-4, 1e-8, 1, description="of the optimiser"),
            "device": Option("device", "string", "auto", enum=tuple(devices), description="where to train"),
            "synthetic": Option("synthetic", "boolean", False, description="learn from generated studies too"),
        }
        subjects = calibration_subjects(bundle.folder)
        if subjects is not None:
            text = "healthy phantoms to set the new weights against in the end; 0 leaves that out"
            self.options["calibrate"] = Option("calibrate", "integer", subjects, 0, MOST_SUBJECTS, description=text)

    def config(self) -> dict[str, Any]:
        """Options as the stock panel shows them."""
        panel: dict[str, Any] = {}
        for name, option in self.options.items():
            if option.type == "string":
                panel[name] = [option.default, *(item for item in option.enum if item != option.default)]
            else:
                panel[name] = option.default
        return panel

    def stats(self) -> dict[str, Any]:
        """What version.json of the newest version says."""
        versions = sorted((self.service.models_dir / self.bundle.name).glob("[0-9]*/version.json"))
        try:
            if not versions:
                return {}
            record = json.loads(versions[-1].read_text(encoding="utf-8"))
            progress = {"epoch": len(record["losses"]), "total_epochs": record["epochs"]}  # the stock module's names
            found = {"version": versions[-1].parent.name, **progress, **record}
            json.dumps(found, allow_nan=False)  # the answer that it becomes a part of
            return found
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            logger.warning(f"{versions[-1]}: passed over, it is no record of a training ({type(error).__name__})")
            return {}

    def check(self, requested: Mapping[str, Any]) -> dict[str, Any]:
        """The checked options.

        Raises:
            UserError: an unknown name or a wrong value.
        """
        own = {}
        for name, value in requested.items():
            if name not in self.options and name in STOCK:
                expect_plain(name, value if not isinstance(value, (list, dict)) else None)
            else:
                own[name] = value[0] if name == "stage" and isinstance(value, list) and value else value
        checked = check_options(self.options, own, f"training of {self.bundle.name}")
        return {name: option.default for name, option in self.options.items()} | checked

    def __call__(self, request, datastore) -> dict[str, Any]:
        """Train, in the process that the server started for it; gives what version.json says."""
        requested = self.check(request)
        device = None if requested["device"] == "auto" else requested["device"]
        scans = []
        for image_id in sorted(datastore.list_images()):
            info = datastore.get_image_info(image_id)
            path = Path(datastore.get_image_uri(image_id))
            if format_of_name(path.name) == "nifti" and (requested["synthetic"] or not info.get("synthetic")):
                known = {**info, **(info.get("conditions") or {})}
                scans.append(Scan(image_id, path, {name: known.get(name) for name in self.bundle.options}))
        logger.info(f"training of {self.bundle.name} on {len(scans)} images: {requested}")
        return fine_tune(
            self.bundle.folder,
            requested["stage"],
            scans,
            self.service.models_dir / self.bundle.name,
            self.bundle.weights(),
            epochs=requested["epochs"],
            learning_rate=requested["learning_rate"],
            device=device,
            calibration=requested.get("calibrate"),
        )
