"""Echo phantoms as a data set in EchoNet-Dynamic's layout, with tracings and, in phantom.csv, every parameter."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from synthzoo.datasets.echo.tracings import mask_tracing
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
