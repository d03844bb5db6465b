"""A scan of any geometry on a finer grid: unit, split of the voxels, sampling window by window, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform
from torch.nn import functional as F

from synthzoo.diffusion.samplers import find_sampler
from synthzoo.diffusion.stitching import window_starts
from synthzoo.errors import UserError
from synthzoo.inferers.synthesis import own_stream
from synthzoo.networks.convolution import FastSingleVolumes, computes_in
from synthzoo.systems.monai_generative.superresolution_grid import (
    consistent,
    interpolated,
    merge_factors,
    split_affine,
    split_factors,
)
from synthzoo.systems.monai_generative.superresolution_network import Upscaler
from synthzoo.transforms.head_grid import sampled

METHODS = ("sample", "mean")
BRIGHT, TOP = 98.0, 0.8  # percentile of a scan's foreground, and where the network has it
TISSUE = 0.25  # of the brightest, from which on a voxel counts as tissue where noise is read
COMMON = 0.125  # share of a scan that one value has to fill to be its background
OVERLAP = 8  # voxels that neighbouring windows share
AT_ONCE = 4  # windows of a call
QUARTER = 0.3186  # below which lies a quarter of the sizes of standard normal numbers


class Unit(NamedTuple):
    """Of a scan's values: value = factor x image + offset; `background` is the value of what was stripped, or None."""

    factor: float
    offset: float
    background: float | None


def unit_of(scan: np.ndarray) -> Unit:
    """The unit of a scan (D, H, W) by its own values.

    Raises:
        UserError: the same value everywhere.
    """
    sample = sampled(scan)
    values, counts = np.unique(sample, return_counts=True)
    background = float(values[counts.argmax()]) if counts.max() > COMMON * sample.size else None
    offset = float(np.percentile(sample, 0.1))
    seen = sample[sample != background] if background is not None else sample[sample > sample.mean()]
    top = float(np.percentile(seen, BRIGHT)) - offset if seen.size else 0.0
    if top <= 0:
        raise UserError("the scan shows nothing brighter than its background: check its values.")
    return Unit(top / TOP, offset, background)


def noise_level(scan: np.ndarray, factors: Sequence[int], inside: np.ndarray) -> float:
    """Standard deviation of white noise of a scan (D, H, W), by second differences along the axes that are finest.

    After Immerkaer, "Fast noise variance estimation", CVIU 1996, but by the quietest quarter of the voxels, which lies
    within tissues. Along an axis that is split anatomy changes from voxel to voxel; where all are, differences along
    all three leave least of it, and what is left of fine anatomy counts as noise.
    """
    axes = [axis for axis, k in enumerate(factors) if k == 1] or [0, 1, 2]
    rough = scan.astype(np.float64)
    for axis in axes:
        rough = np.diff(rough, 2, axis=axis)
        inside = np.take(inside, range(1, inside.shape[axis] - 1), axis)
    values = np.abs(rough[inside])
    return float(np.quantile(values, 0.25) / QUARTER / 6 ** (len(axes) / 2)) if values.size else 0.0


class SuperResolutionInferer(Inferer):
    """Bring scans to a finer grid by the upscaler.

    Args:
        method: "sample" adds what diffusion samples to the mean detail; "mean" is the regression alone: nearer to the
            truth voxel by voxel, and smoother.
        steps: network calls of a sample.
        draws: samples whose mean is the result.
        noise: standard deviation of the scan's noise, where its bright tissue is 0.8; None reads it off the scan. Where
            it is more than the scan has, noise is added first, which leaves more to the network.
        spacing_mm: that the voxels are brought to, by a split into integers.
        trust: standard deviation of the network's own error of the mean over a voxel of the scan, which says how much
            of the difference to a noisy scan is made up for; None keeps none of it.
        seed: of all noise; with it the scan decides.
        autocast: None, "bfloat16" or "float16": lower precision inside regressor and denoiser, where the device has it.

    Raises:
        UserError: a setting out of range.
    """

    def __init__(
        self,
        method: str = "sample",
        steps: int = 10,
        draws: int = 1,
        noise: float | None = None,
        spacing_mm: float = 1.5,
        trust: float | None = 0.02,
        seed: int = 0,
        autocast: str | None = "bfloat16",
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise UserError(f"method = {method!r}: the known ones are {', '.join(METHODS)}.")
        for name, value in (("steps", steps), ("draws", draws)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"{name} = {value!r}: give an integer of at least 1.")
        if noise is not None and not 0 <= float(noise) <= 1:
            raise UserError(
                f"noise = {noise}: it lies between 0 and 1, where bright tissue is {TOP:g}; or leave it out."
            )
        self.method, self.steps, self.draws, self.seed = method, steps, draws, int(seed)
        self.noise = None if noise is None else float(noise)
        self.spacing_mm, self.trust = float(spacing_mm), trust
        self.autocast = autocast

    @torch.inference_mode()
    def __call__(
        self, inputs: torch.Tensor, network: Upscaler, voxel_mm: torch.Tensor | None = None, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Scans (B, 1, D, H, W) in any unit, voxel sizes (B, 3) in mm -> "pred" (B, 1, D', H', W'), and "upscaling".

        Without voxel sizes those of the affine count, as in a host that knows no `prepare_scan`; where scans have none,
        each voxel is split into two along each axis.
        """
        if voxel_mm is None and isinstance(inputs, MetaTensor):
            voxel_mm = voxel_sizes(inputs)
        scans = torch.as_tensor(inputs).as_subclass(torch.Tensor).float()
        if voxel_mm is None:
            voxel_mm = scans.new_full((len(scans), 3), 2 * self.spacing_mm)
        made, facts = [], []
        for scan, size in zip(scans, voxel_mm.expand(len(scans), -1)):
            image, known = self.one(scan[None], [float(mm) for mm in size], network)
            made.append(image)
            facts.append(known)
        return {"pred": torch.cat(made), "upscaling": {k: torch.tensor([f[k] for f in facts]) for k in facts[0]}}

    def one(
        self, scan: torch.Tensor, voxel_mm: Sequence[float], network: Upscaler
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """One scan (1, 1, D, H, W) on its finer grid, in its own unit, and {name: number} for the sidecar."""
        factors = split_factors(voxel_mm, self.spacing_mm)
        array = scan[0, 0].cpu().numpy()
        unit = unit_of(array)
        inside = array != unit.background if unit.background is not None else np.ones(array.shape, bool)
        image = (scan - unit.offset) / unit.factor
        shown = image[0, 0].cpu().numpy()
        found = noise_level(shown, factors, inside & (shown > TISSUE * TOP))  # the air around a head is quieter
        noise = found if self.noise is None else self.noise
        generator = own_stream(image[0], self.seed)
        source = image
        if noise > found:
            fresh = torch.randn(image.shape, generator=generator).to(image)
            source = image + (noise**2 - found**2) ** 0.5 * fresh
        out = self.finer(source, factors, merge_factors(voxel_mm, factors, self.spacing_mm), noise, network, generator)
        if self.trust is not None:
            out = consistent(out, image, factors, share_of(self.trust, found))
        out = out.clamp_min(float(image.min())) * unit.factor + unit.offset
        if unit.background is not None:
            seen = torch.from_numpy(inside).to(out)[None, None]
            out = torch.where(interpolated(seen, factors) > 0.01, out, unit.background)
        numbers = {f"split_{axis}": k for axis, k in zip("ijk", factors)}
        return out, {**numbers, "noise": noise, "noise_of_scan": found}

    def finer(
        self,
        scan: torch.Tensor,
        factors: Sequence[int],
        merged: Sequence[int],
        noise: float,
        network: Upscaler,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """The fine image of a scan in the network's unit: its interpolation, and what the network adds to it.

        Args:
            scan: (1, 1, D, H, W).
            factors: fine voxels along each axis of its voxels.
            merged: fine voxels along each axis that the network sees as one.
            noise: standard deviation of the scan's noise.
            network: see `superresolution_network`.
            generator: of the noise of diffusion.
        """
        low = interpolated(scan, factors)
        size = low.shape[2:]
        whole = [max(-(-n // (m * network.factor)) * network.factor, network.window) for n, m in zip(size, merged)]
        pad = [0, whole[2] * merged[2] - size[2], 0, whole[1] * merged[1] - size[1], 0, whole[0] * merged[0] - size[0]]
        seen = F.avg_pool3d(_padded(low, pad), tuple(merged))
        level = network.classes(seen.new_tensor([noise / float(np.prod(merged)) ** 0.5]))
        ratios = [k / m for k, m in zip(factors, merged)]
        draws = self.draws if self.method == "sample" else 0
        change = upscaled(network, seen, ratios, level, self.steps, draws, generator, self.autocast)
        return low + interpolated(change, merged)[..., : size[0], : size[1], : size[2]]


def _padded(image: torch.Tensor, pad: Sequence[int]) -> torch.Tensor:
    """An image whose last voxels are repeated, however often."""
    while any(pad):
        now = [
            min(n, size - 1) if size > 1 else n for n, size in zip(pad, (s for s in image.shape[:1:-1] for _ in "ab"))
        ]
        image = F.pad(image, now, mode="replicate")
        pad = [n - done for n, done in zip(pad, now)]
    return image


def upscaled(
    network: Upscaler,
    low: torch.Tensor,
    factors: Sequence[float],
    level: torch.Tensor,
    steps: int,
    draws: int,
    generator: torch.Generator | None = None,
    autocast: str | None = None,
) -> torch.Tensor:
    """What the network adds to an interpolated scan (1, 1, D, H, W), of that shape.

    Each call sees windows as training had them; predictions of windows that overlap fade into each other.

    Args:
        network: see `superresolution_network`.
        low: each axis a multiple of the network's factor, and no smaller than its window.
        factors: fine voxels along each axis of a voxel of the scan; below 1 counts as 1.
        level: class of the noise, (1,).
        steps: network calls of a sample.
        draws: samples whose mean is taken; 0 gives the regression alone.
        generator: of the noise.
        autocast: see `SuperResolutionInferer`.
    """
    windows = Windows(low, network)
    known = low.new_tensor([list(factors)]).clamp_min(1)
    beside = network.beside(low, known)

    def levels(x: torch.Tensor) -> torch.Tensor:
        return level.to(low.device).expand(len(x))

    kind = low.device.type
    precision = getattr(torch, autocast or "bfloat16")
    lower = autocast is not None and computes_in(precision, kind)
    with FastSingleVolumes():
        with torch.autocast(kind, precision, enabled=lower):
            mean = windows.blend(lambda b: network.regress(b, levels(b)), beside)
            rests = []
            for _ in range(draws):
                noise = torch.randn(mean.shape, generator=generator).to(low)

                def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
                    return windows.blend(
                        lambda z, m, b: network.denoise(z, t[:1].expand(len(z)), m, b, levels(z)), x, mean, beside
                    )

                rests.append(find_sampler("dpm_solver")(denoise, noise, network.schedule, steps))
        detail = mean + network.rest_scale * torch.stack(rests).mean(0) if rests else mean
        return windows.blend(network.change, low, detail)  # a difference of two decoded images: in full precision


def share_of(trust: float, noise: float) -> float:
    """Share of the difference to a noisy mean that is made up for: the Wiener filter of two errors, 1 without noise."""
    return 1.0 if noise <= 0 else trust**2 / (trust**2 + noise**2)


class Windows:
    """Overlapping cubes that cover what an interpolated scan (1, 1, D, H, W) shows; where it is flat there are none."""

    def __init__(self, low: torch.Tensor, network: Upscaler) -> None:
        self.shape, self.factor = tuple(low.shape[2:]), network.factor
        size, overlap = network.window, min(OVERLAP, network.window // 4 // network.factor * network.factor)
        starts = [window_starts(n // self.factor, size // self.factor, overlap // self.factor) for n in self.shape]
        places = [(a, b, c) for a in starts[0] for b in starts[1] for c in starts[2]]
        self.size = size
        self.places = [place for place in places if self._cut(low, place).std() > 1e-5] or places[:1]
        ramp = torch.minimum(torch.arange(1, size + 1), torch.arange(size, 0, -1)).clamp_max(overlap + 1).to(low)
        self.ramp = ramp[:, None, None] * ramp[:, None] * ramp

    def _cut(self, volume: torch.Tensor, place: Sequence[int]) -> torch.Tensor:
        scale = volume.shape[2] * self.factor // self.shape[0]  # voxels of an image along a voxel of a latent, or 1
        edge = self.size * scale // self.factor
        return volume[(..., *(slice(a * scale, a * scale + edge) for a in place))]

    def blend(self, call: Callable[..., torch.Tensor], *volumes: torch.Tensor) -> torch.Tensor:
        """The whole of what `call` gives for windows (N, ...) of volumes (1, ...); 0 where there are none."""
        total = weight = None
        for at in range(0, len(self.places), AT_ONCE):
            places = self.places[at : at + AT_ONCE]
            found = call(*(torch.cat([self._cut(volume, place) for place in places]) for volume in volumes)).float()
            scale = found.shape[-1] * self.factor // self.size
            ramp = (
                self.ramp if scale > 1 or self.factor == 1 else F.avg_pool3d(self.ramp[None, None], self.factor)[0, 0]
            )
            if total is None or weight is None:
                size = [n * scale // self.factor for n in self.shape]
                total, weight = found.new_zeros(1, found.shape[1], *size), found.new_zeros(1, 1, *size)
            for one, place in zip(found, places):
                self._cut(total, place).add_(one * ramp)
                self._cut(weight, place).add_(ramp)
        assert total is not None and weight is not None
        return total / weight.clamp_min(1e-6)


def prepare_scan(batch: dict, device: Any = None, non_blocking: bool = False, **kwargs: Any) -> tuple:
    """A batch -> (scans, no target, (), {"voxel_mm": (B, 3)}), for MONAI's evaluator."""
    scans = batch["image"]
    return scans.to(device, non_blocking=non_blocking), None, (), {"voxel_mm": voxel_sizes(scans)}


def voxel_sizes(scans: MetaTensor) -> torch.Tensor:
    """Voxel sizes in mm of a batch, (B, 3), or (1, 3) of the affine of all of them."""
    return torch.as_tensor(scans.affine, dtype=torch.float64).reshape(-1, 4, 4)[:, :3, :3].norm(dim=1)


class OnFinerGridd(MapTransform):
    """Give fine images (1, D, H, W) the affine that belongs to the scan whose voxels were split.

    Args:
        keys: of the fine images.
        reference_key: the scan, a MetaTensor (1, ...) on its own grid.
    """

    def __init__(self, keys: KeysCollection = "pred", reference_key: Hashable = "image") -> None:
        super().__init__(keys)
        self.reference_key = reference_key

    def __call__(self, data: Mapping) -> dict:
        data = dict(data)
        scan = data[self.reference_key]
        affine = np.asarray(scan.affine, np.float64).reshape(4, 4)
        for key in self.key_iterator(data):
            image = torch.as_tensor(data[key]).as_subclass(torch.Tensor).float().cpu()
            factors = [fine // own for fine, own in zip(image.shape[1:], scan.shape[1:])]
            data[key] = MetaTensor(image, affine=torch.from_numpy(split_affine(affine, factors)))
        return data
