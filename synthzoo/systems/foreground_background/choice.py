"""Choice of layers, timesteps and growth of masks on validation images, before masks of the training set are made.

Each setting is judged by the pooled IoU of the masks that the inferer makes under it, with true masks of validation
images; neither training nor test images are looked at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.errors import UserError
from synthzoo.io.files import write_json
from synthzoo.networks.cross_attention import attention_layers
from synthzoo.systems.foreground_background.evaluation import ConceptEvaluation
from synthzoo.systems.foreground_background.inferer import ConceptInferer
from synthzoo.systems.foreground_background.scores import pooled
from synthzoo.systems.foreground_background.windows import mixture_masks, scaled, windows_of

SPLIT = "validation"
TIMES = (
    (1, 121, 241, 361, 481),
    (1, 31, 61, 91, 121),
    (1, 61, 121, 181, 241),
    (121, 211, 301, 391, 481),
    (1, 181, 361, 541, 721),
)
GROWTHS = (0, 1, 2)  # latents
CHOICES = ("attention", "removal")


class SettingsChoice:
    """Writes the best settings as a config that lies over the others, and prints what was tried.

    Args:
        evaluation: has network, inferer and validation images.
        save_to: the config; what it holds of the other choice stays.
        what: "attention" chooses layers and timesteps after the stage that learns text to image, "removal" how far a
            mask grows before the removal, after the stage that learns what a background is.
        most: concepts of validation images, the first ones.

    Raises:
        UserError: another choice; no validation image names and shows a concept.
    """

    def __init__(
        self, evaluation: ConceptEvaluation, save_to: str | Path, what: str = CHOICES[0], most: int = 60
    ) -> None:
        if what not in CHOICES:
            raise UserError(f"what = {what!r}: must be {' or '.join(CHOICES)}.")
        self.evaluation, self.save_to, self.what, self.most = evaluation, Path(save_to), what, int(most)
        self.heats: dict[tuple[str, int], np.ndarray] = {}  # of a block at a timestep
        self.tried: dict[tuple[tuple[str, ...], tuple[int, ...]], float] = {}  # IoU of blocks at timesteps

    def run(self) -> dict[str, Any]:
        """Choose, write and return the config."""
        if not self.evaluation.pairs(SPLIT):
            raise UserError(
                f"no validation image shows one of {', '.join(self.evaluation.concepts)}: give some that do."
            )
        known = json.loads(self.save_to.read_text(encoding="utf-8")) if self.save_to.is_file() else {}
        found = {**known, **(self.attention() if self.what == CHOICES[0] else self.removal())}
        write_json(self.save_to, found)
        print(f"wrote {self.save_to}: {json.dumps(found)}", flush=True)
        return found

    @cached_property
    def truth(self) -> np.ndarray:
        """True masks bool (P, S, S)."""
        return self.evaluation.truths(SPLIT)[: self.most]

    # --- layers and timesteps ----------------------------------------------------------------------------------------

    def attention(self) -> dict[str, Any]:
        """Blocks are added to the best one while that helps; then the timesteps are compared."""
        blocks = self.blocks
        chosen = max(([block] for block in blocks), key=lambda one: self.weak_iou(one, TIMES[0]))
        best = self.weak_iou(chosen, TIMES[0])
        while more := [[*chosen, block] for block in blocks if block not in chosen]:
            wider = max(more, key=lambda some: self.weak_iou(some, TIMES[0]))
            if self.weak_iou(wider, TIMES[0]) <= best:
                break
            chosen, best = wider, self.weak_iou(wider, TIMES[0])
        times = max(TIMES, key=lambda some: self.weak_iou(chosen, some))
        return {"layers": [block for block in blocks if block in chosen], "timesteps": list(times)}

    @cached_property
    def blocks(self) -> dict[str, int]:
        """Block of the denoiser -> its number of cross-attentions."""
        found: dict[str, int] = {}
        for name in attention_layers(self.evaluation.network.denoiser):
            first, second = name.split(".")[:2]
            block = f"{first}.{second}" if second.isdecimal() else first
            found[block] = found.get(block, 0) + 1
        return found

    def weak_iou(self, blocks: Sequence[str], times: Sequence[int]) -> float:
        """Pooled IoU of the weak masks of some blocks and timesteps."""
        key = (tuple(sorted(blocks)), tuple(times))
        if key not in self.tried:
            heat = sum(self.blocks[block] * self.heat(block, t) for block in blocks for t in times)
            maps = torch.from_numpy(np.asarray(heat, np.float32))[:, None]
            windows = windows_of(None, len(maps), maps.shape[-1])
            masks, _ = mixture_masks(scaled(maps, windows), windows)
            self.tried[key] = pooled(masks[:, 0].numpy() > 0, self.truth).iou
            print(f"{', '.join(key[0])}; t = {', '.join(map(str, times))}: IoU {self.tried[key]:.3f}", flush=True)
        return self.tried[key]

    def heat(self, block: str, t: int) -> np.ndarray:
        """Attention maps (P, S, S) of one block at one timestep, not scaled."""
        if (block, t) not in self.heats:
            own = self.evaluation.inferer
            inferer = ConceptInferer(own.concept, "weak", [f"{block}."], (t,), own.seed, amp=own.amp)
            self.heats[block, t] = self.evaluation.heats(SPLIT, inferer, self.most)
        return self.heats[block, t]

    # --- removal -----------------------------------------------------------------------------------------------------

    def removal(self) -> dict[str, Any]:
        """The growth whose refined masks are best."""
        scores: dict[int, float] = {}
        for growth in GROWTHS:
            inferer = copy(self.evaluation.inferer)
            inferer.dilate = growth
            made = self.evaluation.made(SPLIT, "refined", inferer, self.most)
            scores[growth] = pooled(made, self.truth).iou
            print(f"masks grown by {growth} latents before the removal: IoU of refined masks {scores[growth]:.3f}")
        return {"dilate": max(scores, key=scores.__getitem__)}
