"""A study of the server in the scene: with its labels and its map."""

from __future__ import annotations

import shutil
import tempfile

from . import heat, labels, pictures, sequences, volumes
from .client import ZooClient
from .errors import ZooError
from .show import Shown, read_image, show_case
from .stored import fetch_study, info_of, map_sidecar, tag_of


def open_study(scene, client: ZooClient, study: str) -> Shown:
    """Bring a study of the datastore with its label maps and its map into the scene, and show it.

    Raises:
        ZooError: there is no such study, or its file cannot be read.
    """
    objects = client.studies()
    if study not in objects:
        raise ZooError(f"The server has no study '{study}' any more: press Refresh.")
    info, tags = info_of(objects[study]["image"]), objects[study].get("labels") or {}
    folder = tempfile.mkdtemp(prefix="synthzoo_")
    made = Shown(study, info.get("sidecar") or {})
    try:
        made.volume = volumes.find_study(scene, study)
        files = fetch_study(client, study, tags, folder, () if made.volume is None else ("image",))
        if made.volume is not None:
            made.browser = sequences.browser_of(made.volume)
        else:
            path = (files.get("image") or files["video"]).path
            made.volume, made.browser = read_image(scene, path, study, frame_ms=made.sidecar.get("frame_ms"))
            volumes.mark(made.volume, info.get("bundle", ""), study, info.get("sidecar"), made.browser is not None)
        array = None
        if "label" in files:
            tag, file = tag_of("label", tags), files["label"]
            made.segmentation, array = labels.read_segmentation(
                scene, file.path, f"{study} {tag}", file.names, made.volume
            )
            volumes.mark(made.segmentation, info_of(tags[tag]).get("model") or study)
        if "heat_map" in files:
            made.sidecar = map_sidecar(tags)
            made.heat = pictures.read_map(scene, files["heat_map"].path, f"{study} anomaly map", made.volume)
            made.regions = heat.regions(made.heat, made.sidecar, array)
            volumes.mark(made.heat, made.sidecar.get("bundle", ""), "", made.sidecar)
        if "confidence" in files:
            found = pictures.read_map(scene, files["confidence"].path, f"{study} confidence map", made.volume)
            made.further.append(found)
            volumes.mark(found, made.sidecar.get("bundle", ""), "", made.sidecar)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show_case(scene, made)
    return made
