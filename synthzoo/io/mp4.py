"""Grey videos as MP4, which any browser and telephone plays; lossy, so results that are measured again stay AVI."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO

import numpy as np

QUALITY = 12  # constant rate factor of H.264, 0 (none lost) to 51; at 12 speckle loses about 2 grey levels


def mp4_bytes(frames: np.ndarray, fps: float, name: str = "video") -> bytes:
    """Encode with H.264, or MPEG-4 part 2 where this build of FFmpeg has no H.264; one thread, no date inside.

    Equal frames give equal bytes with the same version of FFmpeg. An odd height or width repeats its last line, since
    the codec takes pixels in pairs.

    Args:
        frames: uint8 (T, H, W).
        fps: frames per second, kept to a thousandth.
        name: for messages.
    """
    import av

    frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2)), "edge")
    buffer = BytesIO()
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    rate = Fraction(round(1000 * float(fps)), 1000)
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = 1 / rate
        if codec == "libx264":
            stream.options = {"crf": str(QUALITY), "preset": "medium", "x264-params": "threads=1:lookahead-threads=1"}
        else:
            stream.codec_context.qmin = stream.codec_context.qmax = 2
            stream.options = {"flags": "+bitexact"}
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray").reformat(format="yuv420p")
            picture.pts, picture.time_base = number, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return buffer.getvalue()
