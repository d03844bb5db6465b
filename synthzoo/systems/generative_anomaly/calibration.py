"""Calibration of the likelihood map: the limit below which codes are healed, then the healthy reference maps."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F
from tqdm import tqdm

from synthzoo.evaluation.map_calibration import AnomalyCalibration
from synthzoo.systems.generative_anomaly.slices import axial_slices


class TokenCalibration(AnomalyCalibration):
    """Sets the network's `limit` to a quantile of healthy codes, then what `AnomalyCalibration` sets.

    A quantile of each image for itself, as in the tutorial of MONAI Generative, would heal as much of a healthy brain
    as of a sick one.

    Args:
        share: of the codes with brain in healthy phantoms that lie below the limit.
        kwargs: see `AnomalyCalibration`.
    """

    def __init__(self, *args: Any, share: float = 0.02, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.share = float(share)

    def run(self) -> dict[str, float]:
        """Fill the buffers and save the network; gives the `threshold`."""
        volumes = (volume for seed in self.seeds for volume, _ in self.healthy(seed))
        likely = [brain_codes(volume, self.network) for volume in tqdm(volumes, desc="healthy codes")]
        self.network.limit.fill_(float(torch.cat(likely).quantile(self.share)))
        return super().run()


@torch.no_grad()
def brain_codes(volume: torch.Tensor, network: Any) -> torch.Tensor:
    """Log-likelihoods (M,) of the codes of a volume of z-scores (1, 1, *grid) whose places hold brain, in nats."""
    slices = axial_slices(volume, network.units)
    likely = torch.cat([network.codes.log_likelihood(network.codes.tokenise(x)) for x in slices.images.split(16)])
    holds = F.adaptive_max_pool2d(slices.masks.float(), network.codes.token_shape)[:, 0] > 0
    return likely[network.codes.sequence(holds)]
