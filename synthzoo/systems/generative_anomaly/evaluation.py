"""Evaluation of the generative maps on the phantoms of all anomaly maps, and every shortcut that could do their work.

For codes: what the VQ-VAE alone loses, healing without likelihood, likelihood without healing, the paper's mask. For
diffusion: what inversion alone loses, the other residual, denoisers that saw no lesion, a single step; for
both networks that were never trained, and the residual of a mere Gaussian blur. Intensity and chance stand in every
table, see `AnomalyMapEvaluation`.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional as F

from synthzoo.evaluation.anomaly_maps import AnomalyMapEvaluation
from synthzoo.networks.first_weights import with_first_weights
from synthzoo.networks.weights import load_weights
from synthzoo.systems.generative_anomaly.denoiser import RESIDUAL
from synthzoo.systems.generative_anomaly.healing import LEAST_LOG, NATS, read_slices
from synthzoo.systems.generative_anomaly.slices import as_heat, axial_slices, per_z

BLUR, BLUR_VOXELS = "residual of a Gaussian blur", 2.0
CODED, HEALED, MASKED = "residual of the codes alone", "healing without likelihood", "healing, smoothed mask"
CHANGED = "healing of codes against codes"
INVERSION = "inversion without guidance"
PUBLISHED, DIFFERENCE = "guidance, published residual", "guidance, difference from inversion"
HEALTHY_ONLY = "reconstruction, healthy images only"
ONE_STEP = "one step of denoising"
UNTRAINED_CODES, UNTRAINED_STEP = "untrained networks, nothing healed", "untrained network, one step"
MASK_VOXELS = 5  # side of the mean that smooths the paper's mask


def blur_residual(volume: torch.Tensor) -> np.ndarray:
    """|x - blurred x| of z-scores (1, 1, D, H, W), within the brain, as heat (D, H, W)."""
    z = volume[0, 0].cpu().numpy()
    mask = (z != 0).astype(np.float32)
    weight = np.maximum(ndi.gaussian_filter(mask, BLUR_VOXELS), 1e-3)
    residual = np.abs(z - ndi.gaussian_filter(z, BLUR_VOXELS) / weight) * mask
    return residual / (residual + RESIDUAL)


def _array(volume: torch.Tensor) -> np.ndarray:
    return volume[0, 0].float().cpu().numpy()


class AutoregressiveMapEvaluation(AnomalyMapEvaluation):
    """Scores of healing and likelihood, of shortcuts and of baselines; arguments see `AnomalyMapEvaluation`."""

    SHIPPED, RAW, TITLE = "healing (shipped)", "healing, not calibrated", "healing"
    LIKELIHOOD, LIKELIHOOD_RAW = "likelihood", "likelihood, not calibrated"

    def __init__(self, network: torch.nn.Module, **shared: Any) -> None:
        super().__init__(network, **shared)
        self.untrained = with_first_weights(network)

    def network_maps(self, volume: torch.Tensor) -> dict[str, np.ndarray]:
        """Both methods, and every part of healing alone."""
        slices, found = self.inferer.read(volume, self.network, self.inferer.samples)
        heats = self.inferer.combined(found, self.network)
        scale = per_z(self.network.units)
        smooth = F.avg_pool2d(found.mask, MASK_VOXELS, 1, MASK_VOXELS // 2)
        maps = {
            self.RAW: heats["healing"],
            self.LIKELIHOOD_RAW: heats["likelihood"],
            MASKED: as_heat(found.healed * smooth * scale, RESIDUAL),
            HEALED: as_heat(found.healed * scale, RESIDUAL),
            CHANGED: as_heat(found.changed * scale * found.surprise, NATS),
            CODED: as_heat(found.coded * scale, RESIDUAL),
        }
        control = read_slices(self.untrained.codes, slices.images, LEAST_LOG, samples=0, mirrored=False)
        maps[UNTRAINED_CODES] = as_heat(control.coded * scale * control.surprise, NATS)
        return {**{name: _array(slices.volume(heat)) for name, heat in maps.items()}, BLUR: blur_residual(volume)}

    def raw_map(self, volume: torch.Tensor) -> np.ndarray:
        """The map of healing."""
        return _array(self.inferer.heats(volume, self.network)["healing"])

    def corrected(self) -> dict[str, tuple[str, int]]:
        """Both methods have a healthy reference map."""
        return {self.RAW: (self.SHIPPED, 0), self.LIKELIHOOD_RAW: (self.LIKELIHOOD, 1)}

    def drawn(self) -> list[str]:
        """Likelihood and the codes' own loss, too."""
        shipped, *others = super().drawn()
        return [shipped, self.LIKELIHOOD, CODED, *others]

    def endings(self) -> dict[str, str]:
        """The parts of healing, too."""
        parts = {self.LIKELIHOOD: "likelihood_ap", HEALED: "healed_ap", CODED: "coded_ap", BLUR: "blur_ap"}
        return {**super().endings(), **parts, UNTRAINED_CODES: "untrained_ap"}


class DiffusionMapEvaluation(AnomalyMapEvaluation):
    """Scores of guidance and reconstruction, of shortcuts and of baselines.

    Args:
        network: trained `DiffusionMap`.
        healthy_only: weights of a denoiser that saw no lesion, or None to do without it.
        shared: see `AnomalyMapEvaluation`; the inferer's `method` is the one that ships.
    """

    SHIPPED, RAW, TITLE = "guidance (shipped)", "guidance, not calibrated", "guidance"
    RECONSTRUCTION, RECONSTRUCTION_RAW = "reconstruction", "reconstruction, not calibrated"

    def __init__(
        self,
        network: torch.nn.Module,
        healthy_only: str | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(network, settings={"healthy_only": healthy_only is not None}, **shared)
        self.other = load_weights(copy.deepcopy(network), healthy_only, self.device) if healthy_only else None
        self.untrained = with_first_weights(network)

    @torch.no_grad()
    def network_maps(self, volume: torch.Tensor) -> dict[str, np.ndarray]:
        """Both methods, the inversion alone, the denoiser that saw no lesion, and single steps."""
        slices = axial_slices(volume, self.network.units)
        methods = self.inferer.METHODS
        found = self.inferer.residuals(slices.images, self.network, methods)
        own, other = ("published", "guidance") if self.inferer.published else ("guidance", "published")
        maps = {
            self.RAW: found[own],
            self.RECONSTRUCTION_RAW: found["reconstruction"],
            DIFFERENCE if other == "guidance" else PUBLISHED: found[other],
            INVERSION: found["inversion"],
        }
        if self.other is not None:
            maps[HEALTHY_ONLY] = self.inferer.residuals(slices.images, self.other, methods[1:])["reconstruction"]
        heats = {name: _array(slices.volume(as_heat(residual, RESIDUAL))) for name, residual in maps.items()}
        steps = {ONE_STEP: self.network, UNTRAINED_STEP: self.untrained}
        heats |= {name: _array(network(volume)) for name, network in steps.items()}
        return {**heats, BLUR: blur_residual(volume)}

    def raw_map(self, volume: torch.Tensor) -> np.ndarray:
        """The map of guidance."""
        slices = axial_slices(volume, self.network.units)
        found = self.inferer.residuals(slices.images, self.network, ("guidance",))
        name = "published" if self.inferer.published else "guidance"
        return _array(slices.volume(as_heat(found[name], RESIDUAL)))

    def corrected(self) -> dict[str, tuple[str, int]]:
        """Both methods have a healthy reference map."""
        return {self.RAW: (self.SHIPPED, 0), self.RECONSTRUCTION_RAW: (self.RECONSTRUCTION, 1)}

    def drawn(self) -> list[str]:
        """Reconstruction, too."""
        shipped, *others = super().drawn()
        return [shipped, self.RECONSTRUCTION, *others]

    def endings(self) -> dict[str, str]:
        """Reconstruction and the shortcuts, too."""
        parts = {self.RECONSTRUCTION: "reconstruction_ap", INVERSION: "inversion_ap", BLUR: "blur_ap"}
        parts |= {ONE_STEP: "one_step_ap", UNTRAINED_STEP: "untrained_ap"}
        parts |= {HEALTHY_ONLY: "healthy_only_ap"} if self.other is not None else {}
        return {**super().endings(), **parts}
