"""Counterfactual videos: abduction by the video itself, action by the ejection fraction (EF) requested, prediction."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer


class CounterfactualInferer(Inferer):
    """The video of the same patient with another EF.

    Called with clips (B, 1, T, H, W) in [0, 1], the network, and optionally the clips' EF in percent (B,), NaN where it
    is not known; returns a mapping, see `synthzoo.inferers.outputs.SpreadOutputsd`:

        pred        (B, 1, T, H, W), the counterfactual
        factual     (B, 1, T, H, W), the reconstruction
        ef_factual  (B,), the EF in percent that was taken for factual
        ef_expert   (B,), the EF in percent that the expert reads off the counterfactual

    Args:
        ef: requested, percent.
        ef_factual: EF of clips that come without; None lets the network's expert read it.
        noise: draw the noise that both worlds share: other videos of the same patient; False leaves it out.
        seed: of the noise.
    """

    def __init__(self, ef: float = 30.0, ef_factual: float | None = None, noise: bool = False, seed: int = 0) -> None:
        self.ef, self.ef_factual, self.noise, self.seed = float(ef), ef_factual, bool(noise), int(seed)

    def __call__(
        self, inputs: torch.Tensor, network: torch.nn.Module, *args: Any, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        clips = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        with torch.no_grad():
            known = args[0] if args else torch.full((len(clips),), self._known())
            known = torch.as_tensor(known).as_subclass(torch.Tensor).to(clips).reshape(-1)
            factual = torch.where(known.isnan(), network.read_ef(clips), known)
            requested = torch.full_like(factual, self.ef)
            reconstruction, counterfactual = self.predict(clips, factual, requested, network)
            read = network.read_ef(counterfactual)
        return {"pred": counterfactual, "factual": reconstruction, "ef_factual": factual, "ef_expert": read}

    def predict(
        self, clips: torch.Tensor, factual: torch.Tensor, requested: torch.Tensor, network: torch.nn.Module
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Reconstruction and counterfactual of clips with EFs in percent (B,); equal seeds draw equal noise."""
        noise = None
        if self.noise:
            noise = network.generator.draw_noise(clips, torch.Generator().manual_seed(self.seed))
        return network.predict(clips, factual, requested, noise)

    def _known(self) -> float:
        return float("nan") if self.ef_factual is None else float(self.ef_factual)
