"""2D images as PNG: grey and maps with 16 bits, colours with 8, label maps as integers; a map has its overlay."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image as Picture

from synthzoo.cases.table import CaseTable, is_label
from synthzoo.errors import UserError
from synthzoo.io.dicom import Study, write_radiograph
from synthzoo.io.files import plain, write_bytes
from synthzoo.io.images import png_bytes
from synthzoo.io.images import read_picture as read_input
from synthzoo.io.marks import Mark, with_mark
from synthzoo.results.dataset_files import case_of, mark_of_set, title
from synthzoo.results.kinds.base import Content, Kind, bare, finite_array, is_map, last_word, written
from synthzoo.results.preview import heat_colours, montage

RADIOGRAPHS = ("cxr", "dx")  # suffixes that DICOM holds as digital X-ray
COLOURED = 0.1  # difference between channels from which a picture is shown in colour
FAR_OUT = 0.5  # beyond [0, 1] by more than this is another range, not an overshoot


class Image(Kind):
    """PNG of grey images and maps [1, H, W] or [H, W] and colour images [3, H, W] in [0, 1], clipped to that range.

    Grey is round(65535 x); label maps keep their integers, 8 bits up to 255. A map of an image that lies in the
    sample, or of the file that was given, gets `<case>_<name>_overlay.png` beside it, the map in colour over the image.

    Args:
        overlay_on: key of the image [1, H, W] or [3, H, W] that a map is drawn over; where that has another size, the
            file that was given; a map of neither's size gets no overlay.
        pixel_mm: side of a pixel in mm, for the sidecar and for instruments; None where it is unknown.
        opacity: of the map in its overlay, 0 to 1.
    """

    endings = (".png",)

    def __init__(self, overlay_on: str = "image", pixel_mm: float | None = None, opacity: float = 0.5) -> None:
        self.overlay_on, self.opacity = overlay_on, float(opacity)
        self.pixel_mm = None if pixel_mm is None else float(plain(pixel_mm))

    def prepare(self, value: Any, key: str, suffix: str, sample: Mapping) -> Content:
        case = str(sample["case"])
        array = finite_array(value, case, 2)
        if not (array.ndim == 2 or (array.ndim == 3 and array.shape[0] == 3)):
            raise UserError(
                f"{key} of {case} has the shape {array.shape}, but an image [1, H, W] or [3, H, W] is needed."
            )
        if is_label(suffix) and not suffix.startswith("probseg"):
            array = np.rint(array)
            if array.min() < 0 or array.max() > 65535:
                raise UserError(f"{key} of {case} has labels from {array.min():g} to {array.max():g}: 0 to 65535 fit.")
            array = array.astype(np.uint8 if array.max() <= 255 else np.uint16)
        else:
            low, high = float(array.min()), float(array.max())
            if low < -FAR_OUT or high > 1 + FAR_OUT:
                raise UserError(
                    f"{key} of {case} lies between {low:g} and {high:g}, but an image must lie in [0, 1]: scale it in "
                    "the postprocessing."
                )
            array = array.clip(0, 1)
        facts: dict[str, Any] = {"shape": list(array.shape)}
        if self.pixel_mm is not None:
            facts["spacing_mm"] = [self.pixel_mm, self.pixel_mm]
        return Content(array, self.pixel_mm, facts, self._beneath(array, suffix, sample))

    def _beneath(self, array: np.ndarray, suffix: str, sample: Mapping) -> np.ndarray | None:
        """The image beneath a map as uint8 [H, W] or [3, H, W]; None where there is none of its size.

        That is the image that the network saw, or, where a map went back to the pixels of the file, the file: turned,
        if the network saw it turned.
        """
        if not is_map(suffix):
            return None
        case, image = str(sample["case"]), None
        if self.overlay_on in sample:
            image = finite_array(sample[self.overlay_on], case, 2)
        if (image is None or image.shape[-2:] != array.shape[-2:]) and "source_path" in sample:
            image = _source(sample["source_path"], _is_turned(sample))
        if image is None or image.shape[-2:] != array.shape[-2:]:
            return None
        if image.ndim > 3 or (image.ndim == 3 and image.shape[0] != 3):
            return None
        low, high = float(image.min()), float(image.max())
        return np.rint(255 * (image - low) / max(high - low, 1e-6)).astype(np.uint8)

    def paths(self, path: Path, content: Content) -> list[Path]:
        return [path] if content.extra is None else [path, path.with_name(f"{path.stem}_overlay.png")]

    def write(self, path: Path, content: Content, mark: Mark) -> None:
        paths = self.paths(path, content)
        write_bytes(path, with_mark(png_bytes(content.array), mark))
        if content.extra is not None:
            write_bytes(paths[1], with_mark(png_bytes(self._overlay(content)), mark))

    def dicom_paths(self, path: Path, suffix: str, content: Content, study: Study) -> list[Path]:
        """A DX object for a radiograph; maps and other pictures stay PNG."""
        grey = content.array.ndim == 2 and last_word(suffix) in RADIOGRAPHS
        return [path.with_name(f"{bare(path)}.dcm")] if grey else []

    def write_dicom(self, path: Path, suffix: str, content: Content, study: Study, mark: Mark) -> None:
        write_radiograph(path, content.array, self.pixel_mm, study, last_word(suffix), mark)

    def _overlay(self, content: Content) -> np.ndarray:
        """The image with the map over it, uint8 [3, H, W]; where the map is 0 the image stays as it is."""
        grey = content.extra if content.extra.ndim == 3 else np.stack([content.extra] * 3)
        heat = content.array.astype(np.float32)
        if content.array.dtype.kind == "u":
            heat /= max(float(heat.max()), 1.0)
        share = self.opacity * np.minimum(1.0, 4.0 * heat)
        return np.rint((1 - share) * grey + share * 255 * heat_colours(heat)).astype(np.uint8)

    @classmethod
    def preview(cls, table: CaseTable, sidecars: list[Path], overlay: str | None = None) -> None:
        """Write preview.png: the images beside each other; a map shows its overlay where there is one."""
        images, titles = [], []
        for path in sidecars:
            record, case = json.loads(path.read_text(encoding="utf-8")), case_of(path, table)
            titles.append(title(record, case, table.conditions))
            main = table.path(case, overlay)
            drawn = main.with_name(f"{main.stem}_overlay.png")
            images.append(read_picture(drawn if drawn.is_file() else written(main)))
        montage(images, titles, table.output_dir / "preview.png", columns=4, mark=mark_of_set(table, sidecars))


def _source(path: str | Path, turned: bool = False) -> np.ndarray | None:
    """The 2D image that a case was made from, [H, W], or [3, H, W] of a photograph; None where it is none.

    It is white for black where it was `turned`.
    """
    try:
        levels = read_input(path, 3).levels
        if float(np.ptp(levels, 0).max()) <= COLOURED:
            levels = read_input(path, colour="average").levels[0]
    except UserError:  # a volume or a video
        return None
    return 1 - levels if turned else levels


def _is_turned(sample: Mapping) -> bool:
    """Whether the loader turned the levels of the file, as it says of radiographs, see `cases.images`."""
    facts = sample.get("radiograph")
    return isinstance(facts, Mapping) and bool(facts.get("turned"))


def read_picture(path: Path) -> np.ndarray:
    """[H, W] or [H, W, 3] of a file that was written here."""
    return pydicom.dcmread(path).pixel_array if path.suffix == ".dcm" else np.asarray(Picture.open(path))
