"""Fidelity of generated echo videos: as sets, against a known true video, and in their motion.

    Frechet distance   of frames (deepest layer of the network that finds the cavity) and of clips (last layer but one
                       of the EF regressor), by `fidelity.fid`; meaningless without its floor, real against real
    ROI-SSIM           SSIM of two videos averaged inside a region; over the whole frame it cannot show that EF changed,
                       since copying the input scores high (Wang et al., IEEE TIP 2004, for SSIM)
    area-curve error   mean |A - A*| / max A* of the cavity's area in the video and in the true one
    motion energy      mean |x_t+1 - x_t|, flicker: mean |x_t-1 - 2 x_t + x_t+1| outside the heart

Print the stated errors of the instruments (`echo_ef.instrument_errors`) beside what is measured through them.
"""

from __future__ import annotations

import numpy as np
import torch
from monai.metrics.regression import compute_ssim_and_cs
from scipy import ndimage as ndi

from synthzoo.errors import UserError
from synthzoo.instruments.echo.ef import as_videos, cavity_areas, find_cavity
from synthzoo.instruments.echo.networks import load_network, to_grid
from synthzoo.metrics.fidelity import fid_with_floor

WINDOWS = ((48, 7), (np.inf, 11))  # side of the SSIM window: 7 for frames below 48 pixels, else 11
STILL_SHARE = 0.16  # of the frame's side: what is farther than this from the cavity is not the heart


@torch.inference_mode()
def frame_features(videos: np.ndarray | torch.Tensor, every: int = 4, batch_size: int = 256) -> np.ndarray:
    """Features of single frames, float32 (N * ceil(T / every), 72), of videos (N, 1, T, S, S) in [0, 1].

    Args:
        every: distance of the frames that are looked at; neighbours are much alike.
        batch_size: frames at once.
    """
    frames = to_grid(as_videos(videos)[:, 0, ::every]).flatten(0, 1)[:, None]
    network = load_network("echo_cavity")
    return torch.cat([network.features(part) for part in frames.split(batch_size)]).numpy()


@torch.inference_mode()
def clip_features(videos: np.ndarray | torch.Tensor, batch_size: int = 16) -> np.ndarray:
    """Features of whole videos, float32 (N, 192), of videos (N, 1, T, S, S) in [0, 1]."""
    videos, network = as_videos(videos), load_network("echo_ef_regressor")
    return torch.cat([network.features(to_grid(part)) for part in videos.split(batch_size)]).numpy()


def frechet(
    generated: np.ndarray | torch.Tensor,
    real: np.ndarray | torch.Tensor,
    other_real: np.ndarray | torch.Tensor,
    every: int = 4,
) -> dict[str, dict[str, float]]:
    """Frechet distances of generated to real videos, and of other real videos to the same: `{"frames", "clips"}`.

    Args:
        generated, real, other_real: videos in [0, 1]; `real` and `other_real` of different patients. Sets are cut to
            one size, for the distance falls with the number of videos; more than 192 make that of clips steady.
        every: as in `frame_features`.

    Returns:
        Of each kind `fidelity.fid_with_floor`: fid, fid_real and n.
    """
    size = min(len(generated), len(real), len(other_real))
    sets = [as_videos(videos)[:size] for videos in (generated, real, other_real)]
    frames = [frame_features(videos, every) for videos in sets]
    clips = [clip_features(videos) for videos in sets]
    return {"frames": fid_with_floor(*frames), "clips": fid_with_floor(*clips)}


def ssim_maps(first: np.ndarray | torch.Tensor, second: np.ndarray | torch.Tensor) -> tuple[torch.Tensor, int]:
    """SSIM of each place of videos (N, 1, T, S, S), (N, T, S - w + 1, S - w + 1), and the side w of its window."""
    one, two = as_videos(first), as_videos(second)
    if one.shape != two.shape:
        raise UserError(
            f"videos: have shapes {tuple(one.shape)} and {tuple(two.shape)}; SSIM compares videos of one shape."
        )
    window = next(side for below, side in WINDOWS if one.shape[-1] < below)
    maps = []
    for a, b in zip(one[:, 0], two[:, 0], strict=True):
        found = compute_ssim_and_cs(a[:, None], b[:, None], 2, (window, window), (1.5, 1.5), 1.0)
        maps.append(found[0][:, 0])
    return torch.stack(maps), window


def roi_ssim(
    first: np.ndarray | torch.Tensor, second: np.ndarray | torch.Tensor, region: np.ndarray | torch.Tensor | None = None
) -> np.ndarray:
    """SSIM averaged over the frames and inside a region, float64 (N,).

    Args:
        first, second: videos (N, 1, T, S, S) in [0, 1].
        region: bool (N, S, S), such as `dilated_cavity`; None takes the whole frame.

    Raises:
        UserError: videos or a region of another shape, or a region without a pixel where SSIM is defined.
    """
    maps, window = ssim_maps(first, second)
    maps = maps.mean(1).double().numpy()
    if region is None:
        return maps.mean((1, 2))
    region, size = np.asarray(region, bool), maps.shape[-1] + window - 1
    if region.shape != (len(maps), size, size):
        raise UserError(f"region: has shape {region.shape}; these videos take {(len(maps), size, size)}.")
    edge = window // 2
    inside = region[:, edge : size - edge, edge : size - edge]
    if not inside.any((1, 2)).all():
        raise UserError("region: is empty for a video; it needs a pixel that is half a window away from the border.")
    return (maps * inside).sum((1, 2)) / inside.sum((1, 2))


def dilated_cavity(
    mask: np.ndarray | torch.Tensor, cm_per_pixel: np.ndarray | torch.Tensor, by_cm: float = 1.0
) -> np.ndarray:
    """Masks (N, S, S), say of end diastole, with all pixels within `by_cm`, bool (N, S, S).

    Args:
        cm_per_pixel: number, or (N,).
    """
    mask = np.asarray(mask, bool)
    sides = np.broadcast_to(np.asarray(cm_per_pixel, np.float64), len(mask))
    return np.stack([m if not m.any() else ndi.distance_transform_edt(~m) * s <= by_cm for m, s in zip(mask, sides)])


def area_curve_error(videos: np.ndarray | torch.Tensor, truth: np.ndarray | torch.Tensor) -> np.ndarray:
    """Mean |A - A*| of the cavity's area in the video and in the true one as a share of the largest A*, float64 (N,).

    Both are measured by the same instrument. Give it the input in place of `videos` for the baseline of copying. NaN
    where no cavity is found in the true video.

    Args:
        videos: videos (N, 1, T, S, S) in [0, 1].
        truth: the true videos, or the true areas (N, T) as shares of the frame.
    """
    found = cavity_areas(videos)
    requested = np.asarray(truth, np.float64) if np.ndim(truth) == 2 else cavity_areas(truth)
    if requested.shape != found.shape:
        raise UserError(
            f"truth: has {requested.shape} videos and frames, the videos {found.shape}; give the same videos."
        )
    largest = requested.max(1)
    return np.abs(found - requested).mean(1) / np.where(largest > 0, largest, np.nan)


def still_region(videos: np.ndarray | torch.Tensor, share: float = STILL_SHARE) -> np.ndarray:
    """Pixels that are lit in some frame and far from the cavity in every frame, bool (N, S, S).

    Args:
        share: of the frame's side, the distance that counts as far. Of a phantom take `~swept_region(...)` instead.
    """
    videos = as_videos(videos)
    size = videos.shape[-1]
    cavity = torch.from_numpy(find_cavity(videos).any(1).astype(np.float32))
    near = to_grid(cavity, size).numpy() > 0
    lit = (videos.amax((1, 2)) > 0).numpy()
    far = [np.ones_like(m) if not m.any() else ndi.distance_transform_edt(~m) > share * size for m in near]
    return lit & np.stack(far)


def motion_energy(videos: np.ndarray | torch.Tensor, region: np.ndarray | torch.Tensor | None = None) -> np.ndarray:
    """Mean |x_t+1 - x_t| inside `region` (N, S, S), or over the whole frame, float64 (N,)."""
    return _mean_inside(as_videos(videos)[:, 0].diff(dim=1), region)


def flicker(videos: np.ndarray | torch.Tensor, region: np.ndarray | torch.Tensor) -> np.ndarray:
    """Mean |second difference in time| inside `region` (N, S, S), which should lie outside the heart, float64 (N,).

    0 for a video that stands still or fades evenly. A video of the same patient gives the natural value: speckle of
    blood and noise flicker too. `still_region` finds a region in any video.
    """
    return _mean_inside(as_videos(videos)[:, 0].diff(n=2, dim=1), region)


def _mean_inside(change: torch.Tensor, region: np.ndarray | torch.Tensor | None) -> np.ndarray:
    size = change.abs().double().mean(1).numpy()
    if region is None:
        return size.mean((1, 2))
    region = np.asarray(region, bool)
    if region.shape != size.shape:
        raise UserError(f"region: has shape {region.shape}; these videos take {size.shape}.")
    with np.errstate(invalid="ignore"):
        return (size * region).sum((1, 2)) / region.sum((1, 2))
