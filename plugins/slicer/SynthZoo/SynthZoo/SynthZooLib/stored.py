"""What a server's datastore says of its studies, and their files; needs no scene."""

from __future__ import annotations

import os

from . import videos
from .answer import Output
from .client import ZooClient

# Kind of output -> the labels of the datastore that hold it, the first one that is there counts.
TAGS = {"heat_map": ("heatmap",), "confidence": ("confidence",), "label": ("final", "original")}


def listed(objects: dict) -> list[tuple[str, str]]:
    """(id, line for a list) of each study; scans first, then what was generated."""
    lines = []
    for study, item in objects.items():
        info = info_of(item.get("image"))
        scores = [found.get("score") for found in (info.get("synthzoo_scores") or {}).values()]
        scores = [score for score in scores if isinstance(score, (int, float))]
        told = ["synthetic"] if info.get("synthetic") else []
        told += [f"score {max(scores):.3f}"] if scores else []
        classes = [found.get("class") for found in (info.get("synthzoo_classes") or {}).values()]
        told += [name for name in classes if isinstance(name, str)]
        told = ", ".join(told) or "not mapped"
        tags = ", ".join(sorted(item.get("labels") or {}))
        lines.append((bool(info.get("synthetic")), study, f"{study} ({told}{'; ' + tags if tags else ''})"))
    return [(study, line) for _, study, line in sorted(lines)]


def tag_of(kind: str, tags: dict) -> str:
    """Which label of a study holds an output; "" if none does."""
    return next((tag for tag in TAGS[kind] if tag in tags), "")


def map_sidecar(tags: dict) -> dict:
    """What stands beside a study's map."""
    return info_of(tags.get(tag_of("heat_map", tags))).get("sidecar") or {}


def info_of(entry: dict | None) -> dict:
    """What the datastore says of an image or label."""
    return (entry or {}).get("info") or {}


def fetch_study(client: ZooClient, study: str, tags: dict, folder: str, have=()) -> dict[str, Output]:
    """Download the image of a study, its map and its label map: kind -> file, with the names of the labels.

    Args:
        client: the server.
        study: id.
        tags: the labels that the datastore lists for it.
        folder: for the files.
        have: kinds that are not needed; "image" and "video" stand for each other.

    Raises:
        ZooError: what the server refused, or that it is not there.
    """
    found = {}
    if not {"image", "video"} & set(have):
        path = client.fetch_image(study, folder)
        found["video" if videos.is_video(path) else "image"] = Output(path)
    for kind in TAGS:
        tag = tag_of(kind, tags)
        if tag and kind not in have:
            place = os.path.join(folder, tag)  # the server may give all of them one name
            os.makedirs(place, exist_ok=True)
            names = (info_of(tags[tag]).get("params") or {}).get("label_names") or {}
            found[kind] = Output(client.fetch_label(study, tag, place), names)
    return found
