"""What could do the work of the transformer alone: baselines that answer a request from the training codes.

nearest       the code grid of the training image whose conditions are nearest
independent   each code by itself, from the codes that stood there in the training images of the nearest conditions
"""

from __future__ import annotations

from typing import Any

import torch

from synthzoo.inferers.tokens import uniform_of

KINDS = ("nearest", "independent")


class CodeLookup:
    """Inferer that has no model but the training codes.

    Args:
        tokens: sequences of the training set, (N, T).
        conditions: theirs in user units, (N, K).
        kind: one of `KINDS`.
        neighbours: training images from which "independent" takes its codes.
    """

    sampler_name = "lookup"

    def __init__(self, tokens: torch.Tensor, conditions: torch.Tensor, kind: str, neighbours: int = 24) -> None:
        self._tokens, self._conditions = tokens.long(), conditions
        self.kind, self.neighbours = kind, 1 if kind == "nearest" else min(int(neighbours), len(tokens))
        self.size = len(tokens)

    @torch.inference_mode()
    def __call__(self, inputs: torch.Tensor, network: Any, conditions: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Noise (B, 1, *grid), conditions (B, K) in user units -> image (B, 1, D, H, W) in [0, 1]."""
        normalise = network.conditions
        known = normalise(self._conditions.to(conditions))
        near = torch.cdist(normalise(conditions), known).topk(self.neighbours, largest=False).indices
        which = (uniform_of(network.sequence(inputs[:, 0])) * self.neighbours).long()
        rows = near.gather(1, which).to(self._tokens.device)
        sequence = self._tokens.gather(0, rows).to(inputs.device)
        return network.decode(network.grid(sequence)).float().clamp(0, 1)
