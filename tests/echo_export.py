"""Echo phantoms as a data set in EchoNet-Dynamic's layout, with tracings and, in phantom.csv, every parameter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.draw import polygon2mask

from synthzoo.datasets.echo.echonet_table import TRACINGS
from synthzoo.datasets.echo.tracings import outline
from synthzoo.errors import UserError
from synthzoo.phantoms.echo.phantom import EchoClip, make_clip
from synthzoo.phantoms.echo.sets import Video, preset_of, video_params
from synthzoo.results.echonet import EchoNetWriter, hashed_name

PARAMETERS = "phantom.csv"


def export_phantoms(folder: str | Path, preset: str, videos: Iterable[Video], **priors: Any) -> Path:
    """Write videos of a preset into a folder; those that are complete there are not made again.

    Args:
        folder: the data set's folder.
        preset: "tiny", "small" or "echonet": size and frames per second.
        videos: which videos, see `synthzoo.phantoms.echo.sets.list_videos`.
        priors: ef_prior, shrink and confounded, see `video_params`.

    Returns:
        the folder.

    Raises:
        UserError: what the phantoms and the writer say.
    """
    chosen = preset_of(preset)
    with EchoNetWriter(folder, extra_table=PARAMETERS) as writer:
        for video in videos:
            if phantom_name(video.patient, video.session, video.noise) not in writer:
                clip = make_clip(video_params(video, **priors), chosen.size, video.frames, chosen.fps)
                add_phantom(writer, clip, video.split)
    return Path(folder)


def phantom_name(patient: int, session: int, noise: int) -> str:
    """The name of a video's file, from its seeds."""
    return hashed_name(f"{patient}:{session}:{noise}")


def add_phantom(writer: EchoNetWriter, clip: EchoClip, split: str) -> bool:
    """Write one video with the tracings of its end-systolic and end-diastolic frames; False if it is there already."""
    traced = {n: mask_tracing(clip.masks[n], clip.long_axis[n]) for n in (clip.es_frame, clip.ed_frame)}
    numbers = {key: value for key, value in _flat(clip.params).items() if key not in clip.seeds}
    return writer.add(
        phantom_name(**clip.seeds),
        clip.frames,
        fps=clip.fps,
        ef=100 * clip.ef,
        split=split,
        esv=float(clip.volumes_ml.min()),
        edv=float(clip.volumes_ml.max()),
        tracings=traced,
        extra={**clip.seeds, "ed_frame": clip.ed_frame, "es_frame": clip.es_frame, **numbers},
    )


def _flat(values: dict, before: str = "") -> dict:
    """Nested dictionaries as one, with the names joined by a dot; lists as their text."""
    found = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value if isinstance(value, (int, float, str, type(None))) else str(value)
    return found


def tracing_mask(tracing: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The pixels whose centres lie within a tracing, uint8 (H, W); pixel (0, 0) has its centre at (0, 0).

    Raises:
        UserError: fewer points than an area needs.
    """
    points = outline(tracing)
    if len(points) < 3:
        raise UserError(f"a tracing of {len(points)} points encloses no area: remove its rows from {TRACINGS}.")
    return polygon2mask(tuple(int(n) for n in shape), points[:, ::-1]).astype(np.uint8)


def mask_tracing(mask: np.ndarray, axis: np.ndarray, count: int = 20) -> np.ndarray:
    """The tracing of a mask: the long axis and `count` chords across it, at the middles of as many equal discs.

    Args:
        mask: (H, W), above 0 within the cavity.
        axis: [2, 2], x and y of the apex and of the base, in pixels.

    Returns:
        float64 [count + 1, 4]; a chord that meets no cavity has no length.
    """
    apex, base = np.asarray(axis, dtype=np.float64)
    along = base - apex
    across = np.array([along[1], -along[0]]) / max(float(np.hypot(*along)), 1e-9)
    if across[0] < 0:  # x1 is the left end
        across = -across
    centres = apex + (np.arange(count)[:, None] + 0.5) / count * along
    height, width = mask.shape
    reach = float(np.hypot(height, width))
    steps = np.arange(-reach, reach, 0.05)
    x, y = np.moveaxis(centres[:, None] + steps[:, None] * across, -1, 0)
    inside = ndimage.map_coordinates((mask > 0).astype(np.float32), [y, x], order=1) >= 0.5
    met = inside.any(axis=1)
    low = np.where(met, steps[inside.argmax(axis=1)], 0.0)
    high = np.where(met, steps[-1 - inside[:, ::-1].argmax(axis=1)], 0.0)
    chords = np.concatenate([centres + low[:, None] * across, centres + high[:, None] * across], axis=1)
    return np.concatenate([[[*apex, *base]], chords])
