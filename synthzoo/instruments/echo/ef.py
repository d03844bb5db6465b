"""Ejection fraction of a video of the heart by two instruments that share nothing, each with its own stated errors.

`regressor` is a network that reads EF from the video, run forwards and backwards. `discs` finds the left ventricle's
cavity in every frame by a network that sees one frame alone, and cuts it into discs (`echo_discs`): EF = 1 - ESV / EDV.
Both are trained on echo phantoms of TRAIN patients, set right on VAL patients, and their errors on TEST patients are in
`weights/echo_instruments.json`: print them beside every figure. A generator whose R2 is above the instrument's own is
suspect. Neither may be used in a loss.
"""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.instruments.echo.discs import disc_volumes
from synthzoo.instruments.echo.networks import REMEDY, WEIGHTS, load_network, to_grid

FINE = 128  # pixels of the grid on which the cavity is drawn: edges lie between the network's pixels
SPIKE = 0.4  # share of the largest volume by which one frame may leave the middle of its neighbours
LEAST_CONTRAST = 0.01  # standard deviation over a frame; one that is more even shows nothing
LEAST_AREA = 0.002  # share of the frame; a cavity that is smaller was not found
SHORTEST = 5  # frames


@lru_cache(maxsize=1)
def instrument_errors() -> dict:
    """Held-out errors of both instruments by size of video and kind, as `scripts/train_echo_instruments.py` wrote them.

    `instrument_errors()["errors"]["64"]["sharp"]["discs"]` has r2, mae, bias, slope and more, in shares of 1.
    """
    path = WEIGHTS / "echo_instruments.json"
    if not path.is_file():
        raise UserError(f"{path}: does not exist; {REMEDY}")
    return json.loads(path.read_text(encoding="utf-8"))


def as_videos(videos: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Videos as float32 (N, 1, T, H, W) on the CPU, of (N, 1, T, H, W), (N, T, H, W) or one (T, H, W) in [0, 1].

    Raises:
        UserError: another shape, fewer than 5 frames, values outside [0, 1] or not finite.
    """
    videos = torch.as_tensor(videos).detach().cpu().float()
    shape = tuple(videos.shape)
    videos = videos[None] if videos.ndim == 3 else videos
    videos = videos[:, None] if videos.ndim == 4 else videos
    if videos.ndim != 5 or videos.shape[1] != 1 or not len(videos):
        raise UserError(f"videos: have shape {shape}; an echo instrument takes grey videos (N, 1, T, H, W).")
    if videos.shape[2] < SHORTEST or min(videos.shape[3:]) < 16:
        raise UserError(f"videos: have shape {shape}; an echo instrument takes 5 frames of 16 x 16 pixels or more.")
    low, high = float(videos.min()), float(videos.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise UserError(f"videos: run from {low:.3g} to {high:.3g}; an echo instrument takes brightness in [0, 1].")
    return videos.clamp(0, 1)


def measure_ef(videos: np.ndarray | torch.Tensor, batch_size: int = 16) -> dict[str, np.ndarray]:
    """Ejection fractions as shares, `{"regressor": (N,), "discs": (N,)}`, of videos in [0, 1].

    Args:
        videos: (N, 1, T, S, S) that hold a whole beat; S of 32, 64 and 112 have stated errors.
        batch_size: videos at once.

    Returns:
        Values from 0 to 1. A video in which no cavity is found in most of its frames has NaN by discs.

    Raises:
        UserError: videos that are none, or absent weights.
    """
    videos = as_videos(videos)
    scales = instrument_errors()["scales"][nearest_size(videos.shape[-1])]
    found = raw_ef(videos, batch_size)
    return {name: set_right(values, scales[name]) for name, values in found.items()}


def nearest_size(size: int) -> str:
    """The size with a scale of its own that is nearest to `size`."""
    return min(instrument_errors()["scales"], key=lambda known: abs(np.log(int(known) / size)))


def set_right(values: np.ndarray, scale: dict[str, float]) -> np.ndarray:
    """Readings whose slope and offset against the truth on VAL patients are undone, cut to [0, 1]."""
    return np.clip((values - scale["offset"]) / scale["slope"], 0, 1)


@torch.inference_mode()
def raw_ef(videos: torch.Tensor, batch_size: int = 16) -> dict[str, np.ndarray]:
    """As `measure_ef` before the scales; of videos that `as_videos` gave."""
    network = load_network("echo_ef_regressor")
    read = torch.cat([read_both_ways(network, to_grid(part)) for part in videos.split(batch_size)])
    volumes = [cavity_volumes(part) for part in videos.split(batch_size)]
    discs = [ejected_share(curve) for part in volumes for curve in part]
    return {"regressor": read.numpy().astype(np.float64), "discs": np.array(discs)}


def read_both_ways(network: torch.nn.Module, videos: torch.Tensor) -> torch.Tensor:
    """Mean of what the regressor reads from videos (N, 1, T, 64, 64) forwards and backwards, (N,): EF is the same."""
    return (network(videos) + network(videos.flip(2))) / 2


@torch.inference_mode()
def find_cavity(videos: np.ndarray | torch.Tensor, batch_size: int = 256) -> np.ndarray:
    """The left ventricle's cavity in each frame, bool (N, T, 128, 128); one piece, or none where a frame is even.

    Args:
        videos: as in `measure_ef`; the masks cover the same field of view.
        batch_size: frames at once.
    """
    videos = as_videos(videos)
    frames = to_grid(videos[:, 0]).flatten(0, 1)[:, None]
    network, found = load_network("echo_cavity"), []
    for part in frames.split(batch_size):
        logits = F.interpolate(network(part), (FINE, FINE), mode="bilinear", align_corners=False)
        shows = part.std((1, 2, 3)) >= LEAST_CONTRAST  # of a dark frame the network would predict a cavity
        found += [largest_piece(mask) for mask in ((logits[:, 0] > 0) & shows[:, None, None]).numpy()]
    return np.stack(found).reshape(len(videos), -1, FINE, FINE)


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask (H, W), empty where it is smaller than any cavity."""
    labels, count = ndi.label(mask)
    if count > 1:
        mask = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    return mask if mask.mean() >= LEAST_AREA else np.zeros_like(mask)


def cavity_areas(
    videos: np.ndarray | torch.Tensor, cm_per_pixel: np.ndarray | torch.Tensor | None = None
) -> np.ndarray:
    """Area of the cavity in each frame, float64 (N, T): cm2, or the share of the frame without `cm_per_pixel` (N,)."""
    videos = as_videos(videos)
    areas = find_cavity(videos).mean((2, 3))
    if cm_per_pixel is None:
        return areas
    return areas * (np.broadcast_to(np.asarray(cm_per_pixel, np.float64), len(videos)) * videos.shape[-1])[:, None] ** 2


def cavity_volumes(
    videos: np.ndarray | torch.Tensor, cm_per_pixel: np.ndarray | torch.Tensor | None = None
) -> np.ndarray:
    """Volume of the cavity in each frame by discs, float64 (N, T): mL, or shares of the frame's side cubed."""
    videos = as_videos(videos)
    side = np.ones(len(videos)) if cm_per_pixel is None else np.asarray(cm_per_pixel, np.float64) * videos.shape[-1]
    side = np.broadcast_to(side, len(videos))
    return np.stack([disc_volumes(masks, s / FINE) for masks, s in zip(find_cavity(videos), side, strict=True)])


def steady(volumes: np.ndarray) -> np.ndarray:
    """A curve (T,) without noise frames: NaN where no cavity was found or one frame jumps as no heart does.

    A frame is a jump if it leaves the median of the five about it by more than 0.4 of the curve's 80th percentile. The
    phantom's fastest beat, 95 a minute at 16 frames a second, stays below that at any ejection fraction.
    """
    volumes = np.where(volumes > 0, volumes, np.nan)
    if np.isnan(volumes).mean() > 0.5:
        return np.full_like(volumes, np.nan)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(volumes, 2, mode="reflect"), 5)
    jump = np.abs(volumes - np.nanmedian(around, 1)) > SPIKE * np.nanquantile(volumes, 0.8)
    return np.where(jump, np.nan, volumes)


def ejected_share(volumes: np.ndarray) -> float:
    """1 - smallest / largest of a curve (T,) without its noise frames; NaN if half of the frames have no cavity."""
    kept = steady(np.asarray(volumes, np.float64))
    if np.isnan(kept).all():
        return float("nan")
    return float(1 - np.nanmin(kept) / np.nanmax(kept))


def measure_video(video: np.ndarray, fps: float) -> dict[str, float | None]:
    """EF in percent of a video (T, H, W) in [0, 1] by two instruments that no loss knows: "ef" by discs, a regressor.

    None where no cavity is found.
    """
    found = measure_ef(torch.from_numpy(np.ascontiguousarray(video, np.float32)))
    discs, regressor = float(found["discs"][0]), float(found["regressor"][0])
    return {"ef": None if np.isnan(discs) else round(100 * discs, 1), "ef_regressor": round(100 * regressor, 1)}
