"""Evaluation of videos that were generated around one frame of held-out echo phantoms.

Every figure stands beside what it has to be compared with: videos beside real ones that the same instrument read, the
best of three draws beside one, an ejection fraction (EF) that was requested beside one in another order and beside none
at all, a video beside its frame repeated and beside other rules that were never trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.evaluation.base import Found
from synthzoo.evaluation.echo import (
    EF_COLUMNS,
    EF_RANGE,
    INSTRUMENTS,
    EchoEvaluation,
    as_bytes,
    by_ef,
    ef_agreement,
    ef_rows,
    requested_efs,
    stacked,
)
from synthzoo.evaluation.echo_shortcuts import Known, drawn_motion, shortcut_table
from synthzoo.evaluation.identity import identity
from synthzoo.evaluation.pictures import new_figure, save_figure
from synthzoo.instruments.echo.ef import measure_ef
from synthzoo.instruments.echo.fidelity import frechet, motion_energy, roi_ssim
from synthzoo.metrics.memorisation import nearest_distances
from synthzoo.results.video_preview import video_montage
from synthzoo.systems.echodiffusion.inferer import closest

DRAWS = 3
BATCH = 8
TRAINING = 512  # videos among which the nearest neighbours are sought


class CascadeEvaluation(EchoEvaluation):
    """All figures of a cascade, a picture and a looping preview.

    Args:
        inferer: the bundle's.
        figure: PNG of a frame and its videos; None draws nothing.
        preview: GIF of videos; None draws nothing.
        patients: phantoms of TEST, one video and one frame of it each.
        reid: network that tells patients apart, or None: pixels alone are then compared.
        steps_of: pairs of noise levels of the two stages that are compared, beside the inferer's own.
        steps_patients: patients of that comparison.
        shared: see `EchoEvaluation`.
    """

    PARTS = ("ejection", "fidelity", "identity", "steps", "memory", "speed", "shortcuts")

    def __init__(
        self,
        inferer: Any,
        figure: str | Path | None = None,
        preview: str | Path | None = None,
        patients: int = 64,
        reid: Any = None,
        steps_of: Sequence[Sequence[int]] = ((4, 2), (8, 4), (16, 8), (32, 32)),
        steps_patients: int = 32,
        **shared: Any,
    ) -> None:
        settings = {"patients": patients, "reid": reid is not None, "steps_of": [list(pair) for pair in steps_of]}
        super().__init__(settings | {"steps_patients": steps_patients}, inferer=inferer, **shared)
        self.figure, self.preview, self.patients, self.reid = figure, preview, int(patients), reid
        self.steps_of, self.steps_patients = [tuple(pair) for pair in steps_of], int(steps_patients)
        rng = np.random.default_rng(0)
        self.requested = rng.permutation(requested_efs(self.patients))
        self.frame_numbers = torch.from_numpy(rng.integers(0, self.network.frames, self.patients))
        self.inferer.progress = False

    # --- what the parts share ----------------------------------------------------------------------------------------

    @cached_property
    def phantoms(self) -> Any:
        """The patients' rows."""
        return self.patients_of("TEST", self.patients)

    @cached_property
    def ef(self) -> np.ndarray:
        """The patients' EFs as fractions (N,)."""
        return np.array([self.phantoms.params(row).ef for row in range(len(self.phantoms))])

    @cached_property
    def videos(self) -> torch.Tensor:
        """The patients' videos (N, 1, T, S, S)."""
        return stacked(self.phantoms)

    @property
    def given(self) -> torch.Tensor:
        """The frames (N, 1, S, S) that the videos are generated around."""
        return self.videos[torch.arange(len(self.videos)), :, self.frame_numbers]

    def draw_of(self, draw: int) -> dict[str, torch.Tensor]:
        """Videos of the requested EFs by `generate`; another draw has other noise."""
        return self.cached(f"draw_{draw}", lambda: self.generate(self.given, self.requested, draw))

    def drawn(self, draw: int = 0) -> torch.Tensor:
        """Videos (N, 1, T, S, S) of the EFs requested."""
        return self.draw_of(draw)["videos"]

    def own_ef(self) -> torch.Tensor:
        """Videos of the patients' own EFs."""
        return self.cached("own_ef", lambda: self.generate(self.given, self.ef))["videos"]

    def seconds(self) -> float:
        """Seconds for each video, the mean over the draws."""
        return float(np.mean([float(self.draw_of(draw)["seconds"]) for draw in range(DRAWS)]))

    def generate(self, given: torch.Tensor, ef: np.ndarray, draw: int = 0, **settings: Any) -> dict[str, torch.Tensor]:
        """ "videos" (N, 1, T, S, S) for frames (N, 1, S, S) and EFs as fractions (N,), and "seconds" for each."""
        videos, start = [], self.clock()
        requested = torch.tensor(100 * np.asarray(ef), dtype=torch.float32)
        for frames, part in zip(given.split(BATCH), requested.split(BATCH), strict=True):
            inputs = (frames.to(self.device), part.to(self.device))
            videos.append(self.inferer.predict(*inputs, self.network, draw, **settings).cpu())
        seconds = (self.clock() - start) / len(given)
        return {"videos": torch.cat(videos), "seconds": torch.tensor(seconds, dtype=torch.float64)}

    # --- the parts ---------------------------------------------------------------------------------------------------

    def ejection(self) -> Found:
        """EF requested against EF measured."""
        no_ef: dict[str, Any] = {"guidance": (0.0, 0.0)}
        draws = [self.drawn(draw) for draw in range(DRAWS)]
        sets = {"real": self.videos, "draw": draws[0], "second": draws[1], "third": draws[2]}
        sets["best"] = closest(draws, torch.from_numpy(100 * self.requested))[0]
        sets["own"] = self.own_ef()
        sets["none"] = self.cached("no_ef", lambda: self.generate(self.given, self.requested, **no_ef))["videos"]
        measured = {name: measure_ef(videos) for name, videos in sets.items()}
        shuffled, requested = np.random.default_rng(1).permutation(self.requested), self.requested
        pairs = {
            "real": ("real videos against their own EF (the instrument's own error)", self.ef, "real"),
            "draw": ("one draw", requested, "draw"),
            "second": ("second draw", requested, "second"),
            "third": ("third draw", requested, "third"),
            "best": (f"best of {DRAWS} draws, chosen by the regressor", requested, "best"),
            "own": ("one draw, the patient's own EF requested", self.ef, "own"),
            "none": ("no EF requested, guidance 0 (control)", requested, "none"),
            "shuffled": ("one draw, requests shuffled (control)", shuffled, "draw"),
        }
        values = {key: ef_agreement(ef, measured[which]) for key, (_, ef, which) in pairs.items()}
        found = Found()
        title = f"Ejection fraction in percent: {len(self.videos)} held-out patients, requested evenly on {EF_RANGE}"
        rows = [row for key, (name, _, _) in pairs.items() for row in ef_rows(name, values[key])]
        found.add(title, EF_COLUMNS, rows)
        # The README shows the first three figures.
        found.figures = {f"{name}_r2": values["draw"][name]["r2"] for name in INSTRUMENTS}
        found.figures["best_of_3_regressor_r2"] = values["best"]["regressor"]["r2"]
        names = {"draw": "", "best": "best_of_3_", "own": "own_ef_", "none": "no_ef_", "shuffled": "shuffled_"}
        for name in INSTRUMENTS:
            for which, word in names.items():
                found.figures |= {f"{word}{name}_{key}": values[which][name][key] for key in ("r2", "mae")}
            found.figures[f"{name}_r2_on_real"] = values["real"][name]["r2"]
        one, other = (found.figures[f"{name}_r2"] for name in INSTRUMENTS)
        found.figures["r2_difference"] = round(abs(one - other), 4)
        found.figures["no_ef_r2"] = max(found.figures[f"no_ef_{name}_r2"] for name in INSTRUMENTS)
        return found

    def fidelity(self) -> Found:
        """Videos of the patient's own EF against the true ones, and sets against sets."""
        videos, drawn = self.videos, self.drawn()
        held = self.given[:, :, None].expand_as(videos)
        found, rows = Found(), []
        compared = {"own EF requested": self.own_ef(), "the frame repeated": held, "another patient": videos.roll(1, 0)}
        for name, one in compared.items():
            error = round(float((one - videos).abs().mean()), 4)
            whole = round(float(np.mean(roi_ssim(one, videos))), 4)
            after = round(float(np.mean(best_shift_ssim(one, videos))), 4)
            moved = round(float(motion_energy(one).mean() / motion_energy(videos).mean()), 3)
            rows.append([name, whole, after, error, moved])
        columns = ["video", "SSIM", "SSIM, best shift in time", "L1", "motion, share of the true one"]
        title = f"Against the video that the frame came from: {len(videos)} patients; one frame tells no phase"
        found.add(title, columns, rows)
        found.figures = {"factual_ssim": rows[0][1], "repeat_ssim": rows[1][1], "other_patient_ssim": rows[2][1]}
        found.figures |= {"factual_shifted_ssim": rows[0][2], "repeat_shifted_ssim": rows[1][2]}
        found.figures |= {"motion_share": rows[0][4]}
        others, rows = stacked(self.patients_of("VAL", len(videos))), []
        for name, one in {"one draw": drawn, "the frame repeated": held}.items():
            far = frechet(one, videos, others)
            rows.append([name, *(far[kind][key] for kind in ("frames", "clips") for key in ("fid", "fid_real"))])
        columns = ["videos", "frames", "frames, real to real", "clips", "clips, real to real"]
        title = f"Frechet distance to real videos, {len(videos)} a set, features of the instruments"
        found.add(title, columns, rows)
        names = ("fid_frames", "fid_frames_real", "fid_clips", "fid_clips_real")
        found.figures |= dict(zip(names, rows[0][1:], strict=True))
        return found

    def identity(self) -> Found:
        """Identity: whether videos still show their own patient."""
        return identity(self.videos, self.drawn(), self.reid)

    def steps(self) -> Found:
        """Quality and time against the number of steps."""
        count = min(self.steps_patients, self.patients)
        requested, real, rows = self.requested[:count], self.videos[:count], []
        other = self.videos[count : 2 * count] if self.patients >= 2 * count else self.videos
        for pair in [*self.steps_of, self.inferer.settings["steps"]]:
            if pair == self.inferer.settings["steps"]:
                videos, seconds = self.drawn()[:count], self.seconds()
            else:
                videos, seconds = self.generate(self.given[:count], requested, steps=pair).values()
            values = ef_agreement(requested, measure_ef(videos))
            far = frechet(videos, real, other)
            quality = [*(values[name]["r2"] for name in INSTRUMENTS), far["frames"]["fid"], far["clips"]["fid"]]
            rows.append([*pair, sum(2 * steps - 1 for steps in pair), *quality, round(float(seconds), 3)])
        columns = ["steps", "steps of stage 2", "denoiser calls", "R2 by regressor", "R2 by discs", "frames", "clips"]
        title = f"Steps against quality: {count} patients; Frechet distances of frames and clips"
        found = Found()
        found.add(title, [*columns, "s a video"], sorted(rows, key=lambda row: row[2]))
        return found

    def memory(self) -> Found:
        """Memorisation: distances to the nearest training video, of generated and of real videos of one patient."""
        known = stacked(self.patients_of("TRAIN", TRAINING))[:, 0].numpy()
        rows: list[list[Any]] = []
        for name, one in {"one draw": self.drawn(), "real videos of the same patients": self.videos}.items():
            distances = nearest_distances(one[:, 0].numpy(), known)[0]
            rows.append([name, round(float(np.median(distances)), 4), round(float(distances.min()), 4)])
        found = Found(figures={"nearest_training_ratio": round(rows[0][1] / rows[1][1], 4)})
        title = f"Distance to the nearest of {len(known)} training videos (standardised pixels)"
        found.add(title, ["videos", "median distance", "smallest"], rows)
        return found

    def speed(self) -> Found:
        """Seconds for each video of a batch, and the pictures of the first draw."""
        drawn, seconds = self.drawn(), self.seconds()
        if self.figure:
            draw_videos(self.videos, self.given, drawn, self.ef, self.requested, self.figure)
        if self.preview:
            chosen = by_ef(self.requested, 8)
            shown = [[as_bytes(drawn[row]), as_bytes(self.videos[row])] for row in chosen]
            efs = [(100 * self.requested[row], 100 * self.ef[row]) for row in chosen]
            titles = [f"EF {one:.0f} % requested; right: the patient, {other:.0f} %" for one, other in efs]
            video_montage(shown, titles, [self.network.fps] * len(shown), self.preview)
        figures = {f"seconds_per_sample_{self.kind_of_device}": round(seconds, 4)}
        return Found(figures=figures | {"frames_per_second": round(drawn.shape[2] / seconds, 3), "batch": BATCH})

    def shortcuts(self) -> Found:
        """What could do the work alone with the same frames and requests, against videos of the EFs requested."""
        known = Known.first(self.patients_of("TRAIN", self.shown))
        count, frames = known.videos.shape[0], known.videos.shape[2]
        chosen = torch.from_numpy(np.random.default_rng(2).integers(0, frames, count))
        draw = drawn_motion(known, known.videos[torch.arange(count), :, chosen], self.given)
        real, other = (stacked(self.patients_of(s, self.patients, ef=self.requested)) for s in ("TEST", "VAL"))
        words = (
            "given frame",
            "given frame and a normal distribution of training videos less a frame of theirs",
        )
        answers = known.answers(self.given, self.requested, draw, *words)
        return shortcut_table(self.drawn(), answers, self.requested, real, other, known)


def best_shift_ssim(one: torch.Tensor, two: torch.Tensor, most: int = 8) -> np.ndarray:
    """SSIM of videos (N, 1, T, S, S) after the shift in time, of at most `most` frames, that suits each best, (N,).

    Frames that have no partner after the shift do not count.
    """
    most = min(most, one.shape[2] // 2)
    found = []
    for shift in range(-most, most + 1):
        here = one[:, :, max(0, shift) : one.shape[2] + min(0, shift)]
        there = two[:, :, max(0, -shift) : two.shape[2] + min(0, -shift)]
        found.append(roi_ssim(here, there))
    return np.max(found, axis=0)


def draw_videos(
    videos: torch.Tensor,
    given: torch.Tensor,
    generated: torch.Tensor,
    ef: np.ndarray,
    requested: np.ndarray,
    path: str | Path,
    frames: int = 6,
) -> None:
    """PNG: for five patients the frame that was given, then a strip of the generated video and of the patient's own."""
    chosen = by_ef(requested, 5)
    shown = np.linspace(0, videos.shape[2] - 1, frames).round().astype(int)
    figure = new_figure(1.2 * (frames + 1), 2.6 * len(chosen), facecolor="black")
    axes = np.atleast_2d(figure.subplots(2 * len(chosen), frames + 1))
    for number, row in enumerate(chosen):
        strips = {
            f"EF {100 * requested[row]:.0f} % requested": generated[row, 0],
            f"patient, EF {100 * ef[row]:.0f} %": videos[row, 0],
        }
        for line, (name, video) in enumerate(strips.items()):
            cells = [("the frame given" if not line else "", given[row, 0]), *((name, video[at]) for at in shown)]
            for axis, (title, picture) in zip(axes[2 * number + line], cells):
                axis.set_axis_off()
                if title:
                    axis.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1)
                    axis.set_title(title, color="white", fontsize=6)
    save_figure(figure, path, pad=0.3)
