"""The server's models, sorted by what a reader wants to do."""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import ZooError
from .options import Option, read_option

# Task of the index -> its name in the panel, and the verb on the button. A task that is not here shows its own name.
TASKS = {
    "anomaly_map": ("Anomaly map", "Map"),
    "synthesis": ("Synthesis", "Generate"),
    "translation": ("Translation", "Translate"),
    "counterfactual": ("Counterfactual", "Predict"),
    "grounding": ("Grounding", "Locate"),
    "segmentation": ("Segmentation", "Segment"),
    "classification": ("Classification", "Classify"),
    "privacy_audit": ("Privacy audit", "Audit"),
}

# Kind of output -> how it is shown and what it is called, where no server says so, as for a folder of results.
SHOWN_AS = {
    "image": "image",
    "video": "video",
    "heat_map": "overlay",
    "confidence": "overlay",
    "label": "labels",
    "class_scores": "scores",
}
TITLES = {"heat_map": "map", "confidence": "confidence map", "label": "labels"}


@dataclass(frozen=True)
class Model:
    """One model of the server.

    Args:
        name: as the server knows it.
        title, description, intended_use: for people.
        task: word of the index.
        takes_images: whether it works on a scan, or on a label map.
        takes_labels: whether what it needs is a label map.
        needs_images: whether it can do nothing without.
        modality: of the scan, such as "MR", or "".
        outputs: kind -> what the index says of it.
        options: by name, in the server's order.
        versions: names of its weights, the newest first.
    """

    name: str
    title: str
    task: str
    takes_images: bool
    description: str = ""
    intended_use: str = ""
    modality: str = ""
    version: str = ""
    outputs: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    versions: tuple = ()
    takes_labels: bool = False
    needs_images: bool = False

    @property
    def verb(self) -> str:
        """The word on the button."""
        return TASKS.get(self.task, ("", "Run"))[1]

    def view_of(self, kind: str) -> str:
        """How a kind of output is shown: one of `show.VIEWS`, or what a newer server says."""
        return (self.outputs.get(kind) or {}).get("view") or SHOWN_AS.get(kind, "text")

    def title_of(self, kind: str) -> str:
        """The noun for a kind of output."""
        return (self.outputs.get(kind) or {}).get("title") or TITLES.get(kind, kind.replace("_", " "))

    def conditions(self) -> list[Option]:
        """What the image shall show."""
        return [option for option in self.options.values() if option.condition]

    def settings(self) -> list[Option]:
        """How it is made."""
        return [option for option in self.options.values() if not option.condition]

    def help(self) -> str:
        """Description and intended use."""
        return " ".join(text.strip() for text in (self.description, self.intended_use) if text.strip())


def read_models(index: dict) -> dict[str, Model]:
    """The models of `/zoo/index` by name; one that this extension cannot read is left out.

    Raises:
        ZooError: there is none.
    """
    models = {}
    for name, entry in index.items():
        zoo = entry.get("synthzoo")
        if not isinstance(zoo, dict):
            continue
        try:
            options = {key: read_option(key, rule) for key, rule in (zoo.get("options") or {}).items()}
        except ZooError:
            continue
        versions = (zoo.get("extras") or {}).get("model_version", {}).get("enum") or ()
        models[name] = Model(
            name,
            zoo.get("title") or name,
            zoo.get("task") or "",
            bool(zoo.get("takes_images")),
            entry.get("description") or "",
            zoo.get("intended_use") or "",
            zoo.get("modality") or "",
            str(zoo.get("version") or ""),
            zoo.get("outputs") or {},
            options,
            tuple(versions),
            bool(zoo.get("takes_labels")),
            bool(zoo.get("needs_images", zoo.get("takes_images"))),
        )
    if not models:
        raise ZooError("The server serves no model that this extension knows: start it with --conf models all.")
    return models


def tasks_of(models: dict[str, Model]) -> dict[str, str]:
    """Task -> its line in the panel, in the order of `TASKS`, unknown ones last."""
    there = {model.task for model in models.values()}
    known = {task: TASKS[task][0] for task in TASKS if task in there}
    return {**known, **{task: task.replace("_", " ").capitalize() for task in sorted(there - set(TASKS))}}
