"""Evaluation of schedules by which an image and a video denoiser share one reverse process (JVID, arXiv 2409.14149).

The deliverable is a trade-off: each schedule makes videos from the same noise, hearts and ejection fractions (EF), for
several seeds, and each video set is judged by its single frames, by its clips, by how steady what should stand still
is, and by the EF that instruments read. The video denoiser alone and the image denoiser alone are the controls,
phantoms through the autoencoder the ceiling. Videos are kept in `work_dir`, so that a run that was killed goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.datasets.echo.phantoms import EchoPhantomDataset
from synthzoo.datasets.echo.training_clips import training_clips
from synthzoo.evaluation.report import write_report
from synthzoo.instruments.echo.ef import measure_ef
from synthzoo.instruments.echo.fidelity import flicker, frechet, motion_energy, quiet_region
from synthzoo.io.files import write_bytes
from synthzoo.metrics.agreement import reported
from synthzoo.metrics.memorisation import memorisation
from synthzoo.networks.saving import digest_of, save_atomically
from synthzoo.phantoms.echo.sets import SPLITS, Video
from synthzoo.results.video_preview import video_montage
from synthzoo.systems.jvid.inferer import JointVideoInferer
from synthzoo.systems.jvid.sampler import image_steps

ALL_V, ALL_I = "all_v", "all_i"
REQUESTED = (0.15, 0.85)  # of EF, spread evenly
AGAIN = 720  # session and noise of phantoms that nothing else was measured on
BATCH = 16
FEATURED = 8  # every how many frames of a video are looked at: neighbours are much alike
INSTRUMENTS = ("regressor", "discs")
# Bars of the design sheet, as shares of what the video denoiser reaches alone.
FRAMES_GAIN, CLIPS_LOSS, I_CLIPS, I_FLICKER, MORE_FLICKER, EF_LOSS, INSENSITIVE, SPREAD = (
    0.9,
    1.05,
    2.0,
    3.0,
    1.3,
    0.1,
    0.1,
    0.05,
)


class JointVideoEvaluation:
    """All figures of a joint sampler, written as `metrics.json`, a plot of the trade-off and a looping preview.

    Args:
        network: a `LatentVideo` whose two denoisers are trained.
        inferer: the bundle's `JointVideoInferer`; its `switch` is the schedule that ships.
        work_dir: keeps the videos that were made, in a folder for each network.
        save_to: the metrics file.
        figure: PNG of the trade-off; None draws nothing.
        preview: GIF of videos by the controls and the shipped schedule; None draws nothing.
        schedules: rules to compare, or pairs of a rule and the blur of the split; the controls and the inferer's own
            are added.
        videos: of a seed.
        seeds: of noise and of the phantoms to compare with.
        reid: `ReidNetwork` of frames, says how alike the frames of a video are; None leaves that out.
        train_size, sessions: patients and videos of each that the video denoiser learnt from.
        cache_dir: keeps phantoms.
        image_size: side of a frame in pixels.
        command: what a reader types to get the same numbers.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        inferer: JointVideoInferer,
        work_dir: str | Path,
        save_to: str | Path = "docs/metrics.json",
        figure: str | Path | None = None,
        preview: str | Path | None = None,
        schedules: Sequence[Any] = ("late(1)", "late(2)", "late(4)", "late(8)"),
        videos: int = 64,
        seeds: Sequence[int] = (0, 1, 2),
        reid: torch.nn.Module | None = None,
        train_size: int = 64,
        sessions: int = 3,
        cache_dir: str | None = None,
        image_size: int = 32,
        command: str = "",
    ):
        self.network, self.inferer, self.reid = network.eval(), inferer, reid
        self.device = next(network.parameters()).device
        self.work_dir, self.save_to = Path(work_dir) / digest_of(network), Path(save_to)
        self.figure, self.preview, self.command = figure, preview, command
        self.train_size, self.sessions, self.cache_dir = int(train_size), int(sessions), cache_dir
        self.videos, self.seeds, self.image_size = int(videos), [int(seed) for seed in seeds], int(image_size)
        own = (inferer.switch, inferer.blur)
        listed = [(rule, None) if isinstance(rule, str) else tuple(rule) for rule in schedules]
        self.schedules = list(dict.fromkeys([(ALL_V, None), (ALL_I, None), *listed, own]))
        self.own = own

    def run(self) -> dict:
        """Measure, write, and return what was written."""
        ef = {
            seed: np.random.default_rng(seed).permutation(np.linspace(*REQUESTED, self.videos)) for seed in self.seeds
        }
        real = {seed: self.phantoms(ef[seed], place) for place, seed in enumerate(self.seeds)}
        other = {seed: self.phantoms(ef[seed], place + len(self.seeds)) for place, seed in enumerate(self.seeds)}
        found = {"phantoms": self.judged(other, real, other, ef)}
        found["phantoms through the autoencoder"] = self.judged(self.restored(real), real, other, ef)
        kept = {}
        for schedule in self.schedules:
            made, seconds = self.make(schedule, ef)
            found[schedule] = self.judged(made, real, other, ef) | {"seconds": seconds}
            kept[schedule] = made[self.seeds[0]]
            row = found[schedule]
            said = (f"{key} {mean(row[key]):.4g}" for key in ("frames", "clips", "flicker", *INSTRUMENTS))
            print(named(schedule), *said, flush=True)
        tables: list[dict] = []
        figures: dict[str, Any] = {}
        bars: list[list] = []
        self.trade_off(found, tables, figures)
        self.by_seed(found, tables)
        self.copying(
            torch.cat(list(self.make(self.own, ef)[0].values())), torch.cat(list(real.values())), tables, figures
        )
        self.claims(found, figures, bars)
        result = write_report(self.save_to, self.command, tables, figures, bars)
        if self.figure:
            draw_trade_off({key: found[key] for key in self.schedules}, found["phantoms"], self.own, self.figure)
        if self.preview:
            self.draw_videos(kept, real[self.seeds[0]], ef[self.seeds[0]])
        return result

    # --- videos -------------------------------------------------------------------------------------------------------

    def phantoms(self, ef: np.ndarray, place: int) -> torch.Tensor:
        """Videos (N, 1, T, S, S) of TEST patients at chosen EFs; another `place` has other patients."""
        start, frames = SPLITS["TEST"][0] + place * self.videos, self.network.frames
        videos = [Video(start + n, AGAIN, AGAIN, "TEST", frames) for n in range(len(ef))]
        videos = EchoPhantomDataset("tiny", "TEST", videos=videos, size=self.image_size, fps=self.network.fps, ef=ef)
        return torch.stack([videos[row]["video"] for row in range(len(videos))])

    @torch.inference_mode()
    def restored(self, videos: dict[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        """Videos of each seed through the autoencoder."""
        found = {}
        for seed, clips in videos.items():
            made = self.network.autoencoder(clips.transpose(1, 2).flatten(0, 1).to(self.device)).cpu().clamp(0, 1)
            found[seed] = made.unflatten(0, (len(clips), -1)).transpose(1, 2)
        return found

    def make(self, schedule: tuple, ef: dict[int, np.ndarray]) -> tuple[dict[int, torch.Tensor], float]:
        """Videos of a schedule for each seed, and processor seconds for each video (wall time on a GPU)."""
        inferer = self.varied(schedule)
        clock = time.process_time if self.device.type == "cpu" else time.perf_counter
        made, seconds = {}, []
        settings = (inferer.steps, inferer.guidance, inferer.eta, self.videos)
        for seed in self.seeds:
            name = "_".join(str(part) for part in (*schedule, *settings, seed))
            path = self.work_dir / f"{name}.pt"
            if not path.is_file():
                began = clock()
                videos = self.sample(inferer, ef[seed], seed)
                took = (clock() - began) / len(videos)
                save_atomically({"videos": videos, "seconds": torch.tensor(took)}, path)
            kept = torch.load(path, weights_only=True)
            made[seed] = kept["videos"]
            seconds.append(float(kept["seconds"]))
        return made, float(np.mean(seconds))

    @torch.inference_mode()
    def sample(self, inferer: JointVideoInferer, ef: np.ndarray, seed: int) -> torch.Tensor:
        """Videos (N, 1, T, S, S) of EFs as fractions; the noise is the same for every schedule."""
        generator = torch.Generator().manual_seed(seed)
        channels, height, width = self.network.latent_shape
        noise = torch.randn(len(ef), channels, 1 + self.network.frames, height, width, generator=generator)
        requested = torch.tensor(100 * ef, dtype=torch.float32)[:, None]
        parts = zip(noise.split(BATCH), requested.split(BATCH))
        return torch.cat([inferer(a.to(self.device), self.network, b.to(self.device)).cpu() for a, b in parts])

    def varied(self, schedule: tuple) -> JointVideoInferer:
        """The bundle's inferer with another schedule."""
        own = self.inferer
        return JointVideoInferer(schedule[0], own.steps, own.guidance, own.eta, schedule[1], own.chunk)

    # --- judgement ---------------------------------------------------------------------------------------------------

    def judged(self, videos, real, other, ef) -> dict[str, Any]:
        """Of videos by seed: each figure as a list over the seeds; Frechet distances over all seeds as "all_..."."""
        found: dict[str, Any] = {}
        for seed, made in videos.items():
            row = {kind: value["fid"] for kind, value in frechet(made, real[seed], other[seed], FEATURED).items()}
            row["flicker"] = still_flicker(made) / still_flicker(real[seed])
            row["motion"] = float(motion_energy(made).mean() / motion_energy(real[seed]).mean())
            row["spread"] = float(made.std(0).mean() / real[seed].std(0).mean())
            read = measure_ef(made)
            row |= {name: reported(100 * ef[seed], 100 * read[name])["r2"] for name in INSTRUMENTS}
            if self.reid is not None:
                own, across = frame_similarity(self.reid.to(self.device), made)
                row |= {"similarity": float(own.mean()), "similarity_std": float(own.std()), "unseen patients": across}
            for key, value in row.items():
                found.setdefault(key, []).append(value)
        pooled = frechet(
            *(torch.cat([videos[seed] for seed in self.seeds]) for videos in (videos, real, other)), FEATURED
        )
        return found | {f"all_{kind}": value["fid"] for kind, value in pooled.items()}

    def trade_off(self, found, tables, figures) -> None:
        """A row a schedule: means over the seeds, Frechet distances of all videos."""
        rows = []
        for key, row in found.items():
            values = [row["all_frames"], row["all_clips"], *(mean(row[k]) for k in ("flicker", "motion", "spread"))]
            values += [mean(row[name]) for name in INSTRUMENTS]
            calls, seconds = "", ""
            if isinstance(key, tuple):
                chosen = sum(image_steps(key[0], self.inferer.steps))
                calls, seconds = f"{self.inferer.steps - chosen} + {chosen}", round(row["seconds"], 2)
            rows.append([named(key), *(round(value, 4) for value in values), calls, seconds])
        columns = ["schedule", "frames", "clips", "flicker", "motion", "spread", "R2 by regressor", "R2 by discs"]
        columns += ["steps, video + image", "s a video"]
        sets = f"{len(self.seeds)} seeds of {self.videos} videos"
        title = f"{sets}: Frechet distances; flicker, motion and spread as shares of the phantoms'; EF in percent"
        tables.append({"title": title, "columns": columns, "rows": rows})
        own, video = found[self.own], found[ALL_V, None]
        figures |= {"switch": named(self.own), "frames_share": round(own["all_frames"] / video["all_frames"], 4)}
        figures |= {"clips_share": round(own["all_clips"] / video["all_clips"], 4)}
        figures |= {f"ef_r2_{name}": round(mean(own[name]), 4) for name in INSTRUMENTS}
        figures |= {f"ef_r2_{name}_all_v": round(mean(video[name]), 4) for name in INSTRUMENTS}
        figures |= {"frechet_frames": own["all_frames"], "frechet_clips": own["all_clips"]}
        figures |= {"frechet_frames_all_v": video["all_frames"], "frechet_clips_all_v": video["all_clips"]}
        figures |= {"frechet_frames_phantoms": found["phantoms"]["all_frames"]}
        figures |= {"frechet_clips_phantoms": found["phantoms"]["all_clips"]}
        figures |= {"flicker": round(mean(own["flicker"]), 4), "spread": round(mean(own["spread"]), 4)}
        kind = "gpu" if self.device.type == "cuda" else "cpu"
        figures |= {f"seconds_per_sample_{kind}": round(own["seconds"], 3)}

    def by_seed(self, found, tables) -> None:
        """Shares of the video denoiser's distances, seed by seed."""
        rows, video = [], found[ALL_V, None]
        for key in self.schedules[1:]:
            shares = [np.divide(found[key][kind], video[kind]).round(3) for kind in ("frames", "clips", "flicker")]
            rows.append([named(key), *(", ".join(f"{value:g}" for value in values) for values in shares)])
        columns = ["schedule", "frames", "clips", "flicker"]
        title = f"Shares of what {ALL_V} has, seeds {', '.join(map(str, self.seeds))}"
        tables.append({"title": title, "columns": columns, "rows": rows})

    def copying(self, made, real, tables, figures) -> None:
        """Are videos nearer to those that the video denoiser learnt from than to as many that nobody learnt from?"""
        settings = {"patients": self.train_size, "sessions": self.sessions, "frames": self.network.frames}
        settings |= {"size": self.image_size, "fps": self.network.fps, "cache_dir": self.cache_dir}
        known, control = (training_clips(split=split, **settings) for split in ("train", "validation"))
        sets = [np.stack([rows[n]["video"][0].numpy() for n in range(len(rows))]) for rows in (known, control)]
        found = memorisation(made[:, 0].numpy(), sets[0], real[:, 0].numpy(), sets[1])
        rows = []
        for name, key in ((named(self.own), "generated"), ("phantoms of other patients", "held_out")):
            ahead = found["nearer_to_training" if key == "generated" else "nearer_to_training_held_out"]
            rows.append([name, found[f"{key}_median"], found[f"{key}_min"], found[f"{key}_q_median"], ahead])
        columns = [
            "videos",
            "median distance",
            "smallest",
            "over that to unseen ones",
            "share nearer to training ones",
        ]
        title = f"Copying: nearest of {len(known)} training videos, and of as many unseen ones: {found['verdict']}"
        tables.append({"title": title, "columns": columns, "rows": rows})
        figures |= {"nearer_to_training": found["nearer_to_training"], "copying_verdict": found["verdict"]}

    def claims(self, found, figures, bars) -> None:
        """What the design sheet asks for, of the shipped schedule and of the controls."""
        video, image, own = found[ALL_V, None], found[ALL_I, None], found[self.own]
        gains = {
            key: found[key]["all_frames"] / video["all_frames"]
            for key in self.schedules
            if found[key]["all_clips"] <= CLIPS_LOSS * video["all_clips"]
        }
        best = min(gains, key=gains.get)
        figures |= {"best_frames_share": round(gains[best], 4), "best_switch": named(best)}
        clips = round(image["all_clips"] / video["all_clips"], 4)
        unsteady = round(mean(image["flicker"]) / mean(video["flicker"]), 4)
        more = round(mean(own["flicker"]) / mean(video["flicker"]), 4)
        figures |= {"flicker_share": more, "all_i_clips_share": clips, "all_i_flicker_share": unsteady}
        what = f"best frames of a schedule whose clips are within {CLIPS_LOSS:g} of {ALL_V}'s, share ({named(best)})"
        bars += [
            [what, f"<= {FRAMES_GAIN:g}", round(gains[best], 4), gains[best] <= FRAMES_GAIN],
            [f"{ALL_I}, clips, share of {ALL_V}'s", f">= {I_CLIPS:g}", clips, clips >= I_CLIPS],
            [f"{ALL_I}, flicker, share of {ALL_V}'s", f">= {I_FLICKER:g}", unsteady, unsteady >= I_FLICKER],
            [f"{named(self.own)}, flicker, share of {ALL_V}'s", f"<= {MORE_FLICKER:g}", more, more <= MORE_FLICKER],
        ]
        for name in INSTRUMENTS:
            lost = round(mean(video[name]) - mean(own[name]), 4)
            what = f"{named(self.own)}, R2 of EF by {name} below {ALL_V}'s"
            bars.append([what, f"<= {EF_LOSS:g}", lost, lost <= EF_LOSS])
        insensitive = round(max(mean(image[name]) for name in INSTRUMENTS), 4)
        spread = round(abs(mean(own["spread"]) - 1), 4)
        bars += [
            [f"{ALL_I}, larger R2 of EF of both", f"<= {INSENSITIVE:g}", insensitive, insensitive <= INSENSITIVE],
            [f"{named(self.own)}, spread of pixels off the phantoms'", f"<= {SPREAD:g}", spread, spread <= SPREAD],
        ]
        if self.reid is not None:
            alike, real = mean(own["similarity"]), found["phantoms"]
            off = round(abs(alike - mean(real["similarity"])) / mean(real["similarity_std"]), 4)
            figures |= {"similarity_off": off}
            what = f"{named(self.own)}, similarity of a video's frames off the phantoms', in their standard deviations"
            bars.append([what, "<= 1", off, off <= 1])

    def draw_videos(self, kept, real, ef, count: int = 4) -> None:
        """GIF: videos of low to high EF by the video denoiser, the shipped schedule, the image denoiser; a phantom."""
        order = np.argsort(ef)
        rows = order[np.linspace(0, len(ef) - 1, min(count, len(ef))).round().astype(int)]
        sets = [kept[ALL_V, None], kept[self.own], kept[ALL_I, None], real]
        shown = [[(255 * videos[row, 0].clamp(0, 1)).round().byte().numpy() for videos in sets] for row in rows]
        titles = [f"EF {100 * ef[row]:.0f} %: {ALL_V} | {named(self.own)} | {ALL_I} | phantom" for row in rows]
        video_montage(shown, titles, [self.network.fps] * len(rows), self.preview, columns=1)


def named(schedule: tuple | str) -> str:
    """What a table calls a schedule."""
    if isinstance(schedule, str):
        return schedule
    return schedule[0] if schedule[1] is None else f"{schedule[0]}, split at {schedule[1]:g}"


def mean(values: Sequence[float]) -> float:
    """The mean over the seeds."""
    return float(np.mean(values))


def still_flicker(videos: torch.Tensor) -> float:
    """Mean flicker of videos (N, 1, T, S, S) where the heart does not reach."""
    return float(np.nanmean(flicker(videos, quiet_region(videos))))


@torch.inference_mode()
def frame_similarity(reid: torch.nn.Module, videos: torch.Tensor) -> tuple[np.ndarray, float]:
    """How surely frame 0 and each later frame show one patient, the mean over these, (N,) logits; and frame 0 of one
    video and the middle frame of another, a number, the control.

    Args:
        reid: has `logits(embeddings, embeddings)` of frames (N, 1, S, S).
        videos: (N, 1, T, S, S) in [0, 1].
    """
    device, frames = next(reid.parameters()).device, videos.shape[2]
    embedded = reid(videos.transpose(1, 2).flatten(0, 1).to(device)).unflatten(0, (len(videos), frames))
    own = np.stack([reid.logits(clip[:1], clip[1:])[0].cpu().numpy() for clip in embedded]).mean(1)
    across = reid.logits(embedded[:, 0], embedded[:, frames // 2].roll(1, 0)).diagonal()
    return own, float(across.mean())


def draw_trade_off(found: dict, phantoms: dict, own: tuple, path: str | Path) -> None:
    """PNG: frames against clips, and frames against flicker, a point a schedule; bars span the seeds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5))
    FigureCanvasAgg(figure)
    titles = {"clips": "Frechet distance of clips", "flicker": "flicker, share of the phantoms'"}
    for axis, (kind, title) in zip(figure.subplots(1, 2), titles.items()):
        for schedule, row in found.items():
            x, y = row[kind], row["frames"]
            colour = "tab:red" if schedule == own else "tab:blue"
            reach = [[[mean(v) - min(v)], [max(v) - mean(v)]] for v in (x, y)]
            axis.errorbar(mean(x), mean(y), reach[1], reach[0], fmt="o", color=colour, alpha=0.8, capsize=2)
            axis.annotate(named(schedule), (mean(x), mean(y)), (4, 4), textcoords="offset points", fontsize=7)
        axis.plot(mean(phantoms[kind]), mean(phantoms["frames"]), "k*", markersize=10)
        axis.annotate("other phantoms", (mean(phantoms[kind]), mean(phantoms["frames"])), (6, -10),
                      textcoords="offset points", fontsize=7)  # fmt: skip
        axis.set(xlabel=title, ylabel="Frechet distance of frames")
        axis.grid(alpha=0.3)
    figure.tight_layout()
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    write_bytes(path, buffer.getvalue())
