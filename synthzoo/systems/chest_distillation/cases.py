"""The cases of a run: radiographs in which a phrase is sought, or, without any, radiographs that a prompt asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.inferers import Inferer
from monai.transforms import Compose, Transform

from synthzoo.cases.images import ImageTable, LoadRadiographd
from synthzoo.cases.requests import RequestTable
from synthzoo.cases.table import CaseTable
from synthzoo.errors import UserError
from synthzoo.inferers.outputs import SpreadOutputsd
from synthzoo.inferers.text_to_image import TextToImageInferer
from synthzoo.networks.text_to_image import TextToImage
from synthzoo.networks.word_tokens import WordTokenizer
from synthzoo.results.save import SaveResult
from synthzoo.systems.chest_distillation.inferer import GroundingInferer
from synthzoo.systems.chest_distillation.words import ALL_SOUGHT, affirmed, names_finding
from synthzoo.transforms.mixture_masks import box_of
from synthzoo.transforms.radiograph_grid import FromRadiographGridd, ToRadiographGridd

MAP, MASK, GENERATED = "heatmap.png", "dseg.png", "cxr.png"
OF_NO_PERSON = "by a generative model; not of a person. Research only."


def checked_prompt(prompt: Any, tokenizer: WordTokenizer, may_be_empty: bool = False) -> str:
    """The prompt as the network takes it: known words, and nothing that the text denies.

    Raises:
        UserError: see `WordTokenizer.check`; a text that only says what is not there.
    """
    kept = affirmed(prompt) if isinstance(prompt, str) else prompt
    denied = kept != prompt and names_finding(prompt) and not names_finding(kept)
    if denied and (kept == "" or not may_be_empty):  # "the lungs are clear" is a radiograph, but nothing to seek
        raise UserError(f"prompt is '{prompt.strip()}', which only says what is not there: name what is.")
    return tokenizer.check(kept or prompt, may_be_empty)


def prompted_table(
    images: str | Path | Sequence[str | Path],
    prompt: str,
    tokenizer: WordTokenizer,
    generate: bool = False,
    num_samples: int = 1,
    seed: int = 0,
    latent_shape: Sequence[int] = (4, 32, 32),
    loader: Any = None,
    sampler: Mapping[str, Any] | None = None,
    grounding: Mapping[str, Any] | None = None,
    output_dir: str | None = None,
    output_format: str = "native",
    bundle: str = "",
    bundle_root: str | None = None,
    weights: str | None = None,
    overwrite: bool = False,
) -> CaseTable:
    """The table of radiographs, or, where none are given or `generate` says so, of noise to generate from.

    Args:
        images: see `ImageTable`.
        prompt: what is sought or shall be shown; it may be empty for generation.
        tokenizer: knows the words.
        generate: True generates although images are given.
        num_samples, seed: of generation, see `RequestTable`.
        latent_shape: of the noise.
        loader: reads a radiograph, see `ImageTable`.
        sampler, grounding: settings for the sidecar of what is generated, and of a map.
        output_dir, output_format, bundle, bundle_root, weights, overwrite: see `CaseTable`.

    Raises:
        UserError: a prompt that is refused, see `checked_prompt`, and what the tables say.
    """
    shared: dict[str, Any] = {"output_dir": output_dir, "output_format": output_format, "overwrite": overwrite}
    shared |= {"bundle": bundle, "bundle_root": bundle_root, "weights": weights}
    generates = generate or images == ""
    checked = checked_prompt(prompt, tokenizer, may_be_empty=generates)
    if generates:
        settings = {"prompt": checked, **dict(sampler or {})}
        noise = tuple(latent_shape)
        table = RequestTable({}, {}, None, num_samples, seed, noise, suffix=GENERATED, settings=settings, **shared)
        table.conditions = {}
        return table
    settings = {"prompt": checked, **dict(grounding or {})}
    return ImageTable(images, kinds=["image"], loader=loader, suffix=MAP, settings=settings, **shared)


class ReadRadiographd(Transform):
    """Read the radiograph of a path onto the network's grid; noise to generate from passes as it is.

    Args:
        size: of the grid.
        key: of the path.
    """

    def __init__(self, size: int = 128, key: str = "image") -> None:
        self.key, self.read = key, Compose([LoadRadiographd(key), ToRadiographGridd(key, size)])

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return dict(data) if isinstance(data[self.key], torch.Tensor) else self.read(dict(data))


class PromptInferer(Inferer):
    """A heat map of a prompt for each radiograph, or a radiograph for each noise, told apart by their shape.

    Args:
        prompt: see `checked_prompt`.
        grounding, sampler: what does the one and the other.
    """

    def __init__(self, prompt: str, grounding: GroundingInferer, sampler: TextToImageInferer) -> None:
        super().__init__()
        self.prompt, self.grounding, self.sampler = affirmed(prompt), grounding, sampler

    def __call__(self, inputs: torch.Tensor, network: TextToImage, *args: Any, **kwargs: Any) -> Any:
        """Radiographs (B, 1, S, S) -> {"pred", "mask"}; noise (B, C, h, w) -> radiographs (B, 1, S, S)."""
        prompts = [self.prompt] * len(inputs)
        if tuple(inputs.shape[1:]) == network.latent_shape:
            return self.sampler(inputs, network, prompts)
        return self.grounding(inputs, network, prompts)


class PlaceResult(Transform):
    """Bring a map and its mask onto the radiograph's own pixels and read the box; what was generated passes.

    The sample gets "boxes", [{"x", "y", "w", "h"}] in pixels of the radiograph, and "regions", the mask as one of the
    form of `HeatMapAreasd`, none where it is empty; and "words", those of the prompt whose attention the map shows.

    Args:
        prompt: of the run.
    """

    def __init__(self, prompt: str) -> None:
        found = affirmed(prompt).split()
        self.words = [word for word in found if any(part in word for part in ALL_SOUGHT)] or found
        self.spread, self.back = SpreadOutputsd("pred"), FromRadiographGridd(["pred", "mask"])

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        placed = self.spread(data)
        if "mask" not in placed:
            return placed
        placed = self.back(placed)
        placed["mask"] = (placed["mask"] >= 0.5).to(torch.uint8)
        box = box_of(placed["mask"][0].numpy())
        placed["boxes"] = [] if box is None else [dict(zip("xywh", box))]
        placed["regions"] = [] if box is None else [region_of(placed["pred"][0], placed["mask"][0], box)]
        placed["words"] = self.words
        return placed


def region_of(heat: torch.Tensor, mask: torch.Tensor, box: Sequence[int]) -> dict[str, Any]:
    """What a viewer lists of a mask (H, W) on its map: its share of the picture, the map's peak and mean, its box."""
    inside = heat[mask > 0]
    levels = {"peak": round(float(inside.max()), 4), "mean": round(float(inside.mean()), 4)}
    return {"label": 1, "area_share": round(float((mask > 0).float().mean()), 5), **levels, "box": list(box)}


class SavePrompted(SaveResult):
    """`SaveResult` of a map with its mask, or of a generated radiograph, as the table's main file says.

    Args:
        table: see `prompted_table`.
        kwargs: see `SaveResult`.
    """

    def __init__(self, table: CaseTable, **kwargs: Any) -> None:
        if table.suffix == GENERATED:
            super().__init__(table, {"pred": GENERATED}, description=f"A radiograph {OF_NO_PERSON}", **kwargs)
            return
        said = "Attention to a phrase in a radiograph, by a model of text to image. Research only."
        super().__init__(table, {"pred": MAP, "mask": MASK}, description=said, **kwargs)
