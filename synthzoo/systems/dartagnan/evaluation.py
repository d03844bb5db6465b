"""Evaluation of counterfactual videos on held-out echo phantoms, whose true counterfactuals are known.

Every figure stands beside what it has to be compared with: an instrument beside its own error on the true
counterfactuals, a video beside the input that is merely copied, what was requested beside the same in another order,
the network beside rules that were never trained. Whole frames hardly change with the ejection fraction (EF), so that
copying scores high there; the heart's region and the cavity's area show the difference.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.datasets.echo.phantoms import EchoPhantomDataset
from synthzoo.evaluation.base import Found
from synthzoo.evaluation.echo import (
    EF_COLUMNS,
    EF_RANGE,
    EchoEvaluation,
    by_ef,
    ef_agreement,
    ef_rows,
    requested_efs,
    stacked,
)
from synthzoo.evaluation.echo_shortcuts import TITLE, Known, drawn_motion, scaled
from synthzoo.evaluation.identity import identity
from synthzoo.evaluation.pictures import new_figure, save_figure
from synthzoo.instruments.echo.ef import cavity_areas, measure_ef
from synthzoo.instruments.echo.fidelity import area_curve_error, dilated_cavity, motion_energy, roi_ssim

AGAINST = ["SSIM, whole frame", "SSIM, heart", "area curve MAE", "L1", "motion, share of the true one"]
APART = 0.10  # of requested and factual EF, as in training
NAMES = {"expert": "expert (in the loss)", "regressor": "regressor (independent)", "discs": "discs (independent)"}


def choose_requested(ef: np.ndarray, seed: int = 0) -> np.ndarray:
    """EFs spread evenly on .15 to .85, one a video, in an order that keeps them 0.10 from those that the videos
    show."""
    rng, requested = np.random.default_rng(seed), requested_efs(len(ef))
    requested = rng.permutation(requested)
    for _ in range(100):
        near = np.flatnonzero(np.abs(requested - ef) < APART)
        if not len(near):
            break
        for one in near:
            other = int(rng.integers(len(ef)))
            requested[one], requested[other] = requested[other], requested[one]
    return requested


class CounterfactualEvaluation(EchoEvaluation):
    """All figures of a counterfactual network, and a picture.

    Args:
        inferer: the bundle's, with its noise.
        figure: PNG of videos at end diastole and end systole; None draws nothing.
        patients: phantoms of TEST, one video each.
        reid: network that tells patients apart, or None: pixels alone are then compared.
        shared: see `EchoEvaluation`.
    """

    PARTS = ("ejection", "fidelity", "identity", "same_world", "shortcuts")

    def __init__(
        self, inferer: Any, figure: str | Path | None = None, patients: int = 64, reid: Any = None, **shared: Any
    ) -> None:
        super().__init__({"patients": patients, "reid": reid is not None}, inferer=inferer, **shared)
        self.figure, self.patients, self.reid = figure, int(patients), reid

    # --- what the parts share ----------------------------------------------------------------------------------------

    @cached_property
    def phantoms(self) -> EchoPhantomDataset:
        """The patients' rows, with masks."""
        return self.patients_of("TEST", self.patients, masks=True)

    @cached_property
    def ef(self) -> np.ndarray:
        """The patients' EFs as fractions (N,)."""
        return np.array([self.phantoms.params(row).ef for row in range(len(self.phantoms))])

    @cached_property
    def requested(self) -> np.ndarray:
        """The EFs requested, fractions (N,)."""
        return choose_requested(self.ef)

    @cached_property
    def rows(self) -> list[dict]:
        """The samples of `phantoms`."""
        return [self.phantoms[row] for row in range(len(self.phantoms))]

    @cached_property
    def videos(self) -> torch.Tensor:
        """The patients' videos (N, 1, T, S, S)."""
        return torch.stack([row["video"] for row in self.rows])

    @cached_property
    def true(self) -> torch.Tensor:
        """The true counterfactuals (N, 1, T, S, S)."""
        return stacked(self.patients_of("TEST", self.patients, ef=self.requested))

    @property
    def predicted(self) -> dict[str, torch.Tensor]:
        """ "counterfactual" and "factual" videos (N, 1, T, S, S), and "seconds" for each."""
        return self.cached("predicted", self.predict)

    def predict(self) -> dict[str, torch.Tensor]:
        """See `predicted`."""
        other, own, start = [], [], time.perf_counter()
        with torch.no_grad():
            for row, video in enumerate(self.videos):
                efs = [self.percent(values[row : row + 1]) for values in (self.ef, self.requested)]
                factual, counterfactual = self.inferer.predict(video[None].to(self.device), *efs, self.network)
                other.append(counterfactual.cpu())
                own.append(factual.cpu())
        seconds = (time.perf_counter() - start) / len(self.videos)
        return {"counterfactual": torch.cat(other), "factual": torch.cat(own), "seconds": torch.tensor(seconds)}

    def percent(self, ef: np.ndarray) -> torch.Tensor:
        """EFs in percent (N,) on the network's device."""
        return torch.tensor(100 * ef, dtype=torch.float32, device=self.device)

    def measure(self, videos: torch.Tensor) -> dict[str, np.ndarray]:
        """EF of videos as fractions by each instrument, {"expert", "regressor", "discs"}: (N,)."""
        with torch.no_grad():
            read = torch.cat([self.network.read_ef(part.to(self.device)).cpu() for part in videos.split(16)])
        return {"expert": read.numpy().astype(np.float64) / 100, **measure_ef(videos)}

    # --- the parts ---------------------------------------------------------------------------------------------------

    def ejection(self) -> Found:
        """EF requested against EF measured."""
        real, true, other = (self.measure(v) for v in (self.videos, self.true, self.predicted["counterfactual"]))
        shuffled = np.random.default_rng(1).permutation(self.requested)
        pairs = {
            "real videos against their own EF": (self.ef, real),
            "counterfactuals": (self.requested, other),
            "true counterfactuals (the instrument's own error)": (self.requested, true),
            "input copied (control)": (self.requested, real),
            "counterfactuals, requests shuffled (control)": (shuffled, other),
        }
        values = {title: ef_agreement(*pair) for title, pair in pairs.items()}
        found = Found()
        spread = f"EF requested evenly on {EF_RANGE}"
        rows = [row for title, one in values.items() for row in ef_rows(title, one, NAMES)]
        found.add(f"Ejection fraction in percent: {len(self.videos)} held-out patients, {spread}", EF_COLUMNS, rows)
        own, counterfactual, truth = (values[title] for title in list(pairs)[:3])
        found.figures = {f"expert_{key}": own["expert"][key] for key in ("r2", "mae")}
        for name in NAMES:
            keys = ("r2", "mae", "spearman")
            found.figures |= {f"counterfactual_{name}_{key}": counterfactual[name][key] for key in keys}
            found.figures[f"{name}_r2_on_truth"] = truth[name]["r2"]
        return found

    def fidelity(self) -> Found:
        """Videos against the true ones, with the copied input beside."""
        other, own = (self.predicted[name] for name in ("counterfactual", "factual"))
        if self.figure:
            draw_worlds(self.videos, other, self.true, self.rows, self.ef, self.requested, self.figure)
        compared = {
            "counterfactual": (other, self.true),
            "input copied": (self.videos, self.true),
            "reconstruction": (own, self.videos),
        }
        rows: list[list[Any]] = []
        for name, (one, two) in compared.items():
            rows.append([name, *self.against(one, two)])
        found = Found()
        title = "Against the true counterfactual, and the reconstruction against its video"
        found.add(f"{title}: {len(self.videos)} patients", ["video", *AGAINST], rows)
        found.figures = {"factual_ssim": rows[2][1], "counterfactual_ssim": rows[0][1], "copy_ssim": rows[1][1]}
        found.figures |= {"counterfactual_roi_ssim": rows[0][2], "copy_roi_ssim": rows[1][2]}
        found.figures |= {"area_curve_mae": rows[0][3], "copy_area_curve_mae": rows[1][3]}
        found.figures |= {"area_curve_gain": round(1 - rows[0][3] / rows[1][3], 4)}
        return found

    @cached_property
    def region(self) -> np.ndarray:
        """Where the hearts lie, bool (N, S, S)."""
        at_ed = np.stack([row["mask"][0, row["ed_frame"]].numpy() > 0 for row in self.rows])
        return dilated_cavity(at_ed, np.array([float(row["cm_per_pixel"]) for row in self.rows]))

    @cached_property
    def true_areas(self) -> np.ndarray:
        """The cavity's area in each frame of the true counterfactuals, shares of the frame (N, T)."""
        return cavity_areas(self.true)

    def against(self, one: torch.Tensor, two: torch.Tensor) -> list[Any]:
        """`AGAINST` of videos and those that they should be, (N, 1, T, S, S) each; "-" where these are no truth."""
        whole, heart = (round(float(np.nanmean(roi_ssim(one, two, part))), 4) for part in (None, self.region))
        area = round(float(np.nanmean(area_curve_error(one, self.true_areas))), 4) if two is self.true else "-"
        moved = float(motion_energy(one, self.region).mean() / motion_energy(two, self.region).mean())
        return [whole, heart, area, round(float((one - two).abs().mean()), 4), round(moved, 3)]

    def identity(self) -> Found:
        """Identity: whether counterfactuals still show their own patient."""
        return identity(self.videos, self.predicted["counterfactual"], self.reid)

    def same_world(self) -> Found:
        """Largest difference of the two worlds when the EF that is requested is the factual one, and seconds."""
        ef, videos = self.percent(self.ef[:8]), self.videos[:8].to(self.device)
        with torch.no_grad():
            factual, other = self.inferer.predict(videos, ef, ef, self.network)
        figures = {"largest_change_without_request": float((factual - other).abs().max())}
        return Found(figures=figures | {"seconds_per_video": round(float(self.predicted["seconds"]), 4)})

    def shortcuts(self) -> Found:
        """What could do the work alone: rules that were never trained, of the same videos and requests."""
        known, still = Known.first(self.patients_of("TRAIN", self.shown)), self.videos.mean(2)
        draw = drawn_motion(known, known.videos.mean(2), still)
        words = ("input's mean frame", "input's mean frame and a normal distribution of training videos about theirs")
        by_ratio = scaled(self.videos, self.requested / self.ef)
        sets = {"": ("counterfactual", self.predicted["counterfactual"]), "copy": ("input copied", self.videos)}
        sets["scaled"] = ("input, motion about its mean frame times requested over own EF", by_ratio)
        sets |= known.answers(still, self.requested, draw, *words)
        found, rows = Found(), []
        for key, (title, videos) in sets.items():
            values = ef_agreement(self.requested, self.measure(videos))
            same = identity(self.videos, videos, self.reid).figures["same_patient"]
            rows.append([title, *(values[name]["r2"] for name in NAMES), *self.against(videos, self.true), same])
            word = f"shortcut_{key}" if key else "beside_shortcuts"
            found.figures |= {f"{word}_{name}_r2": values[name]["r2"] for name in NAMES}
            found.figures |= {f"{word}_roi_ssim": rows[-1][5], f"{word}_area_curve_mae": rows[-1][6]}
            found.figures[f"{word}_same_patient"] = same
        columns = ["video", *(f"R2 by {name}" for name in NAMES), *AGAINST, "same patient"]
        title = f"{TITLE}: {len(self.videos)} patients, {len(known.videos)} training videos, against the true "
        found.add(f"{title}counterfactuals; requests shuffled stand above", columns, rows)
        return found


def draw_worlds(
    videos: torch.Tensor,
    counterfactual: torch.Tensor,
    true: torch.Tensor,
    rows: Sequence[Mapping[str, Any]],
    ef: np.ndarray,
    requested: np.ndarray,
    path: str | Path,
) -> None:
    """PNG: input, counterfactual and true counterfactual of six patients at end diastole and end systole."""
    chosen = by_ef(requested, 6)
    names = {"input": videos, "counterfactual": counterfactual, "truth": true}
    figure = new_figure(1.7 * 6, 1.95 * len(chosen), facecolor="black")
    axes = np.atleast_2d(figure.subplots(len(chosen), 6))
    for axis_row, row in zip(axes, chosen):
        moments = {"ED": int(rows[row]["ed_frame"]), "ES": int(rows[row]["es_frame"])}
        cells = [(f"{name}, {moment}", names[name][row, 0, at]) for moment, at in moments.items() for name in names]
        for axis, (name, picture) in zip(axis_row, cells):
            axis.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1)
            shown = 100 * (ef[row] if name.startswith("input") else requested[row])
            axis.set_title(f"{name}, EF {shown:.0f} %", color="white", fontsize=7)
            axis.set_axis_off()
    save_figure(figure, path, pad=0.3)
