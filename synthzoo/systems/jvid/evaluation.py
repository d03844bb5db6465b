"""Evaluation of schedules by which an image and a video denoiser share one reverse process (JVID, arXiv 2409.14149).

The deliverable is a trade-off: each schedule generates videos from the same noise, reference latents and ejection
fractions (EF), for several seeds, and each set of videos is judged by its single frames, by its clips, by how steady
what should stand still is, and by the EF that instruments read. The video denoiser alone and the image denoiser alone
are the controls, phantoms through the autoencoder the ceiling; rules that were never trained stand beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.evaluation.base import Found
from synthzoo.evaluation.echo import INSTRUMENTS, EchoEvaluation, as_bytes, by_ef, ef_agreement, requested_efs, stacked
from synthzoo.evaluation.echo_shortcuts import Known, latent_shortcuts
from synthzoo.evaluation.pictures import new_figure, save_figure
from synthzoo.instruments.echo.ef import measure_ef
from synthzoo.instruments.echo.fidelity import flicker, frechet, motion_energy, still_region
from synthzoo.metrics.memorisation import memorisation
from synthzoo.results.video_preview import video_montage
from synthzoo.systems.jvid.inferer import JointVideoInferer
from synthzoo.systems.jvid.sampler import image_steps

ALL_V, ALL_I = "all_v", "all_i"  # the video denoiser alone, the image denoiser alone
PHANTOMS, RESTORED = "phantoms", "phantoms through the autoencoder"
BATCH = 16
FEATURED = 8  # every how many frames of a video are looked at: neighbours are much alike
Schedule = tuple[str, Any]  # rule, and the blur of the split or None


class JointVideoEvaluation(EchoEvaluation):
    """All figures of a joint sampler, a plot of the trade-off and a looping preview.

    Args:
        inferer: the bundle's `JointVideoInferer`; its `switch` is the schedule that ships.
        figure: PNG of the trade-off; None draws nothing.
        preview: GIF of videos by the controls and the shipped schedule; None draws nothing.
        schedules: rules to compare, or pairs of a rule and the blur of the split; the controls and the inferer's own
            are added.
        clips_share: Frechet distance of clips, as a share of the video denoiser's, up to which a schedule counts among
            those of which the best frames are reported.
        videos: of a seed.
        seeds: of noise and of the phantoms to compare with.
        reid: `ReidNetwork` of frames, which measures how similar the frames of a video are; None leaves that out.
        shared: see `EchoEvaluation`.
    """

    PARTS = ("schedules", "copying", "shortcuts")
    SESSION = 720

    def __init__(
        self,
        inferer: JointVideoInferer,
        figure: str | Path | None = None,
        preview: str | Path | None = None,
        schedules: Sequence[Any] = ("late(1)", "late(2)", "late(4)", "late(8)"),
        clips_share: float = 1.05,
        videos: int = 64,
        seeds: Sequence[int] = (0, 1, 2),
        reid: torch.nn.Module | None = None,
        **shared: Any,
    ) -> None:
        settings = {"schedules": list(schedules), "clips_share": clips_share, "videos": videos, "seeds": list(seeds)}
        super().__init__(settings | {"reid": reid is not None}, inferer=inferer, **shared)
        self.figure, self.preview, self.clips_share, self.reid = figure, preview, float(clips_share), reid
        self.videos, self.seeds, self.own = int(videos), [int(seed) for seed in seeds], (inferer.switch, inferer.blur)
        listed = [(rule, None) if isinstance(rule, str) else tuple(rule) for rule in schedules]
        self.rules: list[Schedule] = list(dict.fromkeys([(ALL_V, None), (ALL_I, None), *listed, self.own]))
        self.ef = {seed: requested_efs(self.videos, seed) for seed in self.seeds}

    # --- what the parts share ----------------------------------------------------------------------------------------

    def real(self, place: int = 0) -> dict[int, torch.Tensor]:
        """Phantoms (N, 1, T, S, S) of the requested EFs by seed; `place` 1 has other patients than 0."""
        first = place * len(self.seeds) * self.videos
        return {s: self.phantoms_of(self.ef[s], first=first + n * self.videos) for n, s in enumerate(self.seeds)}

    def generate(self, schedule: Schedule) -> tuple[dict[int, torch.Tensor], float]:
        """Videos of a schedule by seed, and seconds for each video by `clock`."""
        found = {seed: self.generated(schedule, seed) for seed in self.seeds}
        seconds = [float(one["seconds"]) for one in found.values()]
        return {seed: one["videos"] for seed, one in found.items()}, float(np.mean(seconds))

    def generated(self, schedule: Schedule, seed: int) -> dict[str, torch.Tensor]:
        """ "videos" (N, 1, T, S, S) of a schedule and a seed, and "seconds" for each; kept as a file."""
        inferer = self.inferer.varied(switch=schedule[0], blur=schedule[1])
        name = "_".join(str(part) for part in (*schedule, seed))
        return self.cached(name, partial(self.timed, inferer, self.ef[seed], seed))

    @torch.inference_mode()
    def timed(self, inferer: JointVideoInferer, ef: np.ndarray, seed: int) -> dict[str, torch.Tensor]:
        """ "videos" (N, 1, T, S, S) of EFs as fractions and "seconds" a video; every schedule has the same noise."""
        generator = torch.Generator().manual_seed(seed)
        channels, height, width = self.network.latent_shape
        began = self.clock()
        noise = torch.randn(len(ef), channels, 1 + self.network.frames, height, width, generator=generator)
        requested = torch.tensor(100 * ef, dtype=torch.float32)[:, None]
        parts = zip(noise.split(BATCH), requested.split(BATCH))
        videos = [inferer(a.to(self.device), self.network, b.to(self.device))["pred"].cpu() for a, b in parts]
        return {"videos": torch.cat(videos), "seconds": torch.tensor((self.clock() - began) / len(ef))}

    def judged(self, videos: Mapping, real: Mapping, other: Mapping) -> dict[str, Any]:
        """Of videos by seed: each figure as a list over the seeds; Frechet distances over all seeds as "all_..."."""
        found: dict[str, Any] = {}
        for seed, own in videos.items():
            row = {kind: value["fid"] for kind, value in frechet(own, real[seed], other[seed], FEATURED).items()}
            row["flicker"] = still_flicker(own) / still_flicker(real[seed])
            row["motion"] = float(motion_energy(own).mean() / motion_energy(real[seed]).mean())
            row["std"] = float(own.std(0).mean() / real[seed].std(0).mean())
            row |= {name: values["r2"] for name, values in ef_agreement(self.ef[seed], measure_ef(own)).items()}
            if self.reid is not None:
                similar, across = frame_similarity(self.reid.to(self.device), own)
                row |= {"similarity": float(similar.mean()), "similarity_std": float(similar.std())}
                row["similarity_across"] = across
            for key, value in row.items():
                found.setdefault(key, []).append(value)
        made, held, floor = (torch.cat([one[seed] for seed in self.seeds]) for one in (videos, real, other))
        return found | {f"all_{kind}": value["fid"] for kind, value in frechet(made, held, floor, FEATURED).items()}

    # --- the parts ---------------------------------------------------------------------------------------------------

    def schedules(self) -> Found:
        """Each schedule, its trade-off between frames and clips, and what depends on it."""
        real, other = self.real(), self.real(1)
        found: dict[Any, dict[str, Any]] = {PHANTOMS: self.judged(other, real, other)}
        restored = {seed: self.restored(videos) for seed, videos in real.items()}
        found[RESTORED] = self.judged(restored, real, other)
        for schedule in self.rules:
            videos, seconds = self.generate(schedule)
            found[schedule] = self.judged(videos, real, other) | {"seconds": seconds}
            row = found[schedule]
            shown = (f"{key} {mean(row[key]):.4g}" for key in ("frames", "clips", "flicker", *INSTRUMENTS))
            print(named(schedule), *shown, flush=True)
        part = Found()
        self.trade_off(found, part)
        self.by_seed(found, part)
        self.shares(found, part)
        if self.figure:
            draw_trade_off({key: found[key] for key in self.rules}, found[PHANTOMS], self.own, self.figure)
        if self.preview:
            self.draw_videos(real[self.seeds[0]])
        return part

    def trade_off(self, found: Mapping, part: Found) -> None:
        """A row a schedule: means over the seeds, Frechet distances of all videos."""
        rows = []
        for key, row in found.items():
            values = [row["all_frames"], row["all_clips"], *(mean(row[k]) for k in ("flicker", "motion", "std"))]
            values += [mean(row[name]) for name in INSTRUMENTS]
            calls, seconds = "", ""
            if isinstance(key, tuple):
                chosen = sum(image_steps(key[0], self.inferer.steps))
                calls, seconds = f"{self.inferer.steps - chosen} + {chosen}", round(row["seconds"], 2)
            rows.append([named(key), *(round(value, 4) for value in values), calls, seconds])
        columns = ["schedule", "frames", "clips", "flicker", "motion", "std of pixels", "R2 by regressor"]
        columns += ["R2 by discs", "steps, video + image", "s a video"]
        sets = f"{len(self.seeds)} seeds of {self.videos} videos"
        title = f"{sets}: Frechet distances; flicker, motion and standard deviation (std) as shares of the phantoms'"
        part.add(f"{title}; EF in percent", columns, rows)
        own, video, real = found[self.own], found[ALL_V, None], found[PHANTOMS]
        part.figures |= {"switch": named(self.own), "frames_share": round(own["all_frames"] / video["all_frames"], 4)}
        part.figures |= {"clips_share": round(own["all_clips"] / video["all_clips"], 4)}
        part.figures |= {f"ef_r2_{name}": round(mean(own[name]), 4) for name in INSTRUMENTS}
        part.figures |= {f"ef_r2_{name}_all_v": round(mean(video[name]), 4) for name in INSTRUMENTS}
        for ending, row in (("", own), ("_all_v", video), ("_phantoms", real)):
            part.figures |= {f"frechet_{kind}{ending}": row[f"all_{kind}"] for kind in ("frames", "clips")}
        part.figures |= {"flicker": round(mean(own["flicker"]), 4), "std": round(mean(own["std"]), 4)}
        part.figures |= {f"seconds_per_sample_{self.kind_of_device}": round(own["seconds"], 3)}

    def by_seed(self, found: Mapping, part: Found) -> None:
        """Shares of the video denoiser's distances, seed by seed."""
        rows, video = [], found[ALL_V, None]
        for key in self.rules[1:]:
            shares = [np.divide(found[key][kind], video[kind]).round(3) for kind in ("frames", "clips", "flicker")]
            rows.append([named(key), *(", ".join(f"{value:g}" for value in values) for values in shares)])
        title = f"Shares of what {ALL_V} has, seeds {', '.join(map(str, self.seeds))}"
        part.add(title, ["schedule", "frames", "clips", "flicker"], rows)

    def shares(self, found: Mapping, part: Found) -> None:
        """Figures of the shipped schedule and of the controls that the acceptance criteria ask for."""
        video, image, own = found[ALL_V, None], found[ALL_I, None], found[self.own]
        gains = {
            key: found[key]["all_frames"] / video["all_frames"]
            for key in self.rules
            if found[key]["all_clips"] <= self.clips_share * video["all_clips"]
        }
        best = min(gains, key=gains.get)
        part.figures |= {"best_frames_share": round(gains[best], 4), "best_switch": named(best)}
        part.figures |= {"flicker_share": round(mean(own["flicker"]) / mean(video["flicker"]), 4)}
        part.figures |= {"all_i_clips_share": round(image["all_clips"] / video["all_clips"], 4)}
        part.figures |= {"all_i_flicker_share": round(mean(image["flicker"]) / mean(video["flicker"]), 4)}
        part.figures |= {f"ef_r2_{n}_below_all_v": round(mean(video[n]) - mean(own[n]), 4) for n in INSTRUMENTS}
        part.figures |= {"all_i_ef_r2": round(max(mean(image[name]) for name in INSTRUMENTS), 4)}
        part.figures |= {"std_off": round(abs(mean(own["std"]) - 1), 4)}
        if self.reid is not None:
            real = found[PHANTOMS]
            off = abs(mean(own["similarity"]) - mean(real["similarity"])) / mean(real["similarity_std"])
            part.figures |= {"similarity_off": round(off, 4)}

    def copying(self) -> Found:
        """Memorisation: distances to the videos that the video denoiser was trained on, and to as many unseen ones."""
        own, real = (torch.cat(list(one.values()))[:, 0].numpy() for one in (self.generate(self.own)[0], self.real()))
        sets = [self.clips(split, self.train_size, self.sessions) for split in ("train", "validation")]
        known, unseen = (stacked(rows)[:, 0].numpy() for rows in sets)
        found = memorisation(own, known, real, unseen)
        rows = []
        for name, key in ((named(self.own), "generated"), ("phantoms of other patients", "held_out")):
            ahead = found["nearer_to_training" if key == "generated" else "nearer_to_training_held_out"]
            rows.append([name, found[f"{key}_median"], found[f"{key}_min"], found[f"{key}_q_median"], ahead])
        columns = ["videos", "median distance", "smallest", "over that to unseen ones", "share nearer to training ones"]
        title = f"Copying: nearest of {len(known)} training videos, and of as many unseen ones: {found['verdict']}"
        figures = {"nearer_to_training": found["nearer_to_training"], "copying_verdict": found["verdict"]}
        part = Found(figures=figures)
        part.add(title, columns, rows)
        return part

    def shortcuts(self) -> Found:
        """What could do the work of the shipped schedule alone, on the requests of the first seed."""
        seed, others = self.seeds[0], len(self.seeds) * self.videos
        ef, generated = self.ef[seed], self.generated(self.own, seed)["videos"]
        real, other = (self.phantoms_of(ef, first=first) for first in (0, others))
        known = Known.first(self.clips("train", self.train_size, self.sessions), self.shown)
        return latent_shortcuts(self.network, generated, ef, real, other, known, FEATURED)

    def draw_videos(self, real: torch.Tensor) -> None:
        """GIF: videos of low to high EF by the video denoiser, the shipped schedule, the image denoiser; a phantom."""
        first = self.seeds[0]
        chosen = by_ef(self.ef[first], 4)
        sets = [*(self.generate(rule)[0][first] for rule in ((ALL_V, None), self.own, (ALL_I, None))), real]
        shown = [[as_bytes(videos[row]) for videos in sets] for row in chosen]
        names = f"{ALL_V} | {named(self.own)} | {ALL_I} | phantom"
        titles = [f"EF {100 * self.ef[first][row]:.0f} %: {names}" for row in chosen]
        video_montage(shown, titles, [self.network.fps] * len(chosen), self.preview, columns=1)


def named(schedule: Schedule | str) -> str:
    """Name of a schedule in a table."""
    if isinstance(schedule, str):
        return schedule
    return schedule[0] if schedule[1] is None else f"{schedule[0]}, split at {schedule[1]:g}"


def mean(values: Sequence[float]) -> float:
    """The mean over the seeds."""
    return float(np.mean(values))


def still_flicker(videos: torch.Tensor) -> float:
    """Mean flicker of videos (N, 1, T, S, S) where the heart does not reach."""
    return float(np.nanmean(flicker(videos, still_region(videos))))


@torch.inference_mode()
def frame_similarity(reid: torch.nn.Module, videos: torch.Tensor) -> tuple[np.ndarray, float]:
    """Scores of frame 0 against each later frame as one patient, the mean over these, (N,) logits; and frame 0 of one
    video against the frame in the middle of another, a number, the control.

    Args:
        reid: has `logits(embeddings, embeddings)` of frames (N, 1, S, S).
        videos: (N, 1, T, S, S) in [0, 1].
    """
    device, frames = next(reid.parameters()).device, videos.shape[2]
    embedded = reid(videos.transpose(1, 2).flatten(0, 1).to(device)).unflatten(0, (len(videos), frames))
    own = np.stack([reid.logits(clip[:1], clip[1:])[0].cpu().numpy() for clip in embedded]).mean(1)
    across = reid.logits(embedded[:, 0], embedded[:, frames // 2].roll(1, 0)).diagonal()
    return own, float(across.mean())


def draw_trade_off(found: Mapping, phantoms: Mapping, own: Schedule, path: str | Path) -> None:
    """PNG: frames against clips, and frames against flicker, a point a schedule; error bars span the seeds."""
    figure = new_figure(11, 5)
    titles = {"clips": "Frechet distance of clips", "flicker": "flicker, share of the phantoms'"}
    text = {"textcoords": "offset points", "fontsize": 7}
    for axis, (kind, title) in zip(figure.subplots(1, 2), titles.items()):
        for schedule, row in found.items():
            x, y = row[kind], row["frames"]
            colour = "tab:red" if schedule == own else "tab:blue"
            reach = [[[mean(v) - min(v)], [max(v) - mean(v)]] for v in (x, y)]
            axis.errorbar(mean(x), mean(y), reach[1], reach[0], fmt="o", color=colour, alpha=0.8, capsize=2)
            axis.annotate(named(schedule), (mean(x), mean(y)), (4, 4), **text)
        axis.plot(mean(phantoms[kind]), mean(phantoms["frames"]), "k*", markersize=10)
        axis.annotate("other phantoms", (mean(phantoms[kind]), mean(phantoms["frames"])), (6, -10), **text)
        axis.set(xlabel=title, ylabel="Frechet distance of frames")
        axis.grid(alpha=0.3)
    save_figure(figure, path, dpi=90)
