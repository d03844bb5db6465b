"""Evaluation of a two-step latent video model on phantoms whose truth is known (EchoNet-Synthetic, arXiv 2406.00808).

Every figure stands beside what it has to be compared with: an instrument's reading of generated videos beside its own
error on phantoms of the same ejection fractions (EF), what was requested beside the same in another order, the filter's
verdict on generated reference latents beside that on copies and on unseen patients, a regressor trained on synthetic
videos beside one trained on as many real ones.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.datasets.echo.echonet import read_echonet
from synthzoo.datasets.echo.phantoms import EchoPhantomDataset
from synthzoo.diffusion.stitching import window_starts
from synthzoo.evaluation.base import Found
from synthzoo.evaluation.echo import (
    EF_COLUMNS,
    EF_RANGE,
    INSTRUMENTS,
    EchoEvaluation,
    as_bytes,
    by_ef,
    requested_efs,
    stacked,
)
from synthzoo.evaluation.echo_shortcuts import Known, latent_shortcuts
from synthzoo.instruments.echo.ef import measure_ef
from synthzoo.instruments.echo.fidelity import frechet, motion_energy
from synthzoo.io.videos import read_video
from synthzoo.metrics.agreement import reported
from synthzoo.metrics.fidelity import psnr
from synthzoo.metrics.reidentification import auc, pixel_scores
from synthzoo.phantoms.echo.sets import SPLITS, Video
from synthzoo.results.video_preview import video_montage
from synthzoo.systems.echonet_synthetic.downstream import read_videos, train_regressor
from synthzoo.systems.echonet_synthetic.inferer import LatentVideoInferer
from synthzoo.systems.echonet_synthetic.latents import LatentClips
from synthzoo.systems.echonet_synthetic.privacy_filter import best_scores
from synthzoo.systems.echonet_synthetic.surrogate import SurrogateDataset

LONG, WINDOW_POINTS = 48, 8.0  # frames of a stitched video; EF points that a window may be off to count as right
LATER = 8  # a frame of the video half a second after its first
FADE, PUBLISHED = "windows fade", "first window takes precedence (published)"
COPIES, KNOWN = "training latents, exact copies", "training patients, videos not trained on"
UNSEEN, GENERATED = "unseen patients", "generated reference latents"


class EchoNetSyntheticEvaluation(EchoEvaluation):
    """All figures of a `LatentVideo`, and a looping picture.

    Args:
        inferer: the bundle's.
        figure: GIF of generated videos beside phantoms; None draws nothing.
        patients: phantoms of TEST, two videos each, for whoever tells patients apart.
        videos: generated ones of the table of EF, and as many phantoms.
        long_videos: stitched ones.
        surrogate: videos of the surrogate set.
        regressor_steps: of the regressors of the downstream test.
        sweep: (sampler, steps, guidance) to compare.
        seed: of the noise.
        shared: see `EchoEvaluation`.
    """

    PARTS = ("video", "stitched", "downstream", "filter", "reid", "autoencoder", "samplers", "speed", "shortcuts")
    SESSION = 700

    def __init__(
        self,
        inferer: LatentVideoInferer,
        figure: str | Path | None = None,
        patients: int = 200,
        videos: int = 64,
        long_videos: int = 8,
        surrogate: int = 160,
        regressor_steps: int = 160,
        sweep: Sequence[Sequence[Any]] = (),
        seed: int = 0,
        **shared: Any,
    ) -> None:
        settings: dict[str, Any] = {
            "patients": patients,
            "videos": videos,
            "long_videos": long_videos,
            "surrogate": surrogate,
        }
        settings |= {"regressor_steps": regressor_steps, "sweep": list(sweep), "seed": seed}
        super().__init__(settings, inferer=inferer, **shared)
        self.figure, self.patients, self.videos, self.long_videos = figure, int(patients), int(videos), int(long_videos)
        self.surrogate, self.regressor_steps = int(surrogate), int(regressor_steps)
        self.sweep, self.seed = list(sweep), int(seed)

    # --- what the parts share ----------------------------------------------------------------------------------------

    def noise(self, count: int, frames: int, salt: int = 0) -> torch.Tensor:
        """Start noise (N, C, 1 + frames, h, w), a seed a row."""
        channels, height, width = self.network.latent_shape
        shape = (channels, 1 + frames, height, width)
        seeds = [np.random.SeedSequence([self.seed, salt, n]).generate_state(1)[0] for n in range(count)]
        return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(int(s))) for s in seeds])

    @torch.inference_mode()
    def generate(
        self,
        ef: np.ndarray,
        frames: int | None = None,
        inferer: LatentVideoInferer | None = None,
        references: torch.Tensor | None = None,
        salt: int = 0,
    ) -> torch.Tensor:
        """Videos (N, 1, T, S, S) of EFs as fractions; `references` (N, C, h, w) replace those that are sampled."""
        inferer, generated = inferer or self.inferer, []
        requested = torch.tensor(100 * np.asarray(ef), dtype=torch.float32)[:, None]
        noise = self.noise(len(ef), frames or self.network.frames, salt)
        for first in range(0, len(ef), 8):
            part = noise[first : first + 8].to(self.device)
            if references is None:
                own = inferer.sample_references(part[:, :, 0], self.network).latents
            else:
                own = references[first : first + 8].to(self.device)
            values = requested[first : first + 8].to(self.device)
            generated.append(inferer.generate_video(own, part[:, :, 1:], values, self.network).cpu())
        return torch.cat(generated)

    def generated(self) -> torch.Tensor:
        """Videos (N, 1, T, S, S) of `requested_efs`; kept as a file."""
        return self.cached("generated", lambda: {"videos": self.generate(requested_efs(self.videos))})["videos"]

    @torch.inference_mode()
    def references(self, count: int) -> torch.Tensor:
        """Reference latents as the model samples them, before the filter."""
        plain = self.inferer.varied(guidance=1.0, filter=False)
        noise = self.noise(count, 0, salt=1)[:, :, 0]
        drawn = [plain.sample_references(part.to(self.device), self.network).latents for part in noise.split(64)]
        return torch.cat(drawn).cpu()

    # --- the parts ---------------------------------------------------------------------------------------------------

    def video(self) -> Found:
        """EF requested against EF measured, and how videos compare with phantoms as a set."""
        ef = requested_efs(self.videos)
        phantoms, generated = self.phantoms_of(ef), self.generated()
        first = LatentClips(self.network, self.clips("test", max(self.patients, self.videos), 2)).latents[::2]
        from_real = self.generate(ef, references=first[: self.videos, :, 0], salt=2)
        measured = measure_ef(generated)
        shuffled = np.random.default_rng(1).permutation(ef)
        rows, values = [], {}
        for title, requested, shown, known in (
            ("generated", ef, generated, measured),
            ("generated, from reference latents of TEST phantoms", ef, from_real, None),
            ("phantoms of the same EF (ceiling)", ef, phantoms, None),
            ("generated, requests shuffled (control)", shuffled, generated, measured),
        ):
            more, values[title] = self.ef_of(title, requested, shown, known)
            rows += more
        far = frechet(generated, phantoms, self.phantoms_of(ef, first=self.videos))
        moved = round(float(motion_energy(generated).mean() / motion_energy(phantoms).mean()), 3)
        fidelity: list[list[Any]] = [
            ["generated", far["frames"]["fid"], far["clips"]["fid"], moved],
            ["other phantoms (floor)", far["frames"]["fid_real"], far["clips"]["fid_real"], 1.0],
        ]
        own, real = values["generated"], values["phantoms of the same EF (ceiling)"]
        found = Found()
        found.add(f"Ejection fraction in percent, requested evenly on 15 to 85: {self.videos} videos", EF_COLUMNS, rows)
        found.add(
            f"Frechet distances to {self.videos} phantoms of the same EF, and motion",
            ["videos", "frames", "clips", "motion, share of the phantoms'"],
            [[row[0], *(round(value, 5) for value in row[1:])] for row in fidelity],
        )
        found.figures = {f"ef_r2_{name}": own[name]["r2"] for name in INSTRUMENTS}
        found.figures |= {f"ef_mae_{name}": own[name]["mae"] for name in INSTRUMENTS}
        found.figures |= {f"ef_r2_{name}_phantom": real[name]["r2"] for name in INSTRUMENTS}
        found.figures["ef_r2_shuffled"] = values["generated, requests shuffled (control)"]["regressor"]["r2"]
        found.figures |= {f"frechet_{kind}": round(far[kind]["fid"], 5) for kind in ("frames", "clips")}
        if self.figure:
            chosen = by_ef(ef, 4)
            shown = [[as_bytes(one[row]) for one in (generated, phantoms)] for row in chosen]
            titles = [f"EF {100 * ef[row]:.0f} %: generated | phantom" for row in chosen]
            video_montage(shown, titles, [self.network.fps] * len(chosen), self.figure, columns=2)
        return found

    def stitched(self) -> Found:
        """Long videos: the EF of each window, and the seam ratio at their joins."""
        ef = requested_efs(self.long_videos)
        sets = {}
        for name, fade in ((FADE, True), (PUBLISHED, False)):
            inferer = self.inferer.varied(fade=fade)
            sets[name] = (self.generate(ef, LONG, inferer, salt=3), inferer.overlap)
        sets["phantoms (control)"] = (self.phantoms_of(ef, LONG), self.inferer.overlap)
        rows, values, frames = [], {}, self.network.frames
        for name, (videos, overlap) in sets.items():
            starts = range(0, LONG - frames + 1, 4)
            read = np.stack([100 * measure_ef(videos[:, :, s : s + frames])["regressor"] for s in starts], 1)
            off = np.abs(read - 100 * ef[:, None])
            own = np.abs(read - np.median(read, 1, keepdims=True))
            change = videos[:, 0].diff(dim=1).abs().mean((2, 3)).numpy()
            covered = [start + frames for start in window_starts(LONG, frames, overlap)[:-1]]
            ratio = change[:, [c - 1 for c in covered]].mean(1) / np.median(change, 1)
            values[name] = (float((off <= WINDOW_POINTS).mean()), float((own <= WINDOW_POINTS).mean()), ratio.mean())
            within = [round(v, 4) for v in values[name][:2]]
            rows.append([name, *within, round(float(own.max()), 1), round(float(off.mean()), 2)])
            rows[-1].append(round(float(ratio.mean()), 3))
        shipped = values[FADE if self.inferer.fade else PUBLISHED]
        columns = ["videos", "windows within 8 points of the request", "of the video's own median", "farthest from it"]
        columns += ["mean error", "change at joins over the median change"]
        title = f"{self.long_videos} videos of {LONG} frames from windows of {frames}; EF of windows by the regressor"
        found = Found(figures={"stitched_windows_within_8_requested": round(shipped[0], 4)})
        found.figures |= {"stitched_windows_within_8_own": round(shipped[1], 4)}
        found.figures |= {"stitched_seam": round(float(shipped[2]), 4)}
        found.add(title, columns, rows)
        return found

    def downstream(self) -> Found:
        """Regressors of EF, one trained on the surrogate alone, one on as many real videos, tried on TEST phantoms."""
        folder = self.folder / "surrogate"
        options: dict[str, Any] = {"seed": self.seed, "batch_size": 16, "bundle": "evaluation"}
        SurrogateDataset(self.network, self.inferer, folder, self.surrogate, **options).run()
        listed = read_echonet(folder)
        videos = [read_video(row["path"]).frames.astype(np.float32) / 255 for row in listed]
        synthetic, labels = torch.from_numpy(np.stack(videos))[:, None], np.array([row["ef"] for row in listed]) / 100
        real = self.clips("train", self.surrogate)
        truth = np.array([real.params(row).ef for row in range(len(real))])
        ef = requested_efs(2 * self.videos)
        test = self.phantoms_of(ef)
        rows, values = [], {}
        for name, shown, known in (
            ("real videos (phantoms of TRAIN)", stacked(real), truth),
            ("synthetic videos alone", synthetic, labels),
            ("synthetic videos, labels shuffled (control)", synthetic, np.random.default_rng(2).permutation(labels)),
        ):
            regressor = train_regressor(shown, known, self.regressor_steps, seed=self.seed)
            values[name] = reported(100 * ef, 100 * read_videos(regressor, test))
            rows.append([name, len(shown), *(values[name][key] for key in ("r2", "mae", "rmse", "spearman"))])
        own, other = (values[name]["r2"] for name in list(values)[:2])
        share = (
            round(other / own, 4) if own > 0 else None
        )  # a regressor of real videos that knows nothing measures none
        title = f"Regressors of EF, {self.regressor_steps} steps each, on {len(test)} TEST phantoms, {EF_RANGE}"
        found = Found(figures={"downstream_r2_real": own, "downstream_r2_synthetic": other, "downstream_share": share})
        found.add(title, ["trained on", *EF_COLUMNS[:1], *EF_COLUMNS[2:]], rows)
        return found

    @torch.inference_mode()
    def filter(self) -> Found:
        """Which latents the filter rejects: copies, patients it knows, unseen patients, generated references."""
        network, threshold = self.network, float(self.network.threshold)
        training = LatentClips(network, self.clips("train", self.train_size, self.sessions)).latents
        unseen = LatentClips(network, self.clips("test", self.patients, 2)).latents[::2]
        sets = {
            COPIES: training[:, :, 0],
            "other frames of the training videos": training[:, :, LATER],
            KNOWN: LatentClips(network, self.again(min(self.patients, self.train_size))).latents[:, :, 0],
            UNSEEN: unseen[:, :, 0],
            "unseen patients, other frames": unseen[:, :, LATER],
            GENERATED: self.references(2 * self.patients),
        }
        rows, rejected = [], {}
        for name, latents in sets.items():
            scores = best_scores(network, latents)
            rejected[name] = round(float((scores > threshold).mean()), 4)
            median, top = round(float(np.median(scores)), 3), round(float(scores.max()), 3)
            rows.append([name, len(scores), rejected[name], median, top])
        found = Found(figures={"filter_rejects_copies": rejected[COPIES], "filter_rejects_unseen": rejected[UNSEEN]})
        found.figures |= {"filter_rejects_known_patients": rejected[KNOWN]}
        found.figures |= {"filter_rejects_generated": rejected[GENERATED], "filter_threshold": round(threshold, 4)}
        columns = ["latents", "number", "rejected", "median score", "largest score"]
        found.add(f"What the filter rejects, threshold {threshold:.3f}", columns, rows)
        title = "The published rule (correlation of embeddings, threshold of training against unseen)"
        found.add(title, columns[:3], self.published_rule(sets))
        return found

    def again(self, count: int) -> EchoPhantomDataset:
        """Videos of training patients that no training saw."""
        start, session = SPLITS["TRAIN"][0], self.SESSION
        videos = [Video(start + n, session, session, "TRAIN", self.network.frames) for n in range(count)]
        return EchoPhantomDataset("tiny", "TRAIN", videos=videos, size=self.image_size, fps=self.network.fps)

    def published_rule(self, sets: Mapping[str, torch.Tensor]) -> list[list]:
        """Rows [latents, number, share that is rejected] by the correlation of embeddings."""
        embedded = {name: self.network.reid(latents.to(self.device)).cpu().numpy() for name, latents in sets.items()}
        gallery, rows = embedded[COPIES], []
        threshold = float(np.percentile(pixel_scores(gallery, embedded[UNSEEN]).max(1), 95))
        for name, vectors in embedded.items():
            best = pixel_scores(vectors, gallery).max(1)
            rows.append([name, len(best), round(float((best >= threshold).mean()), 4)])
        return rows

    @torch.inference_mode()
    def reid(self) -> Found:
        """Does the network tell patients apart whom it never saw?"""
        latents = LatentClips(self.network, self.clips("test", self.patients, 2)).latents
        first, other = latents[0::2], latents[1::2]
        kinds = {
            "another frame of the video": (first[:, :, 0], first[:, :, LATER]),
            "a frame of another session": (first[:, :, 0], other[:, :, LATER]),
        }
        rows, values, same = [], {}, np.eye(self.patients, dtype=bool)
        for kind, (one, two) in kinds.items():
            embedded = [self.network.reid(part.to(self.device)) for part in (one, two)]
            judges = {
                "network": self.network.reid.logits(*embedded).cpu().numpy(),
                "plain latents (control)": pixel_scores(one.numpy(), two.numpy()),
            }
            for judge, scores in judges.items():
                values[kind, judge] = round(auc(scores[same], scores[~same]), 4)
                top = round(float((scores.argmax(1) == np.arange(len(scores))).mean()), 4)
                rows.append([judge, kind, values[kind, judge], top])
        within, across = (values[kind, "network"] for kind in kinds)
        found = Found(figures={"reid_auc": within, "reid_auc_sessions": across})
        title = f"Telling patients apart in latent space: {self.patients} unseen patients"
        found.add(title, ["judge", "pair of one patient", "AUC", "nearest of all is the own"], rows)
        return found

    def autoencoder(self) -> Found:
        """Error of the autoencoder: frames and EF after encoding and decoding."""
        ef = requested_efs(self.videos)
        videos = self.phantoms_of(ef)
        again = self.restored(videos)
        frames = (x.transpose(1, 2).flatten(0, 1) for x in (again, videos))
        kept = float(np.mean([psnr(*pair) for pair in zip(*frames)]))
        rows, own = self.ef_of("phantoms", ef, videos)
        more, through = self.ef_of("phantoms through the autoencoder", ef, again)
        found = Found(figures={"autoencoder_psnr": round(kept, 3)})
        found.figures |= {"autoencoder_l1": round(float((again - videos).abs().mean()), 4)}
        found.figures |= {"autoencoder_ef_r2_share": round(through["regressor"]["r2"] / own["regressor"]["r2"], 4)}
        title = f"Ejection fraction in percent through the autoencoder: {self.videos} TEST patients, {EF_RANGE}"
        found.add(title, EF_COLUMNS, rows + more)
        return found

    def samplers(self) -> Found:
        """Quality against network calls and guidance."""
        ef = requested_efs(max(8, self.videos // 3))
        phantoms, rows, found = self.phantoms_of(ef), [], Found()
        for sampler, steps, guidance in self.sweep:
            settings = {"sampler": sampler, "steps": int(steps), "guidance": float(guidance), "eta": 0.0}
            other = self.inferer.varied(**settings, filter=False)
            start = time.perf_counter()
            videos = self.generate(ef, inferer=other)
            seconds = (time.perf_counter() - start) / len(ef)
            _, values = self.ef_of("", ef, videos)
            moved = float(motion_energy(videos).mean() / motion_energy(phantoms).mean())
            rows.append([sampler, steps, guidance, *(values[n][k] for n in INSTRUMENTS for k in ("r2", "mae"))])
            distance = frechet(videos, phantoms, phantoms)["frames"]["fid"]
            rows[-1] += [round(distance, 5), round(moved, 3), round(seconds, 2)]
        columns = ["sampler", "steps", "guidance", "R2 regressor", "MAE regressor", "R2 discs", "MAE discs"]
        columns += ["Frechet of frames", "motion", "s per video"]
        if rows:
            found.add(f"Quality against steps and guidance, {len(ef)} videos a row", columns, rows)
        return found

    def speed(self) -> Found:
        """Seconds to sample videos, the reference and the decoding included."""
        rows, found = [], Found()
        for frames in (self.network.frames, 64):
            start, used = time.perf_counter(), time.process_time()
            self.generate(np.array([0.55]), frames)
            seconds, used = time.perf_counter() - start, time.process_time() - used
            rows.append([frames, round(seconds, 2), round(used, 2), torch.get_num_threads()])
            found.figures[f"seconds_{frames}_frames"] = round(seconds, 2)
        found.figures[f"seconds_per_sample_{self.kind_of_device}"] = rows[0][1]
        title = f"One video on {self.device}: {self.inferer.sampler_name}, {self.inferer.steps} steps"
        found.add(title, ["frames", "seconds", "processor seconds", "threads"], rows)
        return found

    def shortcuts(self) -> Found:
        """What could do the work alone, on the requests of the table of EF."""
        ef = requested_efs(self.videos)
        real, other = self.phantoms_of(ef), self.phantoms_of(ef, first=self.videos)
        known = Known.first(self.clips("train", self.train_size, self.sessions), self.shown)
        return latent_shortcuts(self.network, self.generated(), ef, real, other, known)
