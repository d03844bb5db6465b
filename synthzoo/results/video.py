"""What a run that makes videos leaves: per case `<case>_echo.avi` and its sidecar, and a looping preview of the set.

Everything else, the sidecar last, the tables, what a rerun skips, is that of `synthzoo.results.volume`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from synthzoo.cases.table import CaseTable
from synthzoo.errors import UserError
from synthzoo.io.files import plain
from synthzoo.io.videos import MAX_FPS, read_avi, write_avi
from synthzoo.results.dataset_files import case_of, title
from synthzoo.results.video_preview import video_montage
from synthzoo.results.volume import FinalizeDataset, SaveResult, Written, finite_array

FAR_OUT = 0.5  # beyond [0, 1] by more than this is another range, not an overshoot
PREVIEW = "preview.gif"


class SaveVideo(SaveResult):
    """Write one decollated sample whose outputs are videos. Use as the last entry of the postprocessing.

    Args:
        table: see `SaveResult`; its suffix is that of the main video, such as "echo.avi".
        outputs: key of the sample -> suffix. A suffix that ends with `.avi` is a video [1, T, H, W] or [T, H, W] in
            [0, 1], which is clipped to that range; any other is written as `SaveResult` does.
        fps: frames per second of the videos; None takes the sample's own `fps`.
        kwargs: see `SaveResult`; `measure` is called with (float32 [T, H, W] array in [0, 1], fps).

    Raises:
        UserError: what `SaveResult` says; no frame rate; a video that is in another range than [0, 1].
    """

    def __init__(self, table: CaseTable, outputs: dict[str, str] | None = None, fps: Any = None, **kwargs: Any):
        super().__init__(table, outputs, **kwargs)
        self.fps = None if fps is None else check_fps(fps, "fps")

    def write(self, path: Path, suffix: str, key: str, data: dict) -> Written:
        """Write one output of a sample: `.avi` as Motion-JPEG, anything else as `SaveResult` does."""
        if not suffix.endswith(".avi"):
            return super().write(path, suffix, key, data)
        case = str(data["case"])
        fps = check_fps(data.get("fps"), f"fps of {case}") if self.fps is None else self.fps
        video = finite_array(data[key], case)
        if video.ndim != 3:
            raise UserError(f"{key} of {case} has the shape {video.shape}, but a grey video [1, T, H, W] is needed.")
        low, high = float(video.min()), float(video.max())
        if low < -FAR_OUT or high > 1 + FAR_OUT:
            raise UserError(
                f"{key} of {case} lies between {low:g} and {high:g}, but a video must lie in [0, 1]: scale it in the "
                "postprocessing."
            )
        video = video.clip(0, 1)
        write_avi(path, video, fps)
        return Written(video, fps, {"shape": list(video.shape), "fps": fps, "seconds": round(len(video) / fps, 6)})


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


def write_video_preview(table: CaseTable, paths: list[Path], overlay: str | None = None) -> None:
    """Write preview.gif: the videos of these sidecars' cases beside each other, in a loop.

    Args:
        table: says where the files are.
        paths: sidecars.
        overlay: suffix of a second video of each case, shown to the right of the first; None for none.
    """
    videos, titles, rates = [], [], []
    for path in paths:
        record, case = json.loads(path.read_text()), case_of(path, table)
        shown = [read_avi(table.path(case))]
        if overlay and table.path(case, overlay).is_file():
            shown.append(read_avi(table.path(case, overlay)))
        videos.append([cine.frames for cine in shown])
        titles.append(title(record, case, table.conditions))
        rates.append(shown[0].fps)
    video_montage(videos, titles, rates, table.output_dir / PREVIEW)


class FinalizeVideos(FinalizeDataset):
    """Handler for the end of a run of videos: the texts as `FinalizeDataset` writes them, and preview.gif.

    Args:
        table, preview, name: see `FinalizeDataset`.
        overlay: suffix of a second video to show beside the main one, such as "factual.avi", or None.
    """

    draw = staticmethod(write_video_preview)
