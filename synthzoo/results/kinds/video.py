"""Videos as Motion-JPEG in AVI, as MP4 or as ultrasound in DICOM; the preview is a GIF that loops in real time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthzoo.cases.table import CaseTable
from synthzoo.errors import UserError
from synthzoo.io.dicom import Study, write_ultrasound
from synthzoo.io.files import plain, write_bytes
from synthzoo.io.marks import Mark, with_mark
from synthzoo.io.mp4 import mp4_bytes
from synthzoo.io.videos import MAX_FPS, as_uint8, avi_bytes, read_video
from synthzoo.results.dataset_files import case_of, mark_of_set, title
from synthzoo.results.kinds.base import Content, Kind, bare, finite_array, last_word, written
from synthzoo.results.video_preview import video_montage

FAR_OUT = 0.5  # beyond [0, 1] by more than this is another range, not an overshoot
PREVIEW = "preview.gif"


class Video(Kind):
    """Grey videos [1, T, H, W] or [T, H, W] in [0, 1], clipped to that range.

    Args:
        fps: frames per second; None takes the sample's own `fps`.
        pixel_mm: side of a pixel in mm, which DICOM states as the scale of the ultrasound region; None: unknown.
    """

    endings = (".avi", ".mp4")

    def __init__(self, fps: Any = None, pixel_mm: float | None = None) -> None:
        self.pixel_mm = None if pixel_mm is None else float(plain(pixel_mm))
        self.fps = None if fps is None else check_fps(fps, "fps")

    def prepare(self, value: Any, key: str, suffix: str, sample: Mapping) -> Content:
        case = str(sample["case"])
        fps = check_fps(sample.get("fps"), f"fps of {case}") if self.fps is None else self.fps
        video = finite_array(value, case)
        if video.ndim != 3:
            raise UserError(f"{key} of {case} has the shape {video.shape}, but a grey video [1, T, H, W] is needed.")
        low, high = float(video.min()), float(video.max())
        if low < -FAR_OUT or high > 1 + FAR_OUT:
            raise UserError(
                f"{key} of {case} lies between {low:g} and {high:g}, but a video must lie in [0, 1]: scale it in the "
                "postprocessing."
            )
        facts = {"shape": list(video.shape), "fps": fps, "seconds": round(len(video) / fps, 6)}
        return Content(video.clip(0, 1), fps, facts)

    def write(self, path: Path, content: Content, mark: Mark) -> None:
        code = mp4_bytes if path.suffix == ".mp4" else avi_bytes
        write_bytes(path, with_mark(code(as_uint8(content.array, str(path)), content.scale, name=str(path)), mark))

    def dicom_paths(self, path: Path, suffix: str, content: Content, study: Study) -> list[Path]:
        return [path.with_name(f"{bare(path)}.dcm")]

    def write_dicom(self, path: Path, suffix: str, content: Content, study: Study, mark: Mark) -> None:
        frames = as_uint8(content.array, str(path))
        write_ultrasound(path, frames, content.scale, self.pixel_mm, study, last_word(suffix), mark)

    @classmethod
    def preview(cls, table: CaseTable, sidecars: list[Path], overlay: str | None = None) -> None:
        """Write preview.gif: the videos beside each other, each with its second one if `overlay` is its suffix."""
        videos, titles, rates = [], [], []
        for path in sidecars:
            record, case = json.loads(path.read_text(encoding="utf-8")), case_of(path, table)
            shown = [read_video(written(table.path(case)))]
            if overlay and written(table.path(case, overlay)).is_file():
                shown.append(read_video(written(table.path(case, overlay))))
            videos.append([video.frames for video in shown])
            titles.append(title(record, case, table.conditions))
            rates.append(shown[0].fps)
        video_montage(videos, titles, rates, table.output_dir / PREVIEW, mark=mark_of_set(table, sidecars))


def check_fps(value: Any, name: str) -> float:
    """Frames per second as a number.

    Raises:
        UserError: no number, or an impossible one.
    """
    value = plain(value)
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.001 <= value <= MAX_FPS:
        raise UserError(f"{name} is {value!r}, but must be a number of frames per second from 0.001 to {MAX_FPS:g}.")
    return float(value)
