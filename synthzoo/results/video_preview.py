"""A looping GIF of videos side by side in real time, with what was requested printed above each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from synthzoo.io.files import write_bytes
from synthzoo.io.marks import Mark, with_mark

CELL = 224  # height of a video in the preview, in pixels; small videos are enlarged by a whole factor up to it
GAP, LINE, FONT_SIZE = 6, 14, 11
TICK_S = 0.01  # a GIF counts time in hundredths of a second
SHORTEST_S = 0.04  # viewers slow faster loops down
LONGEST_S = 4.0  # of the loop


def video_montage(
    videos: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    fps: Sequence[float],
    path: str | Path,
    columns: int = 4,
    mark: Mark | None = None,
) -> None:
    """Write videos as one GIF, each with its title; shorter ones start again when they end.

    Args:
        videos: per cell one or more videos uint8 (T, H, W), shown beside each other.
        titles: one text per cell, broken into lines.
        fps: frames per second of each cell's videos; all play in real time, the loop for at most 4 seconds.
        path: the GIF, written whole or not at all.
        columns: cells side by side.
        mark: what the GIF says of its content, see `synthzoo.io.marks`.
    """
    font = _font()
    cells = [[_enlarged(video) for video in group] for group in videos]
    widths = [sum(v.shape[2] for v in group) + GAP * (len(group) - 1) for group in cells]
    width, height = max(widths), max(v.shape[1] for group in cells for v in group)
    columns = max(1, min(columns, len(cells)))
    rows = -(-len(cells) // columns)
    lines = [_broken(text, width, font) for text in titles]
    above = LINE * max(map(len, lines)) + GAP
    sheet = Image.new("L", (columns * (width + GAP) + GAP, rows * (height + above + GAP) + GAP))
    draw, corners = ImageDraw.Draw(sheet), []
    for number, texts in enumerate(lines):
        x = GAP + (number % columns) * (width + GAP)
        y = GAP + (number // columns) * (height + above + GAP)
        for line, text in enumerate(texts):
            draw.text((x, y + LINE * line), text, fill=255, font=font)
        corners.append((x, y + above))
    seconds = min(LONGEST_S, max(len(group[0]) / rate for group, rate in zip(cells, fps)))
    step = max(SHORTEST_S, TICK_S * math.ceil(1 / max(fps) / TICK_S - 1e-6))
    background, pages = np.asarray(sheet), []
    for page in range(max(1, round(seconds / step))):
        picture = background.copy()
        for group, rate, (x, y) in zip(cells, fps, corners):
            for video in group:
                frame = video[int(page * step * rate + 1e-6) % len(video)]
                picture[y : y + frame.shape[0], x : x + frame.shape[1]] = frame
                x += frame.shape[1] + GAP
        pages.append(Image.fromarray(picture))
    buffer = BytesIO()
    duration = round(1000 * step)
    pages[0].save(buffer, "GIF", save_all=True, append_images=pages[1:], duration=duration, loop=0, optimize=False)
    write_bytes(path, with_mark(buffer.getvalue(), mark))


def _enlarged(video: np.ndarray) -> np.ndarray:
    """A video by a whole factor larger, or by a whole step smaller, so that it fits a cell."""
    height = video.shape[1]
    if height > CELL:
        return video[:, :: -(-height // CELL), :: -(-height // CELL)]
    return video.repeat(CELL // height, axis=1).repeat(CELL // height, axis=2)


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    try:
        return ImageFont.load_default(size=FONT_SIZE)
    except TypeError:  # Pillow before 10.1 has one size
        return ImageFont.load_default()


def _broken(text: str, width: int, font: Any) -> list[str]:
    """A text in lines that fit a width in pixels; a word that is too long is cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    for number, line in enumerate(lines):
        while line and font.getlength(line) > width:
            line = line[:-1]
        lines[number] = line
    return lines
