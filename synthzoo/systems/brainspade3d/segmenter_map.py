"""The segmenter as an anomaly map, on the phantoms of all such maps: what full supervision by voxels reaches there."""

from __future__ import annotations

import numpy as np
import torch

from synthzoo.evaluation.anomaly_maps import INTENSITY, AnomalyMapEvaluation
from synthzoo.phantoms.brain.pathology.scans import TISSUES
from synthzoo.systems.brainspade3d.segmenter import scan_channels


class SegmenterMapEvaluation(AnomalyMapEvaluation):
    """Scores of the probability of any lesion part; arguments see `AnomalyMapEvaluation`.

    The probability is shown as it is: it has no healthy reference map, so there is none without it either.
    """

    SHIPPED = RAW = "probability of all lesion parts (shipped)"
    TITLE = "the segmenter"

    def network_maps(self, volume: torch.Tensor) -> dict[str, np.ndarray]:
        """The sum of the probabilities of all parts of lesions."""
        z = volume[0, 0].cpu().numpy()
        channels = torch.from_numpy(scan_channels(z, z != 0)).to(volume.device)
        return {self.RAW: self.network.read(channels)[len(TISSUES) :].sum(0).float().cpu().numpy()}

    def corrected(self) -> dict[str, tuple[str, int]]:
        """None: the map is shown as it is."""
        return {}

    def endings(self) -> dict[str, str]:
        """Intensity alone."""
        return dict(INTENSITY)
