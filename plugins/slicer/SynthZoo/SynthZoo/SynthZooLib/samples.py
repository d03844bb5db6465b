"""A seeded example of what a model takes, from the server, for who has no scan at hand."""

from __future__ import annotations

import shutil
import tempfile

from . import labels, volumes
from .client import ZooClient
from .models import Model
from .show import Shown, read_image, show_case


def sample_name(model: Model, seed: int) -> str:
    """What a sample is called, which says that it is no patient's."""
    return f"Phantom {seed + 1} for {model.name}"


def open_sample(scene, client: ZooClient, model: Model, seed: int = 0) -> Shown:
    """Bring an example of a model's input into the scene, and show it.

    Args:
        scene: where to.
        client: the server.
        model: that takes an image, a video or labels.
        seed: of the example; the same seed gives the same one.

    Raises:
        ZooError: the server has none, or its file cannot be read.
    """
    name = sample_name(model, seed)
    made, folder = Shown(name, {}), tempfile.mkdtemp(prefix="synthzoo_")
    try:
        path = client.fetch_example(model.name, seed, folder)
        if model.takes_labels:
            made.segmentation, _ = labels.read_segmentation(scene, path, name, {})
        else:
            made.volume, made.browser = read_image(scene, path, name, model.modality)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for node in (made.volume, made.segmentation):
        if node is not None:
            volumes.mark(node, model.name)
    show_case(scene, made)
    return made
