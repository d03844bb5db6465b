"""Evaluation of videos that were predicted around one frame of held-out echo phantoms.

Every figure stands beside what it has to be compared with: videos beside real ones that the same instrument read, the
best of three draws beside one, an ejection fraction (EF) that was requested beside one in another order and beside none
at all, a video beside its frame shown again and again.
"""

from __future__ import annotations

import time
from io import BytesIO
from pathlib import Path

import numpy as np
import torch

from synthzoo.datasets.echo.phantoms import EchoPhantomDataset
from synthzoo.evaluation.identity import judge_identity
from synthzoo.evaluation.report import at_least, write_report
from synthzoo.instruments.echo.ef import measure_ef
from synthzoo.instruments.echo.fidelity import frechet, motion_energy, roi_ssim
from synthzoo.io.files import write_bytes
from synthzoo.metrics.agreement import reported
from synthzoo.metrics.memorisation import nearest_distances
from synthzoo.results.video_preview import video_montage
from synthzoo.systems.echodiffusion.inferer import closest

INSTRUMENTS = ("regressor", "discs")
DRAWS = 3
BATCH = 8
TRAINING = 512  # videos that the nearest neighbours are looked for among

REQUESTED = (0.15, 0.85)  # of EF, spread evenly


class CascadeEvaluation:
    """All figures of a cascade, written as `metrics.json`, a picture and a looping preview.

    Args:
        network: trained `EchoCascade`.
        inferer: the bundle's `CineInferer`.
        patients: phantoms of TEST, one video and one frame of it each.
        reid: network that tells patients apart, or None: pixels alone are then compared.
        steps_of: pairs of noise levels of the two stages that are compared, beside the inferer's own.
        steps_patients: patients of that comparison.
        cache_dir: keeps the phantoms' videos.
        save_to: the metrics file.
        figure: PNG of a frame and its videos; None draws nothing.
        preview: GIF of videos; None draws nothing.
        command: what a reader types to get the same numbers.
        device: where the network runs.
    """

    def __init__(
        self,
        network,
        inferer,
        patients: int = 64,
        reid=None,
        steps_of=((4, 2), (8, 4), (16, 8), (32, 32)),
        steps_patients: int = 32,
        cache_dir: str | None = None,
        save_to: str = "docs/metrics.json",
        figure: str | None = None,
        preview: str | None = None,
        command: str = "",
        device="cpu",
    ):
        self.network, self.inferer, self.reid = network.to(device).eval(), inferer, reid
        self.patients, self.cache_dir, self.command = int(patients), cache_dir, command
        self.steps_of, self.steps_patients = [tuple(pair) for pair in steps_of], int(steps_patients)
        self.save_to, self.figure, self.preview, self.device = Path(save_to), figure, preview, device
        self.inferer.progress = False

    def run(self) -> dict:
        """Measure, write, and return what was written."""
        real = self.phantoms("TEST", self.patients)
        ef = np.array([real.params(row).ef for row in range(len(real))])
        videos = torch.stack([real[row]["video"] for row in range(len(real))])
        rng = np.random.default_rng(0)
        requested = rng.permutation(np.linspace(*REQUESTED, len(ef)))
        given = videos[torch.arange(len(videos)), :, torch.from_numpy(rng.integers(0, videos.shape[2], len(videos)))]
        draws, seconds = [], 0.0
        for draw in range(DRAWS):
            made, took = self.predict(given, requested, draw)
            draws.append(made)
            seconds += took / DRAWS
        again = self.predict(given, ef)[0]
        aimless = self.predict(given, requested, guidance=(0.0, 0.0))[0]
        best = closest(draws, torch.from_numpy(100 * requested))[0]
        tables: list[dict] = []
        figures: dict[str, float] = {}
        bars: list[list] = []
        sets = {"made": draws[0], "second": draws[1], "third": draws[2], "best": best, "again": again, "none": aimless}
        self.ejection(videos, sets, ef, requested, tables, figures, bars)
        self.fidelity(videos, given, draws[0], again, tables, figures, bars)
        judge_identity(videos, draws[0], self.reid, 0.9, tables, figures, bars)
        self.steps(videos, given, requested, draws[0], seconds, tables, figures)
        self.memory(videos, draws[0], tables, figures)
        kind = "gpu" if torch.device(self.device).type == "cuda" else "cpu"
        figures |= {f"seconds_per_sample_{kind}": round(seconds, 4)}
        figures |= {"frames_per_second": round(videos.shape[2] / seconds, 3), "batch": BATCH}
        result = write_report(self.save_to, self.command, tables, figures, bars)
        if self.figure:
            draw_videos(videos, given, draws[0], ef, requested, self.figure)
        if self.preview:
            chosen = np.argsort(requested)[
                np.linspace(0, len(requested) - 1, min(8, len(requested))).round().astype(int)
            ]
            shown = [[_bytes(draws[0][row]), _bytes(videos[row])] for row in chosen]
            titles = [
                f"EF {100 * requested[row]:.0f} % requested; right: the patient, {100 * ef[row]:.0f} %"
                for row in chosen
            ]
            video_montage(shown, titles, [self.network.fps] * len(shown), self.preview)
        return result

    def phantoms(self, split: str, patients: int) -> EchoPhantomDataset:
        """Videos of one split, at the network's size and rate."""
        network = self.network
        settings = {
            "size": network.image_size,
            "frames": network.frames,
            "fps": network.fps,
            "cache_dir": self.cache_dir,
        }
        return EchoPhantomDataset("tiny", split, patients, **settings)

    def predict(self, given, ef, draw: int = 0, **settings) -> tuple[torch.Tensor, float]:
        """Videos (N, 1, T, S, S) for frames (N, 1, S, S) and EFs as fractions (N,), and seconds for each video."""
        # On a CPU its own time, so that what else runs there does not count.
        clock = time.process_time if torch.device(self.device).type == "cpu" else time.perf_counter
        made, start = [], clock()
        wanted = torch.tensor(100 * np.asarray(ef), dtype=torch.float32)
        for frames, part in zip(given.split(BATCH), wanted.split(BATCH), strict=True):
            there = (frames.to(self.device), part.to(self.device))
            made.append(self.inferer.predict(*there, self.network, draw, **settings).cpu())
        return torch.cat(made), (clock() - start) / len(given)

    def ejection(self, videos, sets, ef, requested, tables, figures, bars) -> None:
        """EF requested against EF measured."""
        found = {name: measure_ef(made) for name, made in {"real": videos, **sets}.items()}
        shuffled = np.random.default_rng(1).permutation(requested)
        pairs = {
            "real videos against their own EF (the instrument's own error)": (ef, "real"),
            "one draw": (requested, "made"),
            "second draw": (requested, "second"),
            "third draw": (requested, "third"),
            f"best of {DRAWS} draws, chosen by the regressor": (requested, "best"),
            "one draw, the patient's own EF requested": (ef, "again"),
            "EF left out, guidance 0 (control)": (requested, "none"),
            "one draw, requests shuffled (control)": (shuffled, "made"),
        }
        rows, values = [], {}
        for title, (wanted, which) in pairs.items():
            for name in INSTRUMENTS:
                got = reported(100 * wanted, 100 * found[which][name])
                values[which if title.find("shuffled") < 0 else "shuffled", name] = got
                rows.append([title, name, *(got[key] for key in ("r2", "mae", "rmse", "spearman"))])
        spread = f"requested evenly on {100 * REQUESTED[0]:.0f} to {100 * REQUESTED[1]:.0f} percent"
        title = f"Ejection fraction in percent: {len(videos)} held-out patients, {spread}"
        columns = ["videos", "measured by", "R2", "MAE", "RMSE", "Spearman"]
        tables.append({"title": title, "columns": columns, "rows": rows})
        names = {"made": "", "best": "best_of_3_", "again": "own_ef_", "none": "no_ef_", "shuffled": "shuffled_"}
        figures |= {
            f"{name}_r2": values["made", name]["r2"] for name in INSTRUMENTS
        }  # the README shows the first three
        figures["best_of_3_regressor_r2"] = values["best", "regressor"]["r2"]
        for name in INSTRUMENTS:
            for which, word in names.items():
                figures |= {f"{word}{name}_{key}": values[which, name][key] for key in ("r2", "mae")}
            figures[f"{name}_r2_on_real"] = values["real", name]["r2"]
        one, other = figures["regressor_r2"], figures["discs_r2"]
        none = max(figures[f"no_ef_{name}_r2"] for name in INSTRUMENTS)
        bars += [
            at_least("one draw by the regressor, R2", 0.5, one),
            ["one draw by discs, R2", "within 0.15 of the regressor's", other, abs(one - other) <= 0.15],
            ["EF left out, larger R2 of both", "at most 0.1", none, none <= 0.1],
        ]

    def fidelity(self, videos, given, made, again, tables, figures, bars) -> None:
        """Videos of the patient's own EF against the true ones, and sets against sets."""
        held = given[:, :, None].expand_as(videos)
        other = videos.roll(1, 0)
        rows = []
        compared = {"own EF requested": again, "the frame repeated": held, "another patient": other}
        for name, one in compared.items():
            error = round(float((one - videos).abs().mean()), 4)
            whole = round(float(np.mean(roi_ssim(one, videos))), 4)
            after = round(float(np.mean(best_shift_ssim(one, videos))), 4)
            moved = round(float(motion_energy(one).mean() / motion_energy(videos).mean()), 3)
            rows.append([name, whole, after, error, moved])
        columns = ["video", "SSIM", "SSIM, best shift in time", "L1", "motion, share of the true one"]
        title = f"Against the video that the frame came from: {len(videos)} patients; one frame tells no phase"
        tables.append({"title": title, "columns": columns, "rows": rows})
        figures |= {"factual_ssim": rows[0][1], "repeat_ssim": rows[1][1], "other_patient_ssim": rows[2][1]}
        figures |= {"factual_shifted_ssim": rows[0][2], "repeat_shifted_ssim": rows[1][2], "motion_share": rows[0][4]}
        met = rows[0][1] > rows[1][1]
        bars.append(["own EF requested, SSIM", f"above the repeated frame's {rows[1][1]}", rows[0][1], met])
        others = self.phantoms("VAL", len(videos))
        others = torch.stack([others[row]["video"] for row in range(len(others))])
        rows = []
        for name, one in {"one draw": made, "the frame repeated": held}.items():
            found = frechet(one, videos, others)
            rows.append([name, *(found[kind][key] for kind in ("frames", "clips") for key in ("fid", "fid_real"))])
        columns = ["videos", "frames", "frames, real to real", "clips", "clips, real to real"]
        title = f"Frechet distance to real videos, {len(videos)} a set, features of the instruments"
        tables.append({"title": title, "columns": columns, "rows": rows})
        figures |= {"fid_frames": rows[0][1], "fid_frames_real": rows[0][2]}
        figures |= {"fid_clips": rows[0][3], "fid_clips_real": rows[0][4]}

    def steps(self, videos, given, requested, own, seconds, tables, figures) -> None:
        """Quality and time against the number of steps."""
        count = min(self.steps_patients, len(videos))
        rows = []
        for pair in [*self.steps_of, self.inferer.settings["steps"]]:
            if pair == self.inferer.settings["steps"]:
                made, took = own[:count], seconds
            else:
                made, took = self.predict(given[:count], requested[:count], steps=pair)
            read = measure_ef(made)
            r2 = [reported(100 * requested[:count], 100 * read[name])["r2"] for name in INSTRUMENTS]
            distance = frechet(made, videos[:count], videos[count : 2 * count] if len(videos) >= 2 * count else videos)
            calls = sum(2 * steps - 1 for steps in pair)
            rows.append([*pair, calls, *r2, distance["frames"]["fid"], distance["clips"]["fid"], round(took, 3)])
        columns = ["steps", "steps of stage 2", "denoiser calls", "R2 by regressor", "R2 by discs", "frames", "clips"]
        title = f"Steps against quality: {count} patients; Frechet distances of frames and clips"
        tables.append(
            {"title": title, "columns": [*columns, "s a video"], "rows": sorted(rows, key=lambda row: row[2])}
        )

    def memory(self, videos, made, tables, figures) -> None:
        """Are videos nearer to training videos than real videos of the same patients are?"""
        training = self.phantoms("TRAIN", TRAINING)
        known = torch.stack([training[row]["video"] for row in range(len(training))])[:, 0].numpy()
        rows, share = [], {}
        for name, one in {"one draw": made, "real videos of the same patients": videos}.items():
            distances = nearest_distances(one[:, 0].numpy(), known)[0]
            share[name] = distances
            rows.append([name, round(float(np.median(distances)), 4), round(float(distances.min()), 4)])
        ratio = round(rows[0][1] / rows[1][1], 4)
        columns = ["videos", "median distance", "smallest"]
        title = f"Distance to the nearest of {len(known)} training videos (standardised pixels)"
        tables.append({"title": title, "columns": columns, "rows": rows})
        figures["nearest_training_ratio"] = ratio


def best_shift_ssim(one: torch.Tensor, two: torch.Tensor, most: int = 8) -> np.ndarray:
    """SSIM of videos (N, 1, T, S, S) after the shift in time, of at most `most` frames, that suits each best, (N,).

    Frames that have no partner after the shift are left out.
    """
    most = min(most, one.shape[2] // 2)
    found = []
    for shift in range(-most, most + 1):
        here = one[:, :, max(0, shift) : one.shape[2] + min(0, shift)]
        there = two[:, :, max(0, -shift) : two.shape[2] + min(0, -shift)]
        found.append(roi_ssim(here, there))
    return np.max(found, axis=0)


def _bytes(video: torch.Tensor) -> np.ndarray:
    """A video (1, T, S, S) in [0, 1] as uint8 (T, S, S)."""
    return (255 * video[0].clamp(0, 1)).round().byte().numpy()


def draw_videos(videos, given, made, ef, requested, path: str | Path, patients: int = 5, frames: int = 6) -> None:
    """PNG: for some patients the frame that was given, then a video strip that was made and the patient's own."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    order = np.argsort(requested)
    chosen = order[np.linspace(0, len(order) - 1, min(patients, len(order))).round().astype(int)]
    shown = np.linspace(0, videos.shape[2] - 1, frames).round().astype(int)
    figure = Figure(figsize=(1.2 * (frames + 1), 2.6 * len(chosen)), facecolor="black")
    FigureCanvasAgg(figure)
    axes = np.atleast_2d(figure.subplots(2 * len(chosen), frames + 1))
    for number, row in enumerate(chosen):
        strips = {
            f"EF {100 * requested[row]:.0f} % requested": made[row, 0],
            f"patient, EF {100 * ef[row]:.0f} %": videos[row, 0],
        }
        for line, (name, video) in enumerate(strips.items()):
            cells = [("the frame given" if not line else "", given[row, 0]), *((name, video[at]) for at in shown)]
            for axis, (title, picture) in zip(axes[2 * number + line], cells):
                axis.set_axis_off()
                if title:
                    axis.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1)
                    axis.set_title(title, color="white", fontsize=6)
    figure.tight_layout(pad=0.3)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=80, facecolor="black", metadata={"Software": None})
    write_bytes(path, buffer.getvalue())
