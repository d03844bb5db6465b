"""What the latent diffusion prior does with a scan: fill, denoise, reconstruct, edit, and go from one to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer

from synthzoo.errors import UserError
from synthzoo.inferers.synthesis import own_stream
from synthzoo.instruments.brain.volumes import measure_brains
from synthzoo.metrics.fidelity import psnr
from synthzoo.networks.convolution import FastSingleVolumes
from synthzoo.systems.brain_ldm.editing import Editor, interpolated
from synthzoo.systems.brain_ldm.restoration import (
    denoised,
    estimated_noise,
    keep_samples,
    keep_voxels,
    restore,
    sampling_mask,
    zero_filled,
)

MOST_NOISE = 1.0
NAMES = ("age", "sex", "ventricle_ml", "brain_ml")  # of the prior's conditions
MEASURED = ("ventricle_ml", "brain_ml")  # of these what can be measured in a scan
CLOSE_ML = 1.0  # what is missed by less counts as reached: the instrument errs by more
SLOPES = (0.3, 2.0)  # bounds of what an mL that is requested changes


def prepare_scan(batch: dict, device: Any = None, non_blocking: bool = False, **kwargs: Any) -> tuple:
    """A batch -> (images, no target, (), {"unknown", "other": tensors, where it has them}), for MONAI's evaluator."""
    given = {name: batch[name] for name in ("unknown", "other") if name in batch}
    moved = {name: value.to(device, non_blocking=non_blocking) for name, value in given.items()}
    return batch["image"].to(device, non_blocking=non_blocking), None, (), moved


class ScanInferer(Inferer):
    """Shared part of the tasks: images (B, 1, D, H, W) in [0, 1] go through one by one, each with noise of its own.

    A subclass has `one`, which gets an image (1, 1, D, H, W), the network and what `prepare_scan` gives, and returns
    the result of the same shape and {name: number} for the sidecar.

    Args:
        seed: of all noise; with it the image decides the noise, so that a scan has one result in whatever batch it is.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = int(seed)

    @torch.inference_mode()
    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **given: torch.Tensor) -> dict[str, Any]:
        """Images (B, 1, D, H, W) -> "pred" of that shape, and "measured", name -> (B,)."""
        inputs = torch.as_tensor(inputs).as_subclass(torch.Tensor).float()
        made, measured = [], []
        with FastSingleVolumes():
            for row in range(len(inputs)):
                own = {name: value[row : row + 1].float() for name, value in given.items() if value is not None}
                result, facts = self.one(inputs[row : row + 1], network, **own)
                made.append(result.clamp(0, 1))
                measured.append(facts)
        names = measured[0] if measured else {}
        return {"pred": torch.cat(made), "measured": {n: torch.tensor([one[n] for one in measured]) for n in names}}

    def one(self, image: torch.Tensor, network: Any, **given: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """The result of one image, and {name: number} for the sidecar."""
        raise NotImplementedError


class RestorationInferer(ScanInferer):
    """Samples images that agree with what was measured, and takes their mean; see `restore`.

    Args:
        steps: network calls for each draw.
        draws: whose mean is the result: the mean is nearer to the truth than any draw, and smoother.
        eta: share of fresh noise, 0.85 as DDNM has it.
        seed: see `ScanInferer`.

    Raises:
        UserError: steps or draws below 1, an eta outside [0, 1].
    """

    def __init__(self, steps: int = 10, draws: int = 4, eta: float = 0.85, seed: int = 0) -> None:
        super().__init__(seed)
        self.steps, self.draws = _at_least_one("steps", steps), _at_least_one("draws", draws)
        if not 0 <= float(eta) <= 1:
            raise UserError(f"eta = {eta!r}: it lies between 0 and 1.")
        self.eta = float(eta)

    def mean(self, image: torch.Tensor, network: Any, correct: Callable) -> tuple[torch.Tensor, dict[str, float]]:
        """The mean of the draws, and how far they lie apart where it says most, root mean square."""
        generator = own_stream(image[0], self.seed)
        draws = []
        for _ in range(self.draws):
            noise = torch.randn(1, *network.latent_shape, generator=generator).to(image)
            draws.append(restore(network, noise, correct, self.steps, self.eta, generator))
        every = torch.cat(draws)
        spread = every.std(0, correction=0)[(every.mean(0) > 0)] if self.draws > 1 else torch.zeros(1)
        return every.mean(0, keepdim=True), {"draws_apart": _root_mean_square(spread)}


class InpaintInferer(RestorationInferer):
    """Fills what is unknown; every other voxel stays."""

    def one(self, image: torch.Tensor, network: Any, **given: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """Image and "unknown" (1, 1, D, H, W), 1 where it shall be filled -> filled image."""
        known = torch.where(given["unknown"] > 0.5, torch.zeros_like(image), image)
        return self.mean(known, network, keep_voxels(known, given["unknown"]))


class ReconstructInferer(RestorationInferer):
    """Samples the k-space of a scan sparsely, and reconstructs the scan from these samples.

    Args:
        acceleration: one of so many phase encodings is sampled, see `sampling_mask`.
        shared: see `RestorationInferer`.
    """

    def __init__(self, acceleration: float = 8.0, **shared: Any) -> None:
        super().__init__(**shared)
        self.acceleration = float(acceleration)
        sampling_mask((8, 8), self.acceleration)

    def one(self, image: torch.Tensor, network: Any, **given: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """Image (1, 1, D, H, W) -> its reconstruction; of its k-space nothing else is read."""
        sampled = sampling_mask(tuple(image.shape[3:]), self.acceleration, self.seed).to(image.device)
        filled = zero_filled(image, sampled)
        result, facts = self.mean(filled, network, keep_samples(filled, sampled))
        brain = image > 0
        facts |= {f"{name}psnr_db": psnr(one, image, brain) for name, one in (("", result), ("zero_filled_", filled))}
        return result, {**facts, "sampled_share": float(sampled.float().mean())}


class DenoiseInferer(ScanInferer):
    """Takes white noise out of a scan by one call of the denoiser; see `denoised`.

    Args:
        noise: its standard deviation, the brightest tissue being about 0.85; None reads it off the scan.
        detail: see `denoised`.
        seed: see `ScanInferer`.

    Raises:
        UserError: a noise outside (0, 1], a detail below 0.
    """

    def __init__(self, noise: float | None = None, detail: float = 0.05, seed: int = 0) -> None:
        super().__init__(seed)
        if noise is not None and not 0 < float(noise) <= MOST_NOISE:
            raise UserError(f"noise = {noise!r}: it lies above 0 and up to {MOST_NOISE:g}, or is null.")
        if float(detail) < 0:
            raise UserError(f"detail = {detail!r}: it is at least 0.")
        self.noise, self.detail = None if noise is None else float(noise), float(detail)

    def one(self, image: torch.Tensor, network: Any, **given: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """Noisy image (1, 1, D, H, W) -> without its noise."""
        noise = estimated_noise(image[0, 0].cpu()) if self.noise is None else self.noise
        return denoised(network, image, noise, self.detail, own_stream(image[0], self.seed)), {"noise": noise}


class InterpolateInferer(ScanInferer):
    """Goes from a scan to another one through the noise of both; see `interpolated`.

    Args:
        share: of the way, 0 to 1.
        steps: timesteps of each way.

    Raises:
        UserError: a share outside [0, 1], steps below 2.
    """

    def __init__(self, share: float = 0.5, steps: int = 20) -> None:
        super().__init__()
        if not 0 <= float(share) <= 1:
            raise UserError(f"share = {share!r}: of the way from one scan to the other, it lies between 0 and 1.")
        self.share, self.steps = float(share), _of_ways(steps)

    def one(self, image: torch.Tensor, network: Any, **given: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """Image and "other" (1, 1, D, H, W) -> one between them."""
        result = interpolated(network, image, given["other"], self.share, self.steps)
        ends = {"first": image, "result": result, "other": given["other"]}
        found = measured_ml(torch.cat(list(ends.values())), network.spacing_mm)
        return result, {f"{end}_{name}": float(found[name][n]) for n, end in enumerate(ends) for name in MEASURED}


class EditInferer(ScanInferer):
    """Changes the volume of a scan's ventricles by millilitres, and keeps the rest; see `Editor`.

    The prior follows a request by part of the way, so that the request is corrected by what the instrument measures, by
    the secant of what was requested and reached. The brain's volume is requested as it was measured.

    Args:
        ventricle_change_ml: added to what the instrument measures in the scan.
        steps: timesteps of each way.
        rounds: ways down at most.
        keep: share of the largest change below which a change counts as none.

    Raises:
        UserError: steps below 2, rounds below 1.
    """

    def __init__(self, ventricle_change_ml: float = 30.0, steps: int = 20, rounds: int = 3, keep: float = 0.05) -> None:
        super().__init__()
        self.ventricle_change_ml, self.keep = float(ventricle_change_ml), float(keep)
        self.steps, self.rounds = _of_ways(steps), _at_least_one("rounds", rounds)

    def one(self, image: torch.Tensor, network: Any, **given: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """Image (1, 1, D, H, W) -> edited image.

        Raises:
            UserError: what is requested lies outside of what the prior knows.
        """
        before = {name: float(value[0]) for name, value in measured_ml(image, network.spacing_mm).items()}
        own, change = before["ventricle_ml"], self.ventricle_change_ml
        bounds = network.conditions.low, network.conditions.high
        low, high = (float(one[NAMES.index("ventricle_ml")]) for one in bounds)
        if not low <= own + change <= high:
            raise UserError(
                f"ventricle_change_ml = {change:g}: the scan has {own:.0f} mL, and the prior knows {low:g} to "
                f"{high:g}: change it by {low - own:.0f} to {high - own:.0f}."
            )

        def conditions(ventricle_ml: float) -> torch.Tensor:
            values = {**before, "ventricle_ml": ventricle_ml}
            found = torch.tensor([[values.get(name, float("nan")) for name in NAMES]], device=image.device)
            return torch.clamp(found, *bounds)

        editor = Editor(network, image, conditions(own), self.steps, self.keep)
        requested, best, missed = own + change, image, abs(change)
        asked, reached = own, own  # of the round before
        for _ in range(self.rounds):
            result = editor.edited(conditions(requested))
            after = float(measured_ml(result, network.spacing_mm)["ventricle_ml"][0])
            off = own + change - after
            if abs(off) < missed:
                best, missed = result, abs(off)
            if missed < CLOSE_ML or requested == asked:
                break
            slope = np.clip((after - reached) / (requested - asked), *SLOPES)
            asked, reached, requested = requested, after, float(np.clip(requested + off / slope, low, high))
        facts = {f"{name}_before": value for name, value in before.items()}
        reached_ml = measured_ml(best, network.spacing_mm)
        return best, facts | {f"{name}_after": float(value[0]) for name, value in reached_ml.items()}


def measured_ml(images: torch.Tensor, spacing_mm: float) -> dict[str, np.ndarray]:
    """ventricle_ml and brain_ml, (B,) each, of images (B, 1, D, H, W) on the prior's grid."""
    found = measure_brains(images[:, 0].float().cpu().numpy(), spacing_mm)
    return {name: found[name] for name in MEASURED}


def _at_least_one(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{name} = {value!r}: give an integer of at least 1.")
    return value


def _of_ways(steps: int) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 2:
        raise UserError(f"steps = {steps!r}: a way has an integer of at least 2 timesteps.")
    return steps


def _root_mean_square(values: torch.Tensor) -> float:
    return float(values.pow(2).mean().sqrt())
