"""Frontal chest radiographs: PNG, JPEG or DICOM, and what can be told without a network of a picture that is none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom

from synthzoo.errors import UserError
from synthzoo.io.frontal import likeness
from synthzoo.io.images import read_picture
from synthzoo.io.kinds import first_bytes, format_of_content
from synthzoo.io.opening import open_dicom

MODALITIES = ("CR", "DX", "DR", "XR", "RG")
UNSAID = ("", "OT", "SC")  # modalities that say nothing
SIDEWAYS = ("LL", "RL", "LAT", "LATERAL", "XTABLE", "LAO", "RAO", "LPO", "RPO", "LLO", "RLO", "OBLIQUE", "SWIMMERS")
LYING = ("DECUBITUS", "LLD", "RLD")  # a frontal view of someone who lies on a side
ELSEWHERE = (
    *("ANKLE", "ARM", "BREAST", "CALCANEUS", "COCCYX", "ELBOW", "EXTREMITY", "FEMUR", "FINGER", "FOOT", "FOREARM"),
    *("HAND", "HEAD", "HIP", "HUMERUS", "JAW", "KNEE", "LEG", "MANDIBLE", "PELVIS", "SKULL", "TEETH", "THUMB"),
    *("TIBIA", "FIBULA", "TOE", "WRIST", "CSPINE", "LSPINE", "SSPINE"),
)
SMALLEST = 64  # pixels of a side
LONGEST = 2.5  # the longer side over the shorter one
FEWEST_LEVELS = 24  # grey levels of a picture; drawings and masks have fewer
LEAST, CLEAR = 0.3, 0.6  # likeness below which a picture is refused, and from which it is beyond doubt
COLOUR = "give the radiograph itself, not a photograph, a screen or an image with coloured marks"


class Radiograph(NamedTuple):
    """A frontal chest radiograph.

    Attributes:
        levels: float32 (1, H, W) in [0, 1], bone is bright.
        spacing_mm: between rows and between columns, None where unknown.
        view: "PA", "AP" or what else the file says, None where it says nothing.
        turned: whether the file shows bones dark, so that its levels were turned.
        likeness: to a frontal chest, see `synthzoo.io.frontal`; NaN where it was not asked for.
    """

    levels: np.ndarray
    spacing_mm: tuple[float, float] | None
    view: str | None
    turned: bool = False
    likeness: float = math.nan


def read_radiograph(path: str | Path, check: bool = True) -> Radiograph:
    """Read a frontal chest radiograph.

    Args:
        path: PNG or JPEG in grey (or in equal channels), 8 or 16 bits, or DICOM of one frame, see
            `synthzoo.io.dicom_pixels`. DICOM is shown as its window says; padding becomes black. Where bones are dark
            all the same (an export that forgot MONOCHROME1, or a header that says it wrongly), levels are turned.
        check: False takes what does not look like a chest, as in a data set that states what it holds.

    Raises:
        UserError: what `read_picture` says; another body part or view by the header; raw detector data; a picture that
            can be no radiograph: in colour, of few grey levels, tiny, far from square, or unlike a frontal chest.
    """
    view = expect_frontal(path)
    levels, spacing = read_picture(path, needed="a radiograph, which is grey,", remedy=COLOUR)
    expect_radiograph(levels[0], f"radiograph {path}")
    like, unlike = likeness(levels[0]), likeness(1 - levels[0])
    turned = unlike >= CLEAR and like < LEAST
    if turned:
        levels, like = 1 - levels, unlike
    if check and like < LEAST:
        raise UserError(
            f"radiograph {path} does not look like a frontal chest radiograph (likeness {like:.2f} of 1, at least "
            f"{LEAST:g} is needed): give the chest alone, upright, frontal and uncut."
        )
    return Radiograph(np.ascontiguousarray(levels), spacing, view, turned, like)


def expect_frontal(path: str | Path) -> str | None:
    """The view that a DICOM file states, checked to be a frontal one of the chest; None for other files.

    Raises:
        UserError: the header says that it is a lateral or oblique view, another part of the body, or raw data.
    """
    if format_of_content(first_bytes(Path(path))) != "dicom":
        return None
    tags = ["ViewPosition", "ViewCodeSequence", "BodyPartExamined", "PatientOrientation", "PresentationIntentType"]
    try:
        header = open_dicom(path, stop_before_pixels=True, specific_tags=tags)
    except Exception:  # pydicom raises many kinds for damaged files; whoever reads it says what is wrong with it
        return None
    view = _words(header.get("ViewPosition"))
    codes = " ".join(_words(code.get("CodeMeaning")) for code in header.get("ViewCodeSequence") or ())
    along = _words(header.get("PatientOrientation"))[:1]  # where the columns count to: left in frontal views
    stated = f"{view} {codes}".split()
    sideways = any(word in SIDEWAYS for word in stated) and not any(word in LYING for word in stated)
    if sideways or (along in ("A", "P") and not stated):
        said = " ".join(stated) or f"rows towards {along}"
        raise UserError(f"radiograph {path} is a lateral or oblique view ({said}): give a frontal one, PA or AP.")
    part = _words(header.get("BodyPartExamined"))
    if part in ELSEWHERE:
        raise UserError(f"radiograph {path} shows another part of the body ({part}), but a chest is needed.")
    if _words(header.get("PresentationIntentType")) == "FOR PROCESSING":
        raise UserError(
            f"radiograph {path} holds raw detector data (FOR PROCESSING): export the image FOR PRESENTATION."
        )
    return view or None


def _words(value: Any) -> str:
    many = isinstance(value, (list, tuple, pydicom.multival.MultiValue))
    return " ".join(str(item) for item in value).strip().upper() if many else str(value or "").strip().upper()


def expect_radiograph(levels: np.ndarray, where: str) -> None:
    """Refuse grey levels (H, W) that can be no radiograph.

    Args:
        levels: in [0, 1].
        where: what it is, for the sentence.

    Raises:
        UserError: one value throughout, too small, too long, or of few grey levels.
    """
    height, width = levels.shape
    if float(levels.min()) == float(levels.max()):
        raise UserError(f"{where} shows one shade throughout: check how it was exported.")
    if min(height, width) < SMALLEST or max(height, width) > LONGEST * min(height, width):
        raise UserError(
            f"{where} is {width} x {height} pixels, but a chest radiograph has at least {SMALLEST} a side and is at "
            f"most {LONGEST:g} times as long as wide: give the whole image."
        )
    step = max(1, levels.size // (1 << 20))
    count = len(np.unique(levels.ravel()[::step]))
    if count < FEWEST_LEVELS:
        raise UserError(
            f"{where} has {count} grey levels, as drawings, masks and texts have: give the radiograph itself."
        )
