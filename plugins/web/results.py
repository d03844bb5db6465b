"""A folder of results of `python -m monai.bundle run` as a list of studies; no server is needed to look at them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha")
KINDS = {"heatmap": "heat_map", "confidence": "heat_map", "dseg": "label", "mask": "label"}  # else "image"


@dataclass
class Study:
    """What belongs to one case.

    Args:
        name: of the case, unique in its list.
        files: kind of output ("image", "heat_map", "label") -> file.
        sidecar: what was asked and measured; empty for a scan.
    """

    name: str
    files: dict[str, Path] = field(default_factory=dict)
    sidecar: dict[str, Any] = field(default_factory=dict)


def stem(name: str) -> str | None:
    """The name without the ending of a volume, or None for any other file."""
    for ending in VOLUMES:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return None


def find_studies(folder: str | Path, images: str | Path | None = None) -> list[Study]:
    """The studies below a folder, by name: those with a sidecar as one study per case, every other volume as a scan.

    Args:
        folder: results of `monai.bundle run`, or scans.
        images: folder of the scans that the results belong to; a map is then shown over its scan.

    Raises:
        FileNotFoundError: a folder that does not exist or has no volume, in one sentence.
    """
    studies: dict[str, Study] = {}
    scans = volumes_of(Path(images)) if images else {}
    own = volumes_of(Path(folder))
    for path in own.values():
        case = path.parent.name
        in_case = path.name.startswith(f"{case}_")
        name = case if in_case else stem(path.name)
        study = studies.setdefault(name, Study(name))
        suffix = stem(path.name).rsplit("_", 1)[-1]
        study.files.setdefault(KINDS.get(suffix, "image") if in_case else "image", path)
        for sidecar in path.parent.glob(f"{name}_*.json") if in_case and not study.sidecar else ():
            study.sidecar = json.loads(sidecar.read_text())
    for study in studies.values():
        source = study.sidecar.get("input", {}).get("name", "")
        found = scans.get(source) or own.get(source)
        if "image" not in study.files and found:
            study.files["image"] = found
    if not studies:
        raise FileNotFoundError(f"{folder} has no volume ({', '.join(VOLUMES)}): name the output_dir of a run.")
    return [studies[name] for name in sorted(studies)]


def volumes_of(folder: Path) -> dict[str, Path]:
    """File name -> path of every volume below a folder."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: name the output_dir of a run.")
    return {path.name: path for path in sorted(folder.rglob("*")) if stem(path.name) and path.is_file()}
