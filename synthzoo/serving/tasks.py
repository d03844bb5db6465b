"""Further tasks of a bundle: configs beside inference.json that answer requests of their own, such as `segment`.

metadata.json names them in its `synthzoo` block, each with what it takes and gives in place of the bundle's own:

    "tasks": {
      "segment": {
        "config": "segment", "weights": "models/segmenter.pt", "task": "segmentation", "title": "Brain segmentation",
        "description": "...", "input": {"format": "magnitude", "modality": "MR"}, "options": {}, "outputs": {...}
      }
    }

The task is served under the bundle's name, an underscore and its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from synthzoo.bundle.find import read_metadata
from synthzoo.errors import UserError

OWN = ("conditions", "options", "outputs", "cost", "peak_memory_gb", "seconds_per_sample", "example_input", "results")
TAKEN = ("task", "options", "outputs", "cost", "peak_memory_gb", "seconds_per_sample", "example_input", "mark")


def task_names(folder: str | Path) -> list[str]:
    """The names of a bundle's further tasks, none for most bundles."""
    return list(read_metadata(Path(folder)).get("synthzoo", {}).get("tasks", {}))


def metadata_of_task(metadata: Mapping[str, Any], name: str, bundle: str) -> dict[str, Any]:
    """A bundle's metadata as they are for one of its tasks.

    Args:
        metadata: content of metadata.json.
        name: of the task.
        bundle: name of the bundle, for the sentence.

    Raises:
        UserError: the bundle has no such task.
    """
    found = deepcopy(dict(metadata))
    block = found.get("synthzoo", {})
    tasks = block.pop("tasks", {})
    if name not in tasks:
        raise UserError(f"{bundle} has no task '{name}': it has {', '.join(tasks) or 'none'}.")
    stated = tasks[name]
    for key in OWN:
        block.pop(key, None)
    block |= {"conditions": {}} | {key: stated[key] for key in TAKEN if key in stated}
    found["synthzoo"] = block
    found["name"], found["description"] = stated["title"], stated["description"]
    # The task's image alone: label maps that the bundle itself takes besides are not its input.
    found["network_data_format"]["inputs"] = {
        "image": found["network_data_format"]["inputs"]["image"] | stated["input"]
    }
    return found


def config_of_task(metadata: Mapping[str, Any], name: str) -> tuple[str, str]:
    """The stem of a task's config and its weights file, relative to the bundle."""
    stated = metadata["synthzoo"]["tasks"][name]
    return stated["config"], stated.get("weights", "models/model.pt")
