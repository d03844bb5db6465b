"""Evaluation of a two-step latent video model on phantoms whose truth is known (EchoNet-Synthetic, arXiv 2406.00808).

Every figure stands beside what it has to be compared with: an instrument's reading of generated videos beside its own
error on phantoms of the same ejection fractions (EF), what was requested beside the same in another order, the filter's
verdict on generated hearts beside that on copies and on unseen patients, a reader trained on synthetic videos beside
one trained on as many real ones. Parts are kept in `work_dir` as they are done, so that a run that was killed goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.datasets.echo.echonet import read_echonet
from synthzoo.datasets.echo.phantoms import EchoPhantomDataset
from synthzoo.datasets.echo.training_clips import training_clips
from synthzoo.diffusion.stitching import window_starts
from synthzoo.instruments.echo.ef import measure_ef
from synthzoo.instruments.echo.fidelity import frechet, motion_energy
from synthzoo.io.files import write_json
from synthzoo.io.videos import read_avi
from synthzoo.metrics.agreement import reported
from synthzoo.networks.saving import digest_of
from synthzoo.phantoms.echo.sets import SPLITS, Video
from synthzoo.results.video_preview import video_montage
from synthzoo.systems.echonet_synthetic.downstream import read_videos, train_regressor
from synthzoo.systems.echonet_synthetic.inferer import CineInferer
from synthzoo.systems.echonet_synthetic.latents import LatentClips
from synthzoo.systems.echonet_synthetic.privacy_filter import best_scores
from synthzoo.systems.echonet_synthetic.surrogate import SurrogateDataset
from synthzoo.systems.hidden_subspaces.scores import auc, pixel_scores

PARTS = ("video", "stitched", "downstream", "filter", "reid", "autoencoder", "samplers", "speed")
REQUESTED = (0.15, 0.85)  # of EF, spread evenly
LONG, WINDOW_POINTS, SEAM = 48, 8.0, 1.5  # frames of a stitched video; bars of the design sheet
LATER = 8  # a frame of the video half a second after its first
AGAIN = 700  # session and noise of videos of training patients that no training saw
INSTRUMENTS = ("regressor", "discs")


class EchoNetSyntheticEvaluation:
    """All figures of a `LatentVideo`, written as `metrics.json`, and a looping picture.

    Args:
        network: trained and calibrated.
        inferer: the bundle's.
        work_dir: keeps what is done, the surrogate set of the downstream test included, in a folder for each network.
        save_to: the metrics file.
        figure: GIF of generated videos beside phantoms; None draws nothing.
        patients: phantoms of TEST, two videos each, for whoever tells patients apart.
        videos: generated ones of the table of EF, and as many phantoms.
        long_videos: stitched ones.
        surrogate: videos of the surrogate set.
        regressor_steps: of the readers of the downstream test.
        train_size, sessions: what the network was trained on.
        sweep: (sampler, steps, guidance) to compare.
        parts: what is measured, in this order; what work_dir has of the others stands in the file, too.
        cache_dir: keeps phantoms.
        image_size: side of a frame in pixels.
        command: what a reader types to get the same numbers.
        seed: of the noise.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        inferer: CineInferer,
        work_dir: str | Path,
        save_to: str | Path = "docs/metrics.json",
        figure: str | Path | None = None,
        patients: int = 200,
        videos: int = 64,
        long_videos: int = 8,
        surrogate: int = 160,
        regressor_steps: int = 160,
        train_size: int = 1000,
        sessions: int = 3,
        sweep: Sequence[Sequence[Any]] = (),
        parts: Sequence[str] = PARTS,
        cache_dir: str | None = None,
        image_size: int = 32,
        command: str = "",
        seed: int = 0,
    ):
        self.network, self.inferer = network.eval(), inferer
        self.device = next(network.parameters()).device
        self.work_dir, self.save_to, self.figure = Path(work_dir) / digest_of(network), Path(save_to), figure
        self.patients, self.videos, self.long_videos = int(patients), int(videos), int(long_videos)
        self.surrogate, self.regressor_steps = int(surrogate), int(regressor_steps)
        self.train_size, self.sessions, self.sweep, self.parts = int(train_size), int(sessions), list(sweep), parts
        self.cache_dir, self.image_size, self.command, self.seed = cache_dir, int(image_size), command, int(seed)

    def run(self) -> dict:
        """Measure, write, and return what was written."""
        for part in self.parts:
            if not self.kept(part).is_file():
                start = time.perf_counter()
                found = getattr(self, part)()
                write_json(self.kept(part), json.loads(json.dumps(found)))
                print(f"{part}: {time.perf_counter() - start:.0f} s", flush=True)
        tables, figures, bars = [], {}, []
        for part in PARTS:
            if self.kept(part).is_file():
                found = json.loads(self.kept(part).read_text())
                tables += found["tables"]
                figures |= found["figures"]
                bars += found["bars"]
        reached = [[what, wanted, value, "yes" if met else "no"] for what, wanted, value, met in bars]
        for row in reached:
            print(*row, sep=" | ")
        if reached:
            columns = ["figure", "aim", "reached", "met"]
            tables.insert(0, {"title": "Aims of the design sheet", "columns": columns, "rows": reached})
            figures |= {"aims_met": f"{sum(bool(bar[3]) for bar in bars)} of {len(bars)}"}
        result = {"command": self.command, "tables": tables, "figures": figures}
        write_json(self.save_to, result)
        return result

    def kept(self, part: str) -> Path:
        """Where the tables of a part lie."""
        return self.work_dir / f"{part}.json"

    # --- what the parts share ----------------------------------------------------------------------------------------

    def phantoms(self, split: str, patients: int, sessions: int = 1) -> EchoPhantomDataset:
        """Videos of a split as in training."""
        settings = {"frames": self.network.frames, "size": self.image_size, "fps": self.network.fps}
        return training_clips(patients=patients, sessions=sessions, cache_dir=self.cache_dir, split=split, **settings)

    def requested_phantoms(self, ef: np.ndarray, frames: int | None = None, first: int = 0) -> torch.Tensor:
        """Videos (N, 1, T, S, S) of TEST patients at chosen EFs."""
        start, frames = SPLITS["TEST"][0] + first, frames or self.network.frames
        videos = [Video(start + n, AGAIN, AGAIN, "TEST", frames) for n in range(len(ef))]
        videos = EchoPhantomDataset("tiny", "TEST", videos=videos, size=self.image_size, fps=self.network.fps, ef=ef)
        return torch.stack([videos[row]["video"] for row in range(len(videos))])

    def noise(self, count: int, frames: int, salt: int = 0) -> torch.Tensor:
        """Start noise (N, C, 1 + frames, h, w), a seed a row."""
        channels, height, width = self.network.latent_shape
        shape = (channels, 1 + frames, height, width)
        seeds = [np.random.SeedSequence([self.seed, salt, n]).generate_state(1)[0] for n in range(count)]
        return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(int(s))) for s in seeds])

    @torch.inference_mode()
    def make(self, ef: np.ndarray, frames: int | None = None, inferer=None, hearts=None, salt: int = 0) -> torch.Tensor:
        """Videos (N, 1, T, S, S) of EFs as fractions; `hearts` (N, C, h, w) replace those that are drawn."""
        inferer, made = inferer or self.inferer, []
        requested = torch.tensor(100 * np.asarray(ef), dtype=torch.float32)[:, None]
        noise = self.noise(len(ef), frames or self.network.frames, salt)
        for first in range(0, len(ef), 8):
            part = noise[first : first + 8].to(self.device)
            if hearts is None:
                own = inferer.sample_references(part[:, :, 0], self.network).latents
            else:
                own = hearts[first : first + 8].to(self.device)
            values = requested[first : first + 8].to(self.device)
            made.append(inferer.generate_video(own, part[:, :, 1:], values, self.network).cpu())
        return torch.cat(made)

    @torch.inference_mode()
    def restored(self, videos: torch.Tensor) -> torch.Tensor:
        """Videos through the autoencoder."""
        frames = videos.transpose(1, 2).flatten(0, 1)
        made = [self.network.autoencoder(part.to(self.device)).cpu() for part in frames.split(256)]
        return torch.cat(made).clamp(0, 1).unflatten(0, (len(videos), -1)).transpose(1, 2)

    def rows_of(self, title: str, requested: np.ndarray, videos: torch.Tensor, found=None) -> tuple[list, dict]:
        """Rows of a table of EF, and the numbers by instrument."""
        found = found or measure_ef(videos)
        got = {name: reported(100 * requested, 100 * found[name]) for name in INSTRUMENTS}
        return [[title, name, *(got[name][key] for key in ("r2", "mae", "rmse", "spearman"))] for name in got], got

    # --- the parts ---------------------------------------------------------------------------------------------------

    def autoencoder(self) -> dict:
        """What is lost on the way through latent space."""
        ef = np.linspace(*REQUESTED, self.videos)
        videos = self.requested_phantoms(ef)
        again = self.restored(videos)
        error = (again - videos).pow(2).mean((1, 3, 4)).flatten()
        psnr = float((-10 * torch.log10(error)).mean())
        rows, own = self.rows_of("phantoms", ef, videos)
        more, through = self.rows_of("phantoms through the autoencoder", ef, again)
        ratio = round(through["regressor"]["r2"] / own["regressor"]["r2"], 4)
        columns = ["videos", "measured by", "R2", "MAE", "RMSE", "Spearman"]
        title = f"Ejection fraction in percent through the autoencoder: {self.videos} TEST patients, 15 to 85 percent"
        figures = {"autoencoder_psnr": round(psnr, 3), "autoencoder_l1": round(float((again - videos).abs().mean()), 4)}
        figures |= {"autoencoder_ef_r2_share": ratio}
        bars = [
            ["autoencoder, PSNR in dB", ">= 28", figures["autoencoder_psnr"], psnr >= 28],
            ["EF R2 after the autoencoder, share of the regressor's own", ">= 0.95", ratio, ratio >= 0.95],
        ]
        return {"tables": [{"title": title, "columns": columns, "rows": rows + more}], "figures": figures, "bars": bars}

    @torch.inference_mode()
    def reid(self) -> dict:
        """Does the network tell patients apart whom it never saw?"""
        latents = LatentClips(self.network, self.phantoms("test", self.patients, 2)).latents
        first, other = latents[0::2], latents[1::2]
        kinds = {
            "another frame of the video": (first[:, :, 0], first[:, :, LATER]),
            "a frame of another session": (first[:, :, 0], other[:, :, LATER]),
        }
        rows, values, same = [], {}, np.eye(self.patients, dtype=bool)
        for kind, (one, two) in kinds.items():
            embedded = [self.network.reid(part.to(self.device)) for part in (one, two)]
            judges = {"network": self.network.reid.logits(*embedded).cpu().numpy(), "plain latents (control)": None}
            judges["plain latents (control)"] = pixel_scores(one.numpy(), two.numpy())
            for judge, scores in judges.items():
                values[kind, judge] = round(auc(scores[same], scores[~same]), 4)
                top = round(float((scores.argmax(1) == np.arange(len(scores))).mean()), 4)
                rows.append([judge, kind, values[kind, judge], top])
        within, across = (values[kind, "network"] for kind in kinds)
        columns = ["judge", "pair of one patient", "AUC", "nearest of all is the own"]
        title = f"Telling patients apart in latent space: {self.patients} unseen patients"
        figures = {"reid_auc": within, "reid_auc_sessions": across}
        bars = [["re-identification AUC, unseen patients", ">= 0.99", within, within >= 0.99]]
        return {"tables": [{"title": title, "columns": columns, "rows": rows}], "figures": figures, "bars": bars}

    @torch.inference_mode()
    def filter(self) -> dict:
        """Whom the filter rejects: copies, patients it knows, unseen patients, generated hearts."""
        network, threshold = self.network, float(self.network.threshold)
        training = LatentClips(network, self.phantoms("train", self.train_size, self.sessions))
        start = SPLITS["TRAIN"][0]
        count = min(self.patients, self.train_size)
        videos = [Video(start + n, AGAIN, AGAIN, "TRAIN", network.frames) for n in range(count)]
        again = EchoPhantomDataset("tiny", "TRAIN", videos=videos, size=self.image_size, fps=network.fps)
        unseen = LatentClips(network, self.phantoms("test", self.patients, 2)).latents[::2]
        hearts = self.hearts(2 * self.patients)
        sets = {
            "training latents, exact copies": training.latents[:, :, 0],
            "other frames of the training videos": training.latents[:, :, LATER],
            "training patients, videos not trained on": LatentClips(network, again).latents[:, :, 0],
            "unseen patients": unseen[:, :, 0],
            "unseen patients, other frames": unseen[:, :, LATER],
            "generated hearts": hearts,
        }
        rows, values = [], {}
        for name, latents in sets.items():
            scores = best_scores(network, latents)
            share = float((scores > threshold).mean())
            values[name] = round(share, 4)
            middle, top = round(float(np.median(scores)), 3), round(float(scores.max()), 3)
            rows.append([name, len(scores), values[name], middle, top])
        embedded = {name: network.reid(latents.to(self.device)).cpu().numpy() for name, latents in sets.items()}
        gallery = embedded["training latents, exact copies"]
        best = pixel_scores(gallery, embedded["unseen patients"]).max(1)
        tau = float(np.percentile(best, 95))
        published = []
        for name, vectors in embedded.items():
            found = pixel_scores(vectors, gallery).max(1)
            published.append([name, len(found), round(float((found >= tau).mean()), 4)])
        copies, unseen_share = values["training latents, exact copies"], values["unseen patients"]
        figures = {"filter_rejects_copies": copies, "filter_rejects_unseen": unseen_share}
        figures |= {"filter_rejects_known_patients": values["training patients, videos not trained on"]}
        figures |= {"filter_rejects_generated": values["generated hearts"], "filter_threshold": round(threshold, 4)}
        bars = [
            ["filter, planted training latents rejected", ">= 0.95", copies, copies >= 0.95],
            ["filter, unseen patients rejected", "0.02 to 0.08", unseen_share, 0.02 <= unseen_share <= 0.08],
        ]
        tables = [
            {
                "title": f"What the filter rejects, threshold {threshold:.3f}",
                "columns": ["latents", "number", "rejected", "median score", "largest score"],
                "rows": rows,
            },
            {
                "title": "The published rule (correlation of embeddings, threshold of training against unseen)",
                "columns": ["latents", "number", "rejected"],
                "rows": published,
            },
        ]
        return {"tables": tables, "figures": figures, "bars": bars}

    @torch.inference_mode()
    def hearts(self, count: int) -> torch.Tensor:
        """References as the model draws them, before the filter."""
        plain = CineInferer(self.inferer.sampler_name, self.inferer.steps, 1.0, self.inferer.eta, filter=False)
        noise = self.noise(count, 0, salt=1)[:, :, 0]
        drawn = [plain.sample_references(part.to(self.device), self.network).latents for part in noise.split(64)]
        return torch.cat(drawn).cpu()

    def video(self) -> dict:
        """EF requested against EF measured, and how videos compare with phantoms as a set."""
        ef = np.linspace(*REQUESTED, self.videos)
        videos, made = self.requested_phantoms(ef), self.make(ef)
        first = LatentClips(self.network, self.phantoms("test", max(self.patients, self.videos), 2)).latents[::2]
        first = first[: self.videos, :, 0]
        from_real = self.make(ef, hearts=first, salt=2)
        found = measure_ef(made)
        shuffled = np.random.default_rng(1).permutation(ef)
        rows, values = [], {}
        for title, requested, shown, known in (
            ("generated", ef, made, found),
            ("generated, from hearts of TEST phantoms", ef, from_real, None),
            ("phantoms of the same EF (ceiling)", ef, videos, None),
            ("generated, requests shuffled (control)", shuffled, made, found),
        ):
            more, values[title] = self.rows_of(title, requested, shown, known)
            rows += more
        far = frechet(made, videos, self.requested_phantoms(ef, first=self.videos))
        moved = round(float(motion_energy(made).mean() / motion_energy(videos).mean()), 3)
        fidelity = [
            ["generated", far["frames"]["fid"], far["clips"]["fid"], moved],
            ["other phantoms (floor)", far["frames"]["fid_real"], far["clips"]["fid_real"], 1.0],
        ]
        made_by, real = values["generated"], values["phantoms of the same EF (ceiling)"]
        figures = {f"ef_r2_{name}": made_by[name]["r2"] for name in INSTRUMENTS}
        figures |= {f"ef_mae_{name}": made_by[name]["mae"] for name in INSTRUMENTS}
        figures |= {f"ef_r2_{name}_phantom": real[name]["r2"] for name in INSTRUMENTS}
        figures |= {"ef_r2_shuffled": values["generated, requests shuffled (control)"]["regressor"]["r2"]}
        figures |= {"frechet_frames": round(far["frames"]["fid"], 5), "frechet_clips": round(far["clips"]["fid"], 5)}
        reached = {name: made_by[name]["r2"] for name in INSTRUMENTS}
        bars = [
            [f"EF requested against measured by {name}, R2", ">= 0.5", r2, r2 >= 0.5] for name, r2 in reached.items()
        ]
        if self.figure:
            self.draw(made, videos, ef)
        tables = [
            {
                "title": f"Ejection fraction in percent, requested evenly on 15 to 85: {self.videos} videos",
                "columns": ["videos", "measured by", "R2", "MAE", "RMSE", "Spearman"],
                "rows": rows,
            },
            {
                "title": f"Frechet distances to {self.videos} phantoms of the same EF, and motion",
                "columns": ["videos", "frames", "clips", "motion, share of the phantoms'"],
                "rows": [[row[0], *(round(v, 5) if isinstance(v, float) else v for v in row[1:])] for row in fidelity],
            },
        ]
        return {"tables": tables, "figures": figures, "bars": bars}

    def draw(self, made: torch.Tensor, videos: torch.Tensor, ef: np.ndarray, count: int = 4) -> None:
        """GIF: videos of low to high EF, the generated one to the left, a phantom of the same EF to the right."""
        rows = np.linspace(0, len(ef) - 1, count).round().astype(int)
        as_bytes = [[(255 * one[row, 0]).round().byte().numpy() for one in (made, videos)] for row in rows]
        titles = [f"EF {100 * ef[row]:.0f} %: made | phantom" for row in rows]
        video_montage(as_bytes, titles, [self.network.fps] * count, self.figure, columns=2)

    def samplers(self) -> dict:
        """Quality against network calls and guidance."""
        ef = np.linspace(*REQUESTED, max(8, self.videos // 3))
        videos, rows = self.requested_phantoms(ef), []
        for sampler, steps, guidance in self.sweep:
            other = CineInferer(sampler, int(steps), float(guidance), filter=False)
            start = time.perf_counter()
            made = self.make(ef, inferer=other)
            seconds = (time.perf_counter() - start) / len(ef)
            _, got = self.rows_of("", ef, made)
            moved = float(motion_energy(made).mean() / motion_energy(videos).mean())
            rows.append([sampler, steps, guidance, *(got[n][k] for n in INSTRUMENTS for k in ("r2", "mae"))])
            rows[-1] += [round(frechet(made, videos, videos)["frames"]["fid"], 5), round(moved, 3), round(seconds, 2)]
        columns = ["sampler", "steps", "guidance", "R2 regressor", "MAE regressor", "R2 discs", "MAE discs"]
        columns += ["Frechet of frames", "motion", "s per video"]
        title = f"Quality against steps and guidance, {len(ef)} videos a row"
        tables = [{"title": title, "columns": columns, "rows": rows}] if rows else []
        return {"tables": tables, "figures": {}, "bars": []}

    def stitched(self) -> dict:
        """Long videos: the EF of each of their windows, and whether a join is seen."""
        ef = np.linspace(*REQUESTED, self.long_videos)
        sets = {}
        for name, fade in (("windows fade", True), ("first window's word (published)", False)):
            inferer = self.varied(fade=fade)
            sets[name] = (self.make(ef, LONG, inferer, salt=3), inferer.overlap)
        sets["phantoms (control)"] = (self.requested_phantoms(ef, LONG), self.inferer.overlap)
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
        shipped = values["windows fade" if self.inferer.fade else "first window's word (published)"]
        columns = ["videos", "windows within 8 points of the request", "of the video's own median", "farthest from it"]
        columns += ["mean error", "change at joins over the median change"]
        title = f"{self.long_videos} videos of {LONG} frames from windows of {frames}; EF of windows by the regressor"
        figures = {"stitched_windows_within_8_requested": round(shipped[0], 4)}
        figures |= {"stitched_windows_within_8_own": round(shipped[1], 4), "stitched_seam": round(float(shipped[2]), 4)}
        every, seam = figures["stitched_windows_within_8_own"], figures["stitched_seam"]
        bars = [
            ["stitched videos, windows within 8 EF points of the video's median", "1 (every one)", every, every == 1],
            ["stitched videos, change at joins over the median", "<= 1.5", seam, seam <= SEAM],
        ]
        return {"tables": [{"title": title, "columns": columns, "rows": rows}], "figures": figures, "bars": bars}

    def varied(self, **settings) -> CineInferer:
        """The bundle's inferer with some settings changed."""
        own = self.inferer
        kept = {key: getattr(own, key) for key in ("steps", "guidance", "eta", "overlap", "fade", "filter", "attempts")}
        return CineInferer(sampler=own.sampler_name, **{**kept, **settings})

    def downstream(self) -> dict:
        """A reader of EF trained on the surrogate alone, one trained on as many real videos, tried on TEST phantoms."""
        folder = self.work_dir / "surrogate"
        made = SurrogateDataset(
            self.network, self.inferer, folder, self.surrogate, seed=self.seed, batch_size=16, bundle="evaluation"
        )
        made.run()
        listed = read_echonet(folder)
        videos = [read_avi(row["path"]).frames.astype(np.float32) / 255 for row in listed]
        synthetic, labels = torch.from_numpy(np.stack(videos))[:, None], np.array([row["ef"] for row in listed]) / 100
        real = self.phantoms("train", self.surrogate)
        shown = torch.stack([real[row]["video"] for row in range(len(real))])
        truth = np.array([real.params(row).ef for row in range(len(real))])
        ef = np.linspace(*REQUESTED, 2 * self.videos)
        test = self.requested_phantoms(ef)
        rows, values = [], {}
        for name, trained, told in (
            ("real videos (phantoms of TRAIN)", shown, truth),
            ("synthetic videos alone", synthetic, labels),
            ("synthetic videos, labels shuffled (control)", synthetic, np.random.default_rng(2).permutation(labels)),
        ):
            reader = train_regressor(trained, told, self.regressor_steps, seed=self.seed)
            values[name] = reported(100 * ef, 100 * read_videos(reader, test))
            rows.append([name, len(trained), *(values[name][key] for key in ("r2", "mae", "rmse", "spearman"))])
        own, other = (values[name]["r2"] for name in list(values)[:2])
        share = round(other / own, 4) if own > 0 else None  # a reader of real videos that knows nothing is no measure
        figures = {"downstream_r2_real": own, "downstream_r2_synthetic": other, "downstream_share": share}
        bars = [
            [
                "EF regressor trained on synthetic videos, share of the real-trained R2",
                ">= 0.6",
                share,
                (share or 0) >= 0.6,
            ]
        ]
        columns = ["trained on", "videos", "R2", "MAE", "RMSE", "Spearman"]
        title = f"Readers of EF, {self.regressor_steps} steps each, on {len(test)} TEST phantoms, 15 to 85 percent"
        return {"tables": [{"title": title, "columns": columns, "rows": rows}], "figures": figures, "bars": bars}

    def speed(self) -> dict:
        """Seconds to sample videos, the heart and the decoding included."""
        rows, figures = [], {}
        for frames in (self.network.frames, 64):
            start, used = time.perf_counter(), time.process_time()
            self.make(np.array([0.55]), frames)
            seconds, used = time.perf_counter() - start, time.process_time() - used
            rows.append([frames, round(seconds, 2), round(used, 2), torch.get_num_threads()])
            figures[f"seconds_{frames}_frames"] = round(seconds, 2)
        kind = "gpu" if self.device.type == "cuda" else "cpu"
        figures[f"seconds_per_sample_{kind}"] = figures[f"seconds_{self.network.frames}_frames"]
        columns = ["frames", "seconds", "processor seconds", "threads"]
        title = f"One video on {self.device}: {self.inferer.sampler_name}, {self.inferer.steps} steps"
        least = figures["seconds_64_frames"]
        bars = [["one video of 64 frames, seconds", "< 20", least, least < 20]]
        return {"tables": [{"title": title, "columns": columns, "rows": rows}], "figures": figures, "bars": bars}
