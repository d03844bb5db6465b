"""The server's datastore in the scene: open a study with its labels, or the one that a strategy names."""

from __future__ import annotations

import shutil
import tempfile

from . import heat, labels, volumes
from .client import ZooClient
from .errors import ZooError
from .show import Shown, show_case

WORST_FIRST = "most_anomalous_first"
MAP_TAG = "heatmap"  # floats; every other tag is a label map


def listed(objects: dict) -> list[tuple[str, str]]:
    """(id, line for a list) of each study; scans first, then what was generated."""
    lines = []
    for study, item in objects.items():
        info = (item.get("image") or {}).get("info") or {}
        scores = [found.get("score") for found in (info.get("synthzoo_scores") or {}).values()]
        scores = [score for score in scores if isinstance(score, (int, float))]
        told = "synthetic" if info.get("synthetic") else f"score {max(scores):.3f}" if scores else "not mapped"
        tags = ", ".join(sorted(item.get("labels") or {}))
        lines.append((bool(info.get("synthetic")), study, f"{study} ({told}{'; ' + tags if tags else ''})"))
    return [(study, line) for _, study, line in sorted(lines)]


def open_study(scene, client: ZooClient, study: str) -> Shown:
    """Bring a study of the datastore with its label maps and its map into the scene, and show it.

    Raises:
        ZooError: there is no such study, or its file cannot be read.
    """
    objects = client.studies()
    if study not in objects:
        raise ZooError(f"The server has no study '{study}' any more: press Refresh.")
    info, tags = objects[study]["image"].get("info") or {}, objects[study].get("labels") or {}
    folder = tempfile.mkdtemp(prefix="synthzoo_")
    made = Shown(study, info.get("sidecar") or {})
    try:
        made.volume = volumes.find_study(scene, study)
        if made.volume is None:
            made.volume = volumes.read_volume(scene, client.fetch_image(study, folder), study)
            volumes.set_window(made.volume)
            volumes.mark(made.volume, info.get("bundle", ""), study, info.get("sidecar"))
        tag = next((name for name in ("final", "original") if name in tags), None)
        array = None
        if tag:
            told = (tags[tag].get("info") or {}).get("params", {}).get("label_names") or {}
            path = client.fetch_label(study, tag, folder)
            made.segmentation, array = labels.read_segmentation(scene, path, f"{study} {tag}", told, made.volume)
            volumes.mark(made.segmentation, (tags[tag].get("info") or {}).get("model") or study)
        if MAP_TAG in tags:
            made.sidecar = (tags[MAP_TAG].get("info") or {}).get("sidecar") or {}
            path = client.fetch_label(study, MAP_TAG, folder)
            made.heat = volumes.read_volume(scene, path, f"{study} anomaly map")
            made.regions = heat.regions(made.heat, made.sidecar, array)
            volumes.mark(made.heat, made.sidecar.get("bundle", ""), "", made.sidecar)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show_case(scene, made)
    return made
