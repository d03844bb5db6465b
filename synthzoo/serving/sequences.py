"""Videos for viewers that play NIfTI: an AVI as a volume of x, y, one slice and time; Slicer shows it as a sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthzoo.io.marks import read_mark
from synthzoo.io.nifti import write_nifti
from synthzoo.io.videos import read_video

# Columns run to the patient's left and rows to the back, so that an axial view shows the video upright. A video says
# nothing of its scale: a pixel is 1 mm.
UPRIGHT = np.diag([-1.0, -1.0, 1.0, 1.0])


def as_sequence(path: str | Path) -> tuple[Path, float]:
    """Write `<name>.nii.gz` beside an AVI, uint8 (W, H, 1, T), its rate in the header; `read_video` reads it back.

    Returns:
        its path, and milliseconds a frame.

    Raises:
        UserError: what `read_video` says.
    """
    path, video = Path(path), read_video(path)
    target = path.with_name(f"{path.stem}.nii.gz")
    volume = np.ascontiguousarray(video.frames.transpose(2, 1, 0)[:, :, None])
    write_nifti(target, volume, UPRIGHT, frame_s=1.0 / video.fps, mark=read_mark(path))
    return target, 1000.0 / video.fps
