"""Exposure of a projection: scatter, quanta, detector, processing, collimation, markers. Milliseconds a radiograph.

What a hospital's chain varies is drawn from the exposure's own seed and knows nothing of the patient, so two exposures
of one projection are one study: never split them. Geometry is the projection's; no exposure moves a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage as ndi

from synthzoo.errors import UserError
from synthzoo.phantoms.chest.lettering import WORDS, stamp
from synthzoo.phantoms.chest.patient import PHANTOM
from synthzoo.phantoms.chest.projection import Projection
from synthzoo.phantoms.priors import Prior, draw_prior, integer_seed

EXPOSURE, QUANTA = 307, 308  # salts
STYLES = ("plain", "clinic", "random")
SCATTER_MM, SCATTER_LIMIT = 32.0, 0.3
UNIT_MM = 270.0 / 256  # pixel on which `photons` counts
COARSEST = 64  # pixels of the side at which broad blurs are computed

# name: prior, in the clinic and with domain randomisation.
PRIORS: dict[str, tuple[Prior, Prior]] = {
    "scatter": ((0.08, 0.35), (0.0, 0.6)),  # to primary ratio
    "log_photons": ((9.2, 11.2), (7.4, 11.5)),  # logarithm of the quanta of an open pixel
    "start": ((-0.04, 0.05, -0.16, 0.05), (-0.05, 0.14, -0.4, 0.2)),  # of the window, in units of the range
    "contrast": ((0.85, 1.2), (0.6, 1.7)),  # width of the window
    "edge": ((0.3, 1.2), (0.0, 2.0)),
    "compression": ((0.4, 0.65), (0.0, 0.7)),  # of the range of dense parts
    "gamma": ((0.95, 1.05), (0.6, 1.6)),
}
COLLIMATION = ((-0.05, 0.05), (-0.06, 0.14))  # share of the side, each; below 0 is none
MARKED, WORDED, INVERTED = (0.75, 0.9), (0.15, 0.5), (0.0, 0.15)


@dataclass(frozen=True)
class Exposure:
    """Settings of an exposure.

    Attributes:
        seed: of the settings and of the quanta.
        scatter, log_photons, start, contrast, edge, compression, gamma: see `PRIORS`.
        collimation: share of the side that is shut at the top, bottom, left and right.
        border: grey of what is shut.
        marker: "L", "R" or "" for none, with its `marker_place`.
        text: a burnt-in word, or "".
        inverted: the lungs are bright, as MONOCHROME1 has them if it is misread.
    """

    seed: int
    scatter: float
    log_photons: float
    start: float
    contrast: float
    edge: float
    compression: float
    gamma: float
    collimation: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    border: float = 0.0
    marker: str = ""
    marker_place: tuple[float, float] = (0.1, 0.06)
    text: str = ""
    text_place: tuple[float, float] = (0.04, 0.5)
    inverted: bool = False


def draw_exposure(seed: int, style: str = "clinic", **fixed: Any) -> Exposure:
    """Settings of exposure `seed`.

    Args:
        seed: integer from 0.
        style: "plain" (the middle of every range, no marker, no border), "clinic", or "random" for domain
            randomisation: wide ranges, collimation, words, some inverted.
        fixed: fields of `Exposure` that are not drawn.
    """
    if style not in STYLES:
        raise UserError(f"style = {style!r}: an exposure of {PHANTOM} takes {', '.join(STYLES)}.")
    rng = np.random.default_rng([EXPOSURE, integer_seed("exposure_seed", seed, PHANTOM)])
    wide = int(style == "random")
    values: dict[str, Any] = {
        name: draw_prior(rng, priors[wide], float(style != "plain")) for name, priors in PRIORS.items()
    }
    low, high = COLLIMATION[wide]
    shut = tuple(float(v) for v in np.maximum(rng.uniform(low, high, 4), 0))
    marked, worded, inverted, border, left = rng.random(5)
    places = rng.random((2, 2))
    if style != "plain":
        values["collimation"], values["border"] = shut, 0.92 * float(border < 0.12)
        if marked < MARKED[wide]:
            values["marker"] = "L" if left < 0.5 else "R"
            across = 0.04 + 0.1 * places[0, 1]
            # The patient's left is on the picture's right.
            values["marker_place"] = (0.04 + 0.1 * places[0, 0], 1 - across if left < 0.5 else across)
        if worded < WORDED[wide]:
            values["text"] = WORDS[int(places[1, 0] * len(WORDS))]
            values["text_place"] = (0.02 + 0.05 * places[1, 1], 0.15 + 0.7 * places[1, 0])
        values["inverted"] = bool(inverted < INVERTED[wide])
    try:
        return replace(Exposure(int(seed), **values), **fixed)
    except TypeError as error:
        names = ", ".join(Exposure.__dataclass_fields__)
        raise UserError(f"{', '.join(fixed)}: an exposure of {PHANTOM} has the settings {names}.") from error


def expose(projection: Projection, exposure: Exposure | int = 0, style: str = "clinic", **fixed: Any) -> np.ndarray:
    """A radiograph of a projection, float32 (S, S) in [0, 1], bones bright.

    >>> from synthzoo.phantoms.chest.phantom import chest_study
    >>> study = chest_study(patient_seed=1, size=32, findings=[])
    >>> expose(study.projection, 7).shape
    (32, 32)

    Args:
        projection: line integrals and their pixel size.
        exposure: settings, or the seed that draws them.
        style, fixed: see `draw_exposure`; for a seed alone.
    """
    settings = exposure if isinstance(exposure, Exposure) else draw_exposure(exposure, style, **fixed)
    signal = _detected(projection.mu, projection.pixel_mm, settings)
    grey = _processed(signal, projection.pixel_mm, settings)
    if settings.inverted:
        grey = 1 - grey
    _frame(grey, settings)
    return grey.astype(np.float32)


def _detected(mu: np.ndarray, pixel_mm: float, settings: Exposure) -> np.ndarray:
    """Logarithm of what the detector counts: primary quanta, scatter, Poisson noise, a little blur."""
    primary = np.exp(-np.asarray(mu, np.float32))
    scattered = _broad_blur(np.minimum(primary, SCATTER_LIMIT), SCATTER_MM / pixel_mm)
    quanta = np.exp(settings.log_photons) * (pixel_mm / UNIT_MM) ** 2
    rng = np.random.default_rng([QUANTA, settings.seed])
    expected = np.minimum(primary + settings.scatter * scattered, 1) * quanta
    # A normal deviate stands for the Poisson count; it is as good above some 20 quanta and many times faster.
    counted = expected + np.sqrt(expected) * rng.standard_normal(expected.shape, dtype=np.float32)
    signal = -np.log(np.maximum(counted, 0.3) / quanta)
    return ndi.gaussian_filter(np.minimum(signal, np.percentile(signal, 99.7)), 0.35)


def _processed(signal: np.ndarray, pixel_mm: float, settings: Exposure) -> np.ndarray:
    """Grey in [0, 1]: compression of the dense parts' range, edges, then a tone curve with an exponential shoulder."""
    n = len(signal)
    middle = (slice(n // 8, -n // 8), slice(n // 6, -n // 6))
    broad = _broad_blur(signal, 16 / pixel_mm)
    knee, most = np.percentile(signal[middle], [45, 95])
    dense = np.clip((broad - knee) / (most - knee), 0, 1)
    fine, coarse = ndi.gaussian_filter(signal, 4 / pixel_mm, truncate=3), _broad_blur(signal, 28 / pixel_mm)
    signal = signal + settings.edge * (0.6 * (signal - fine) + (0.3 + 0.9 * dense) * (fine - coarse))
    signal -= settings.compression * np.maximum(broad - knee, 0)
    low, high = np.percentile(signal[middle], [4, 90])
    start = low + settings.start * (high - low)
    width = 0.5 * (high - low) * settings.contrast
    grey = 0.97 * (1 - np.exp(_toe(-start, width) - _toe(signal - start, width)))
    return np.clip(grey, 0, 1) ** settings.gamma


def _toe(value: np.ndarray | float, width: float) -> np.ndarray:
    return np.logaddexp(0, value / width * 6) / 6


def _broad_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur by many pixels, computed on a coarser image."""
    n = len(image)
    step = n // COARSEST
    if step < 2 or n % step or sigma < 2 * step:
        return ndi.gaussian_filter(image, sigma, mode="nearest", truncate=3)
    small = image.reshape(n // step, step, n // step, step).mean((1, 3))
    blurred = ndi.gaussian_filter(small, sigma / step, mode="nearest", truncate=3)
    at = (np.arange(n) + 0.5) / step - 0.5
    low = np.clip(np.floor(at).astype(int), 0, len(small) - 2)
    part = np.clip(at - low, 0, 1).astype(np.float32)
    rows = blurred[low] * (1 - part)[:, None] + blurred[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def _frame(grey: np.ndarray, settings: Exposure) -> None:
    """Shut borders, side marker and words, drawn over the image."""
    n = len(grey)
    top, bottom, left, right = (int(share * n) for share in settings.collimation)
    for part in (grey[:top], grey[n - bottom :], grey[:, :left], grey[:, n - right :]):
        part[...] = settings.border
    scale = max(1, n // 110)
    if settings.marker:
        stamp(grey, settings.marker, settings.marker_place, scale, 0.95)
    if settings.text:
        stamp(grey, settings.text, settings.text_place, max(1, n // 200), 0.9)
