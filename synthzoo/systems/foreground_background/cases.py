"""Photographs in, masks of a word out: table, reader, placement on the photograph's own pixels, writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform

from synthzoo.cases.images import ImageTable, LoadPictured
from synthzoo.cases.table import CaseTable
from synthzoo.inferers.outputs import SpreadOutputsd
from synthzoo.results.save import SaveResult
from synthzoo.systems.foreground_background.inferer import ConceptInferer
from synthzoo.systems.foreground_background.network import ConceptNetwork
from synthzoo.transforms.radiograph_grid import FromRadiographGridd, ToRadiographGridd

MAP, MASK, BACKGROUND = "heatmap.png", "dseg.png", "background.png"
SHAPE = "photograph_shape"
SAID = "Where a model of text to image, or a network trained by it, sees a word in a photograph. Research only."


class ReadPhotographd(Transform):
    """Read the photograph of a path onto the network's square grid, between bars, levels in [0, 1].

    Args:
        size: of the grid.
        bands: 3 for colour, 1 for grey.
        key: of the path.
    """

    def __init__(self, size: int = 96, bands: int = 3, key: str = "image") -> None:
        self.read = LoadPictured(key, channels=bands, colour="average" if bands == 1 else "refuse")
        self.place = ToRadiographGridd(key, size, "pad", "none", SHAPE)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return self.place(self.read(dict(data)))


def concept_table(
    images: str | Path | Sequence[str | Path],
    concept: str,
    network: ConceptNetwork,
    inferer: ConceptInferer,
    loader: Any = None,
    settings: Mapping[str, Any] | None = None,
    example: str | None = None,
    output_dir: str | None = None,
    bundle: str = "",
    bundle_root: str | None = None,
    weights: str | None = None,
    overwrite: bool = False,
) -> ImageTable:
    """The table of photographs in which a word is sought.

    Args:
        images: see `ImageTable`.
        concept: the word, or a few.
        network: knows the words, and which of them its segmenter was trained on.
        inferer: says which stage they get.
        loader: reads a photograph, see `ImageTable`.
        settings: for the sidecar.
        example: see `ImageTable`.
        output_dir, bundle, bundle_root, weights, overwrite: see `CaseTable`.

    Raises:
        UserError: a word that the model does not know, a stage that the word cannot get, and what the table says.
    """
    checked = network.tokenizer.check(concept, name="concept")
    known = {"concept": checked, "stage": inferer.stage_for(network, checked), **dict(settings or {})}
    shared: dict[str, Any] = {
        "output_dir": output_dir,
        "bundle": bundle,
        "bundle_root": bundle_root,
        "weights": weights,
        "example": example,
    }
    return ImageTable(images, kinds=["image"], loader=loader, suffix=MAP, settings=known, overwrite=overwrite, **shared)


def prepare_photographs(batch: dict, device: Any = None, non_blocking: bool = False, **kwargs: Any) -> tuple:
    """A batch of photographs -> (images, no target, (), {"shapes": heights and widths}), for `SupervisedEvaluator`."""
    images = batch["image"].to(device, non_blocking=non_blocking)
    return images, None, (), {"shapes": torch.as_tensor(batch[SHAPE])}


class PlaceMasks(Transform):
    """Bring map, mask and background onto the photograph's own pixels.

    The sample gets "area_share" of the mask, "separation" of the map, None where the segmenter made it, and "labels",
    which names the mask's value for viewers.

    Args:
        concept: the word that was sought.
    """

    def __init__(self, concept: str) -> None:
        self.concept, self.spread = str(concept), SpreadOutputsd("pred")

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        placed = self.spread(data)
        keys = [key for key in ("pred", "mask", "background") if key in placed]
        placed = FromRadiographGridd(keys, shape_key=SHAPE)(placed)
        placed["mask"] = (placed["mask"] >= 0.5).to(torch.uint8)
        placed["area_share"] = round(float(placed["mask"].float().mean()), 5)
        separation = float(placed.get("separation", -1.0))
        placed["separation"] = None if separation < 0 else round(separation, 3)
        placed["labels"] = {1: self.concept}
        return placed


class SaveMasks(SaveResult):
    """`SaveResult` of a map with its mask and, after a removal, the background.

    Args:
        table: see `concept_table`.
        kwargs: see `SaveResult`.
    """

    def __init__(self, table: CaseTable, **kwargs: Any) -> None:
        outputs = {"pred": MAP, "mask": MASK}
        if table.settings.get("stage") == "refined":
            outputs["background"] = BACKGROUND
        kwargs.setdefault("sidecar_keys", ("area_share", "separation", "labels"))
        super().__init__(table, outputs, description=SAID, **kwargs)
