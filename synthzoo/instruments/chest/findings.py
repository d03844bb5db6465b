"""Findings of a chest radiograph and their places, by a network that was trained on chest phantoms with exact masks.

The probability of a finding went through a logistic curve that was fitted on VAL patients. How well findings are told
and pointed at in TEST patients, of whom the network has seen none, stands in `weights/chest_instruments.json`, beside
raw pixels, a position prior and shuffled labels: print it beside every figure. Kinds that are told no better than by
their controls are not measured, and are refused by name. Never used in a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.instruments.chest.networks import as_radiographs, instrument_errors, load_network, to_grid
from synthzoo.phantoms.chest.findings import KINDS

NAME = "chest_findings"


@torch.inference_mode()
def raw_findings(images: np.ndarray | torch.Tensor, batch_size: int = 32) -> tuple[torch.Tensor, np.ndarray]:
    """Logits of maps (N, K, 64, 64) and, before their scale, of findings float64 (N, K), see `as_radiographs`."""
    network = load_network(NAME)
    found = [network(part) for part in to_grid(as_radiographs(images), NAME).split(batch_size)]
    maps, logits = (torch.cat(parts) for parts in zip(*found))
    return maps, logits.double().numpy()


def probabilities(logits: np.ndarray, scales: dict[str, dict[str, float]]) -> dict[str, np.ndarray]:
    """Probability by kind, (N,) each, of logits (N, K) and their slope and offset by kind."""
    scaled = {kind: scales[kind]["slope"] * logits[:, n] + scales[kind]["offset"] for n, kind in enumerate(KINDS)}
    return {kind: 1 / (1 + np.exp(-values)) for kind, values in scaled.items()}


def is_told(errors: dict) -> bool:
    """Whether a kind is told better than by its controls, of its stated errors `instrument_errors()["findings"][kind]`.

    The interval of its AUROC lies above 0.5, its AUROC above that of raw pixels, its Brier score below that of saying
    how frequent it is.
    """
    controls = errors["controls"]
    better = errors["interval"][0] > 0.5 and errors["auroc"] > controls["auroc_raw_pixels"]
    return better and errors["brier"] < controls["brier_share"]


def is_pointed_at(errors: dict) -> bool:
    """Whether a kind is told, see `is_told`, and pointed at more often than by its most frequent place."""
    return is_told(errors) and errors["pointing"] > errors["controls"]["pointing_prior"]


def measured_kinds(judge: Callable[[dict], bool] = is_told) -> list[str]:
    """Kinds that this instrument measures, by their stated errors; with `is_pointed_at` those whose place it knows."""
    stated = instrument_errors()["findings"]
    return [kind for kind in KINDS if judge(stated[kind])]


def checked_kinds(kinds: Sequence[str] | None, judge: Callable[[dict], bool]) -> list[str]:
    """The kinds that are asked for, None for all that are measured.

    Raises:
        UserError: no finding, or one that is not measured, with its figures.
    """
    measured = measured_kinds(judge)
    for kind in measured if kinds is None else kinds:
        if kind not in KINDS:
            raise UserError(f"kinds = {kind!r}: is no finding; this instrument measures {', '.join(measured)}.")
        if kind not in measured:
            errors = instrument_errors()["findings"][kind]
            low, high = errors["interval"]
            by = errors["controls"]
            raise UserError(
                f"kinds = {kind!r}: is not measured by this instrument (AUROC {errors['auroc']:.3f}, {low:.3f} to "
                f"{high:.3f}, raw pixels {by['auroc_raw_pixels']:.3f}; Brier score {errors['brier']:.3f}, of its share "
                f"{by['brier_share']:.3f}; pointing {errors['pointing']:.2f}, of the most frequent place "
                f"{by['pointing_prior']:.2f}); take {', '.join(measured)}."
            )
    return measured if kinds is None else list(kinds)


def measure_findings(
    images: np.ndarray | torch.Tensor, batch_size: int = 32, kinds: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Probability of each finding by kind, float64 (N,) each, of radiographs (N, 1, S, S), (N, S, S) or (S, S) in
    [0, 1].

    Probabilities are for studies that have a finding as often as the phantoms have it; their order holds whatever the
    frequency.

    Args:
        images: bones bright; the stated errors hold for 128 pixels a side.
        batch_size: radiographs at once.
        kinds: of `synthzoo.phantoms.chest.findings.KINDS`; None is `measured_kinds()`.

    Raises:
        UserError: no radiographs, absent weights, or a kind that is not measured: see `is_told`.
    """
    asked = checked_kinds(kinds, is_told)
    said = probabilities(raw_findings(images, batch_size)[1], instrument_errors()["scales"]["findings"])
    return {kind: said[kind] for kind in asked}


def find_findings(
    images: np.ndarray | torch.Tensor, batch_size: int = 32, kinds: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Maps of each finding by kind, float32 (N, S, S) in [0, 1] on the radiographs' own pixels; see `measure_findings`.

    A map says where a finding would be, and is high only where there is one; its highest pixel is what the pointing
    game judges. None as `kinds` is `measured_kinds(is_pointed_at)`.

    Raises:
        UserError: as `measure_findings`, or a kind whose place is not known: see `is_pointed_at`.
    """
    asked, given = checked_kinds(kinds, is_pointed_at), as_radiographs(images)
    maps = enlarged(raw_findings(given, batch_size)[0], given.shape[-1])
    return {kind: maps[:, KINDS.index(kind)] for kind in asked}


def enlarged(maps: torch.Tensor, size: int) -> np.ndarray:
    """Logits of maps as values in [0, 1] at another size, float32 (N, K, size, size)."""
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=False).sigmoid().numpy()
