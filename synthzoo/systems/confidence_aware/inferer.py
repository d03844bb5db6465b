"""Mean and confidence of stochastic passes over an image."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer


class ConfidenceMapInferer(Inferer):
    """Score an image in several stochastic passes.

    The map is the mean of the passes, the confidence 1 - 2 std of them: 1 where all agree, 0 where half say 0 and half
    say 1. It says how far the passes agree, not how often the map is right; the card has its calibration error.

    Args:
        passes: stochastic passes, 16 as a rule; a deterministic network takes one.
        seed: of the passes.

    Called with images (B, 1, H, W) in [0, 1], equalised, and the network; returns "pred" and "confidence" (B, 1, H, W)
    in [0, 1] and "score" (B,), the mean of the map over the image.
    """

    def __init__(self, passes: int = 16, seed: int = 0) -> None:
        self.passes, self.seed = int(passes), int(seed)

    def __call__(self, inputs: torch.Tensor, network: torch.nn.Module, *args: Any, **kwargs: Any) -> dict[str, Any]:
        images = torch.as_tensor(inputs).as_subclass(torch.Tensor).float()
        # One image a call: dropout of a batch would make an image's map depend on its neighbours.
        scores = torch.cat([network.sample(image[None], self.passes, self.seed) for image in images], 1)
        mean, deviation = scores.mean(0), scores.std(0, unbiased=False)
        return {"pred": mean, "confidence": 1 - 2 * deviation, "score": mean.flatten(1).mean(1)}
