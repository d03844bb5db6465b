"""Rows for the stages of training: captions, rectangles of background, and masks that nobody drew.

Weak and refined masks of a whole set are made once, in blocks that are stored as they are done, so that a run that was
killed goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.datasets.latents import LatentRadiographs
from synthzoo.errors import UserError
from synthzoo.io.files import write_array
from synthzoo.networks.saving import digest_of
from synthzoo.networks.word_tokens import words_of
from synthzoo.systems.foreground_background.inferer import ConceptInferer
from synthzoo.systems.foreground_background.network import ConceptNetwork
from synthzoo.systems.foreground_background.rectangles import draw_rectangle
from synthzoo.systems.foreground_background.removal import to_latents

BLOCK = 64  # images whose masks are stored together
LEAST_SHARE = 100 / 512**2  # of an image; a refined mask that is smaller counts as failed, as published


def named_concepts(caption: str, concepts: Sequence[str]) -> list[int]:
    """Numbers of the concepts that a caption names, by words that contain them ("dogs" names "dog")."""
    words = words_of(caption)
    return [n for n, concept in enumerate(concepts) if all(any(p in word for word in words) for p in concept.split())]


class CaptionedLatents(Dataset):
    """Rows {"latents": (C, h, w) normalised, "tokens": int64 (L,)} of the stage that learns text to image.

    Captions are drawn again whenever a row is read, by numpy's global generator, which `SeededLoader` seeds.

    Args:
        network: its autoencoder trained; has tokenizer, prompt and concepts.
        rows: with "image" and "caption".
        short: share of the captions that are the prompt of one of the concepts that they name.
        drop_word: probability with which each word of another caption is left out.
        empty: share of the prompts without a word, for classifier-free guidance.
    """

    def __init__(
        self,
        network: ConceptNetwork,
        rows: Dataset,
        short: float = 0.3,
        drop_word: float = 0.08,
        empty: float = 0.1,
    ) -> None:
        self.latents = LatentRadiographs(network, rows)
        self.tokenizer, self.concepts, self.prompt_of = network.tokenizer, network.concepts, network.prompt_of
        self.short, self.drop_word, self.empty = float(short), float(drop_word), float(empty)

    def __len__(self) -> int:
        return len(self.latents)

    def prompt(self, caption: str) -> str:
        """A prompt of a row with this caption."""
        empty, short = np.random.random(2)
        if empty < self.empty:
            return ""
        named = named_concepts(caption, self.concepts)
        if named and short < self.short:
            return self.prompt_of(self.concepts[named[np.random.randint(len(named))]])
        words = caption.split()
        kept = [word for word, chance in zip(words, np.random.random(len(words))) if chance >= self.drop_word]
        return " ".join(kept or words)

    def __getitem__(self, row: int) -> dict[str, Any]:
        found = self.latents[row]
        return {"latents": found["latents"], "tokens": self.tokenizer([self.prompt(found["caption"])])[0]}


class RemovalRows(CaptionedLatents):
    """Rows of the stage that learns what a background is: {"latents", "tokens", "loss_mask": float32 (1, h, w)}.

    Every other prompt is the row's caption and counts everywhere; the others are the background's and count in a
    rectangle of what the weak masks leave over.

    Args:
        network, rows, caption: see `CaptionedLatents`.
        inferer: makes the weak masks, of every concept that a caption names.
        cache_dir: folder for the masks; None takes that of the rows, and keeps nothing if they have none.
        caption: settings of `CaptionedLatents`.
    """

    def __init__(
        self,
        network: ConceptNetwork,
        rows: Dataset,
        inferer: ConceptInferer,
        cache_dir: str | Path | None = None,
        **caption: float,
    ) -> None:
        super().__init__(network, rows, **caption)
        masks = made_masks(network, rows, inferer, "weak", cache_dir)
        shape = (network.latent_shape[-2], network.latent_shape[-1])
        self.covered = to_latents(torch.from_numpy(masks.max(1, keepdims=True)).float(), shape)
        self.background = network.tokenizer([network.background])[0]

    def __getitem__(self, row: int) -> dict[str, Any]:
        if np.random.random() < 0.5:
            found = super().__getitem__(row)
            return {**found, "loss_mask": torch.ones_like(self.covered[row])}
        mask = draw_rectangle(self.covered[row, 0].numpy() == 0)
        latents = self.latents[row]["latents"]
        return {"latents": latents, "tokens": self.background, "loss_mask": torch.from_numpy(mask).float()[None]}


class SegmentationRows(Dataset):
    """Rows {"image": (bands, S, S), "mask": float32 (K, S, S)} of the last stage, moved and lit in ever other ways.

    Args:
        rows: with "image".
        masks: uint8 (N, K, S, S), 0 and 1.
        numbers: of the rows that are taken; None takes all.
        crop: smallest share of the side that a random square of the image keeps; it is enlarged again. 1 crops nothing.
        light: largest share by which levels are raised or lowered.
    """

    def __init__(
        self,
        rows: Dataset,
        masks: np.ndarray,
        numbers: Sequence[int] | None = None,
        crop: float = 0.75,
        light: float = 0.15,
    ) -> None:
        self.rows, self.masks = rows, masks
        self.numbers = list(range(len(rows)) if numbers is None else numbers)
        self.crop, self.light = float(crop), float(light)
        if not self.numbers:
            raise UserError("no mask is left to train the segmenter on: train the stages before it for longer.")

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        number = self.numbers[row]
        image, mask = self.rows[number]["image"], torch.from_numpy(self.masks[number]).float()
        both, bands = torch.cat([image, mask]), len(image)
        flip, share, down, across, gain = np.random.random(5)
        if flip < 0.5:
            both = both.flip(-1)
        size = both.shape[-1]
        side = round(size * (self.crop + (1 - self.crop) * share))
        top, left = round(down * (size - side)), round(across * (size - side))
        both = both[:, top : top + side, left : left + side]
        both = torch.nn.functional.interpolate(both[None], (size, size), mode="bilinear")[0]
        levels = both[:bands] * (1 + self.light * (2 * gain - 1))
        return {"image": levels.clamp(0, 1), "mask": (both[bands:] >= 0.5).float()}


def segmentation_rows(
    network: ConceptNetwork,
    rows: Dataset,
    inferer: ConceptInferer,
    masks: str = "refined",
    cache_dir: str | Path | None = None,
    crop: float = 0.75,
    light: float = 0.15,
) -> SegmentationRows:
    """Rows of the last stage with masks of a kind.

    Args:
        network: trained to remove objects.
        rows: with "image" and "caption"; with `mask(row)` for "true" masks.
        inferer: makes weak and refined masks.
        masks: "refined", as published, "weak", or "true" for the fully supervised baseline.
        cache_dir: see `RemovalRows`.
        crop, light: see `SegmentationRows`.

    Raises:
        UserError: an unknown kind; no mask is left.
    """
    if masks == "true":
        truth = np.stack([rows.mask(row).numpy().astype(np.uint8) for row in range(len(rows))])
        return SegmentationRows(rows, truth, None, crop, light)
    if masks not in ("refined", "weak"):
        raise UserError(f"masks = {masks!r}: must be refined, weak or true.")
    found = made_masks(network, rows, inferer, masks, cache_dir)
    named = [len(named_concepts(rows.truth(row)["caption"], network.concepts)) for row in range(len(rows))]
    shares = found.mean((2, 3))
    # An image counts if each concept that it names has a mask; one that names none is background throughout.
    good = [row for row, count in enumerate(named) if (shares[row] >= LEAST_SHARE).sum() == count]
    return SegmentationRows(rows, found, good, crop, light)


def made_masks(
    network: ConceptNetwork,
    rows: Dataset,
    inferer: ConceptInferer,
    kind: str,
    cache_dir: str | Path | None = None,
    numbers: Sequence[int] | None = None,
) -> np.ndarray:
    """Masks uint8 (N, K, S, S) of the concepts that each row's caption names; those of others are empty.

    Args:
        network: in evaluation mode, on its device.
        rows: with "image", and `truth(row)` for the caption.
        inferer: its settings; the stage is `kind`.
        kind: "weak" or "refined".
        cache_dir: see `RemovalRows`.
        numbers: of the rows; None takes all.
    """
    numbers = list(range(len(rows)) if numbers is None else numbers)
    folder = cache_dir or getattr(rows, "cache_dir", None)
    name = f"{kind}-{_digest(network, inferer, numbers)}"
    parts = [numbers[first : first + BLOCK] for first in range(0, len(numbers), BLOCK)]
    found = []
    for place, part in enumerate(tqdm(parts, desc=f"{kind} masks", mininterval=5.0)):
        path = Path(folder) / name / f"{place:05d}.npy" if folder else None
        if path is not None and path.is_file():
            found.append(np.load(path))
            continue
        found.append(_block(network, rows, inferer, kind, part))
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_array(path, found[-1])
    return np.concatenate(found)


def _block(
    network: ConceptNetwork, rows: Dataset, inferer: ConceptInferer, kind: str, numbers: Sequence[int]
) -> np.ndarray:
    network.eval()
    device = next(network.parameters()).device
    images = torch.stack([rows[number]["image"] for number in numbers])
    found = np.zeros((len(numbers), len(network.concepts), *images.shape[-2:]), np.uint8)
    named = [named_concepts(rows.truth(number)["caption"], network.concepts) for number in numbers]
    before, inferer.stage = inferer.stage, kind
    try:
        for channel, concept in enumerate(network.concepts):
            own = [place for place, channels in enumerate(named) if channel in channels]
            for first in range(0, len(own), inferer.chunk):
                part = own[first : first + inferer.chunk]
                with torch.inference_mode():
                    masks = inferer.segment(images[part].to(device), network, None, concept)["mask"]
                found[part, channel] = masks[:, 0].numpy().astype(np.uint8)
    finally:
        inferer.stage = before
    return found


def _digest(network: ConceptNetwork, inferer: ConceptInferer, numbers: Sequence[int]) -> str:
    """Name of masks that changes with weights and settings that decide them."""
    parts: Mapping[str, Any] = {name: value for name, value in vars(inferer).items() if not name.startswith("_")}
    kept = {name: value for name, value in parts.items() if isinstance(value, (str, int, float, tuple, type(None)))}
    for name in ("concept", "stage", "chunk", "threshold"):
        kept.pop(name, None)
    weights = [digest_of(part) for part in (network.autoencoder, network.denoiser, network.text)]
    text = json.dumps([weights, kept, network.concepts, network.prompt, list(numbers)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
