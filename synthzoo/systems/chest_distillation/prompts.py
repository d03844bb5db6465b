"""Prompts for training: what a report says is there, in ever other words, so that a word alone has a meaning, too.

Only findings that are present are named: what a report denies is left out, see `words.affirmed`. A share of the prompts
is the report's own text, and a share is empty, for classifier-free guidance (Ho, Salimans, arXiv 2207.12598).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from synthzoo.datasets.chest.phantoms import ChestPhantomDataset
from synthzoo.datasets.chest.sources import training_radiographs
from synthzoo.datasets.latents import LatentRadiographs
from synthzoo.networks.latent_images import LatentImages
from synthzoo.networks.word_tokens import WordTokenizer, words_of
from synthzoo.systems.chest_distillation.words import affirmed

PLACES = ("left", "right", "upper", "mid", "lower", "apical", "apex", "base")
AROUND = ("in", "on", "at", "the", "zone", "lung", "over", "projecting", "sided")  # what a place leaves behind


class Prompts:
    """Draws a prompt from what a row says, by numpy's global generator, which `SeededLoader` seeds for every draw.

    Args:
        no_place: probability with which a phrase loses the words that say where.
        drop_word: probability with which each further word is left out.
        report: share of the prompts that are the report's text; where no finding is named it always is.
        empty: share of the prompts without a word.
    """

    def __init__(self, no_place: float = 0.5, drop_word: float = 0.1, report: float = 0.15, empty: float = 0.1) -> None:
        self.no_place, self.drop_word, self.report, self.empty = no_place, drop_word, report, empty

    def __call__(self, phrases: Sequence[str], report: str) -> str:
        """A prompt from grounding phrases, of which those that are absent are empty, and the report."""
        empty, whole = np.random.random(2)
        named = [phrase for phrase in phrases if phrase]
        if empty < self.empty:
            return ""
        if whole < self.report or not named:
            return affirmed(report)
        chosen = [named[number] for number in np.random.permutation(len(named))]
        return " and ".join(self.shorten(phrase) for phrase in chosen)

    def shorten(self, phrase: str) -> str:
        """A phrase with words left out; at least one stays."""
        words = words_of(phrase)
        if np.random.random() < self.no_place:
            words = [word for word in words if word not in (*PLACES, *AROUND)] or words
        kept = [word for word, chance in zip(words, np.random.random(len(words))) if chance >= self.drop_word]
        return " ".join(kept or words)


class PromptedLatents(Dataset):
    """Rows {"latents": (C, h, w) normalised, "tokens": int64 (L,)}, with another prompt whenever a row is read.

    Args:
        rows: with "latents", "report" and, where there are any, "phrases".
        tokenizer: prompts -> tokens.
        prompts: draws the prompt of a row.
        numbers: of the rows that are taken, some more than once; None takes each once.
    """

    def __init__(
        self, rows: Dataset, tokenizer: WordTokenizer, prompts: Prompts, numbers: Sequence[int] | None = None
    ) -> None:
        self.rows, self.tokenizer, self.prompts = rows, tokenizer, prompts
        self.numbers = list(range(len(rows)) if numbers is None else numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, row: int) -> dict[str, Any]:
        found = self.rows[self.numbers[row]]
        prompt = self.prompts(found.get("phrases", ()), found["report"])
        return {"latents": found["latents"], "tokens": self.tokenizer([prompt])[0]}


def prompted_latents(
    network: LatentImages,
    data_format: str = "phantom",
    dataset_dir: str = "",
    split: str = "train",
    size: int = 128,
    copies: int = 1,
    phantom: Mapping[str, Any] | None = None,
    prompts: Mapping[str, float] | None = None,
    repeats: Mapping[str, int] | None = None,
    train_size: int | None = None,
    **reader: Any,
) -> PromptedLatents:
    """Latents and prompts of the radiographs that `training_radiographs` reads.

    Args:
        network: its autoencoder trained; has the `tokenizer`.
        data_format, dataset_dir, split, size, phantom, reader: see `training_radiographs`; phantoms are exposed once.
        copies: exposures of each phantom.
        prompts: settings of `Prompts`.
        repeats: finding -> how often its phantoms are seen in an epoch, the most of its findings, those of others
            once; None sees all once.
        train_size: so many of the phantoms' rows, the first ones; None takes all.
    """
    if data_format == "phantom":
        phantom = {"exposures": "fixed", "copies": copies, **dict(phantom or {})}
    rows = training_radiographs(data_format, dataset_dir, split, size, phantom=phantom, **reader)
    numbers: list[int] | None = None
    if data_format == "phantom" and train_size is not None:
        numbers = list(range(min(train_size, len(rows))))
    if repeats and data_format == "phantom":
        known = range(len(rows)) if numbers is None else numbers
        kinds = [[found["kind"] for found in rows.record(row)["findings"]] for row in known]
        times = [max((int(repeats.get(kind, 1)) for kind in own), default=1) for own in kinds]
        numbers = [row for row, count in enumerate(times) for _ in range(count)]
    latents = LatentRadiographs(network, rows)
    return PromptedLatents(latents, network.tokenizer, Prompts(**dict(prompts or {})), numbers)


def findings_of(rows: ChestPhantomDataset) -> list[dict[str, Any]]:
    """Every finding of a set of phantoms as {"row", "kind", "phrase", "box", "side", "zone"}, in order."""
    keys = ("kind", "phrase", "box", "side", "zone")
    return [
        {"row": row, **{k: found[k] for k in keys}}
        for row in range(len(rows))
        for found in rows.record(row)["findings"]
    ]
