"""Evaluation of counterfactual videos on held-out echo phantoms, whose true counterfactuals are known.

Every figure stands beside what it has to be compared with: an instrument beside its own error on the true
counterfactuals, a video beside the input that is merely copied, what was requested beside the same in another order.
Whole frames hardly change with the ejection fraction (EF), so that copying scores high there; the heart's region and
the cavity's area show the difference.
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
from synthzoo.instruments.echo.fidelity import area_curve_error, dilated_cavity, motion_energy, roi_ssim
from synthzoo.io.files import write_bytes
from synthzoo.metrics.agreement import reported

REQUESTED = (0.15, 0.85)  # of EF
APART = 0.10  # of requested and factual EF, as in training
INSTRUMENTS = ("expert", "regressor", "discs")
NAMES = {"expert": "expert (in the loss)", "regressor": "regressor (independent)", "discs": "discs (independent)"}
GAIN = 0.30  # part of the copy's error in the area curve that has to vanish
COLUMNS = ["videos", "measured by", "R2", "MAE", "RMSE", "Spearman"]


def choose_requested(ef: np.ndarray, seed: int = 0) -> np.ndarray:
    """EFs spread evenly on .15 to .85, one a video, in an order that keeps them 0.10 from those that the videos
    show."""
    rng, requested = np.random.default_rng(seed), np.linspace(*REQUESTED, len(ef))
    requested = rng.permutation(requested)
    for _ in range(100):
        near = np.flatnonzero(np.abs(requested - ef) < APART)
        if not len(near):
            break
        for one in near:
            other = int(rng.integers(len(ef)))
            requested[one], requested[other] = requested[other], requested[one]
    return requested


class CounterfactualEvaluation:
    """All figures of a counterfactual network, written as `metrics.json`, and a picture.

    Args:
        network: trained `CounterfactualTwin`.
        inferer: the bundle's, with its noise.
        patients: phantoms of TEST, one video each.
        reid: network that tells patients apart, or None: pixels alone are then compared.
        cache_dir: keeps the phantoms' videos.
        save_to: the metrics file.
        figure: PNG of videos at end diastole and end systole; None draws nothing.
        command: what a reader types to get the same numbers.
        device: where the network runs.
    """

    def __init__(
        self,
        network,
        inferer,
        patients: int = 64,
        reid=None,
        cache_dir: str | None = None,
        save_to: str = "docs/metrics.json",
        figure: str | None = None,
        command: str = "",
        device="cpu",
    ):
        self.network, self.inferer, self.reid = network.to(device).eval(), inferer, reid
        self.patients, self.cache_dir, self.command = int(patients), cache_dir, command
        self.save_to, self.figure, self.device = Path(save_to), figure, device

    def run(self) -> dict:
        """Measure, write, and return what was written."""
        settings = {"preset": "tiny", "split": "TEST", "size": self.network.image_size, "frames": self.network.frames}
        settings |= {"fps": self.network.fps, "cache_dir": self.cache_dir}
        real = EchoPhantomDataset(patients=self.patients, masks=True, **settings)
        ef = np.array([real.params(row).ef for row in range(len(real))])
        requested = choose_requested(ef)
        truth = EchoPhantomDataset(patients=self.patients, ef=requested, **settings)
        rows = [real[row] for row in range(len(real))]
        videos = torch.stack([row["video"] for row in rows])
        true = torch.stack([truth[row]["video"] for row in range(len(truth))])
        made, again, seconds = self.predict(videos, ef, requested)
        tables, figures, bars = [], {}, []
        self.ejection(videos, true, made, ef, requested, tables, figures, bars)
        self.fidelity(rows, videos, true, made, again, tables, figures, bars)
        judge_identity(videos, made, self.reid, 0.95, tables, figures, bars)
        same = self.same_world(videos[:8], ef[:8])
        figures |= {"largest_change_without_request": same, "seconds_per_video": round(seconds, 4)}
        bars.append(["requested the EF that the video shows, largest change", "0", same, same == 0])
        result = write_report(self.save_to, self.command, tables, figures, bars)
        if self.figure:
            draw_worlds(videos, made, true, rows, ef, requested, self.figure)
        return result

    def predict(self, videos, ef, requested) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Counterfactuals and reconstructions (N, 1, T, S, S), and seconds for each video."""
        made, again, start = [], [], time.perf_counter()
        with torch.no_grad():
            for row, video in enumerate(videos):
                told = [torch.tensor([100 * v[row]], dtype=torch.float32, device=self.device) for v in (ef, requested)]
                factual, other = self.inferer.predict(video[None].to(self.device), *told, self.network)
                made.append(other.cpu())
                again.append(factual.cpu())
        return torch.cat(made), torch.cat(again), (time.perf_counter() - start) / len(videos)

    def same_world(self, videos, ef) -> float:
        """Largest difference of the two worlds when the EF that is requested is the factual one."""
        told = torch.tensor(100 * ef, dtype=torch.float32, device=self.device)
        with torch.no_grad():
            factual, other = self.inferer.predict(videos.to(self.device), told, told, self.network)
        return float((factual - other).abs().max())

    def measure(self, videos) -> dict[str, np.ndarray]:
        """EF of videos as fractions by each instrument, {"expert", "regressor", "discs"}: (N,)."""
        with torch.no_grad():
            read = torch.cat([self.network.read_ef(part.to(self.device)).cpu() for part in videos.split(16)])
        return {"expert": read.numpy().astype(np.float64) / 100, **measure_ef(videos)}

    def ejection(self, videos, true, made, ef, requested, tables, figures, bars) -> None:
        """EF requested against EF measured."""
        found = {"real": self.measure(videos), "true": self.measure(true), "made": self.measure(made)}
        shuffled = np.random.default_rng(1).permutation(requested)
        pairs = {
            "real videos against their own EF": (ef, "real"),
            "counterfactuals": (requested, "made"),
            "true counterfactuals (the instrument's own error)": (requested, "true"),
            "input copied (control)": (requested, "real"),
            "counterfactuals, requests shuffled (control)": (shuffled, "made"),
        }
        rows, values = [], {}
        for title, (wanted, which) in pairs.items():
            for name in INSTRUMENTS:
                got = reported(100 * wanted, 100 * found[which][name])
                values[title, name] = got
                rows.append([title, NAMES[name], *(got[key] for key in ("r2", "mae", "rmse", "spearman"))])
        spread = f"EF requested evenly on {100 * REQUESTED[0]:.0f} to {100 * REQUESTED[1]:.0f} percent"
        title = f"Ejection fraction in percent: {len(videos)} held-out patients, {spread}"
        tables.append({"title": title, "columns": COLUMNS, "rows": rows})
        own, other = list(pairs)[:2]
        figures["expert_r2"] = values[own, "expert"]["r2"]
        figures["expert_mae"] = values[own, "expert"]["mae"]
        for name in INSTRUMENTS:
            figures |= {f"counterfactual_{name}_{key}": values[other, name][key] for key in ("r2", "mae", "spearman")}
            figures[f"{name}_r2_on_truth"] = values[list(pairs)[2], name]["r2"]
        bars += [
            ["expert on real videos, R2", "at least 0.90", figures["expert_r2"], figures["expert_r2"] >= 0.9],
            at_least("counterfactual by expert, R2", 0.5, figures["counterfactual_expert_r2"]),
            at_least("counterfactual by discs, R2", 0.3, figures["counterfactual_discs_r2"]),
            at_least("counterfactual by discs, Spearman", 0.8, figures["counterfactual_discs_spearman"]),
        ]

    def fidelity(self, rows, videos, true, made, again, tables, figures, bars) -> None:
        """Videos against the true ones, with the copied input beside."""
        at_ed = np.stack([row["mask"][0, row["ed_frame"]].numpy() > 0 for row in rows])
        region = dilated_cavity(at_ed, np.array([float(row["cm_per_pixel"]) for row in rows]))
        curves = {"counterfactual": area_curve_error(made, true), "input copied": area_curve_error(videos, true)}
        compared = {"counterfactual": (made, true), "input copied": (videos, true), "reconstruction": (again, videos)}
        table = []
        for name, (one, two) in compared.items():
            whole, heart = (float(np.nanmean(roi_ssim(one, two, part))) for part in (None, region))
            curve = round(float(np.nanmean(curves[name])), 4) if name in curves else "-"
            moved = round(float(motion_energy(one, region).mean() / motion_energy(two, region).mean()), 3)
            error = round(float((one - two).abs().mean()), 4)
            table.append([name, round(whole, 4), round(heart, 4), curve, error, moved])
        columns = ["video", "SSIM, whole frame", "SSIM, heart", "area curve MAE", "L1", "motion, share of the true one"]
        title = f"Against the true counterfactual, and the reconstruction against its video: {len(videos)} patients"
        tables.append({"title": title, "columns": columns, "rows": table})
        figures |= {"factual_ssim": table[2][1], "counterfactual_ssim": table[0][1], "copy_ssim": table[1][1]}
        figures |= {"counterfactual_roi_ssim": table[0][2], "copy_roi_ssim": table[1][2]}
        figures |= {"area_curve_mae": table[0][3], "copy_area_curve_mae": table[1][3]}
        gain = round(1 - table[0][3] / table[1][3], 4)
        figures["area_curve_gain"] = gain
        better = table[0][2] > table[1][2]
        bars += [
            at_least("reconstruction, SSIM", 0.8, table[2][1]),
            at_least("area curve, part of the copy's error that is gone", GAIN, gain),
            ["counterfactual, SSIM at the heart", f"above the copy's {table[1][2]}", table[0][2], better],
        ]


def draw_worlds(videos, made, true, rows, ef, requested, path: str | Path, patients: int = 6) -> None:
    """PNG: input, counterfactual and true counterfactual of some patients at end diastole and end systole."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    order = np.argsort(requested)
    chosen = order[np.linspace(0, len(order) - 1, min(patients, len(order))).round().astype(int)]
    names = {"input": videos, "counterfactual": made, "truth": true}
    figure = Figure(figsize=(1.7 * 6, 1.95 * len(chosen)), facecolor="black")
    FigureCanvasAgg(figure)
    axes = np.atleast_2d(figure.subplots(len(chosen), 6))
    for axis_row, row in zip(axes, chosen):
        moments = {"ED": int(rows[row]["ed_frame"]), "ES": int(rows[row]["es_frame"])}
        cells = [(f"{name}, {moment}", names[name][row, 0, at]) for moment, at in moments.items() for name in names]
        for axis, (name, picture) in zip(axis_row, cells):
            axis.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1)
            shown = 100 * (ef[row] if name.startswith("input") else requested[row])
            axis.set_title(f"{name}, EF {shown:.0f} %", color="white", fontsize=7)
            axis.set_axis_off()
    figure.tight_layout(pad=0.3)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=80, facecolor="black", metadata={"Software": None})
    write_bytes(path, buffer.getvalue())
