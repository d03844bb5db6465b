"""What Next Sample opens: a study that is made for it, or the scan that looks least like healthy anatomy."""

from __future__ import annotations

import random
import shutil
import time
from typing import Any

from monailabel.interfaces.tasks.strategy import Strategy

from lib.infers import panel_value
from lib.service import Service, scores_of
from synthzoo.bundle.outputs import kinds_shown_as
from synthzoo.errors import UserError
from synthzoo.io.files import scratch_folder
from synthzoo.serving.served import ServedBundle


class Generate(Strategy):
    """Make a study with a generator, store it, and open it: generation for clients that show segmentations only.

    Args:
        service: runs the request.
        bundle: a bundle that makes images without an input.
    """

    def __init__(self, service: Service, bundle: ServedBundle):
        super().__init__(f"Make a new study with {bundle.metadata.get('name', bundle.name)} and open it")
        self.service, self.bundle = service, bundle
        self.options = {name: option for name, option in bundle.options.items() if name != "num_samples"}

    def info(self) -> dict[str, Any]:
        """The conditions stand in the Options panel; an empty seed takes the next one."""
        panel = {name: panel_value(option) for name, option in self.options.items()}
        return super().info() | {"config": panel | ({"seed": ""} if "seed" in panel else {})}

    def __call__(self, request, datastore) -> dict[str, Any]:
        """{"id"} of the new study."""
        requested = {key: value for key, value in request.items() if key != "strategy"}
        if "num_samples" in requested:
            raise UserError(f"{self.bundle.name}: Next Sample makes one study; leave num_samples out.")
        checked = self.service.read_request(self.bundle, requested, with_image=False)
        if "seed" in self.options and str(requested.get("seed") or "").strip() == "" and requested.get("seed") != 0:
            checked.values["seed"] = self.next_seed(datastore)
        checked.extras["store"] = True
        folder = scratch_folder("run")
        try:
            _, cases = self.service.run(self.bundle, checked, folder)
            return {"id": self.service.store_studies(self.bundle, checked, cases)[0]["id"]}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def next_seed(self, datastore) -> int:
        """One more than the highest seed of this bundle's studies in the datastore."""
        seeds = [-1]
        for image_id in datastore.list_images():
            info = datastore.get_image_info(image_id)
            if info.get("bundle") == self.bundle.name:
                seeds.append((info.get("sidecar") or {}).get("seed") or 0)
        return max(seed for seed in seeds if seed < self.options["seed"].maximum) + 1


class AtRandom(Strategy):
    """A scan without a final label at random, the more likely the longer nobody was shown it."""

    def __init__(self) -> None:
        super().__init__("Random Strategy")

    def __call__(self, request, datastore) -> dict[str, Any] | None:
        """{"id", "weight"} of the scan; None where every scan has a final label."""
        images, now = datastore.get_unlabeled_images(), int(time.time())
        if not images:
            return None
        shown = [datastore.get_image_info(image_id).get("strategy") or {} for image_id in images]
        times = [(own.get(request["strategy"]) or {}).get("ts") or 0 for own in shown]
        weights = [max(1, now - ts) for ts in times]
        number = random.choices(range(len(images)), weights)[0]
        return {"id": images[number], "weight": weights[number]}


class MostAnomalousFirst(Strategy):
    """Lead the reader to the worst scan: the highest image score among those without a final label.

    Scores come from batch inference with an anomaly map. A scan that was shown comes again only when all were shown.

    Args:
        service: names the bundles that give scores.
    """

    NAME = "most_anomalous_first"

    def __init__(self, service: Service):
        super().__init__("The scan that looks least like healthy anatomy first, by the scores of an anomaly map")
        self.service = service
        self.models = [name for name, item in service.store.bundles.items() if kinds_shown_as("overlay", item.outputs)]

    def info(self) -> dict[str, Any]:
        """Which map's scores count; auto is the one that has scored the most images."""
        return super().info() | {"config": {"map": ["auto", *self.models]}}

    def __call__(self, request, datastore) -> dict[str, Any]:
        """{"id", "score"} of the scan."""
        name = request.get("map") or "auto"
        if not isinstance(name, str) or name not in ("auto", *self.models):
            raise UserError(f"map is '{str(name)[:60]}', but must be one of auto, {', '.join(self.models)}.")
        infos = {image_id: datastore.get_image_info(image_id) for image_id in datastore.get_unlabeled_images()}
        if name == "auto":
            count = {model: sum(model in scores_of(info) for info in infos.values()) for model in self.models}
            name = max(self.models, key=count.__getitem__)
        scored = []
        for image_id, info in infos.items():
            found = scores_of(info).get(name)
            if found:
                own = info.get("strategy")
                own = own.get(self.NAME) if isinstance(own, dict) else None
                shown = own.get("ts", 0) if isinstance(own, dict) else 0
                scored.append((shown, -float(found["score"]), image_id))
        if not scored:
            raise UserError(f"no unlabelled image has a score of {name} yet: run its batch inference first.")
        fresh = sorted((score, image_id) for shown, score, image_id in scored if not shown)
        if fresh:
            return {"id": fresh[0][1], "score": -fresh[0][0]}
        _, score, image_id = min(scored)
        return {"id": image_id, "score": -score}
