"""Evaluation of the re-identification metric on phantoms, where the truth of every answer is known.

1. AUC on unseen patients, two frames of one video and two videos of one patient, beside what was never trained: raw
   pixels, grey levels without their places, and the network with its first weights.
2. Controlled recall: new videos of a known share q of the training patients; the learned share must be q.
3. Controls: other frames of the training videos (recall near 1); videos of unseen patients (memorised near 5 %).
4. Planted copies of training videos under faint noise are flagged.
5. Consistency curves: real videos, frames shuffled across patients, a change of patient at mid-video.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cdist

from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.pictures import new_figure, save_figure
from synthzoo.metrics import reidentification as rs
from synthzoo.networks.first_weights import with_first_weights
from synthzoo.phantoms.echo.sets import list_recall
from synthzoo.systems.hidden_subspaces.gallery import Gallery, embed_frames, embed_videos
from synthzoo.systems.hidden_subspaces.videos import PhantomVideos, spread

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
OWN = "re-identification"
DRAWN = (OWN, "raw pixels")  # whose curves the picture shows
NEGATIVES = 4000  # pairs of two patients in the bootstrap


class ReidEvaluation(Evaluation):
    """The five tests and a picture.

    Args:
        network: trained `ReidNetwork`.
        report, work_dir, parts: see `Evaluation`.
        figure: PNG; None draws nothing.
        training: patients of TRAIN that the audits compare with.
        unseen: patients for the thresholds, and as many others for the lower control.
        pairs: unseen patients for the AUC.
        videos: of each patient in the controlled recall.
        video_frames: over which a video's embedding is averaged.
        draws: of the bootstrap.
        cache_dir: keeps the phantoms.
    """

    PARTS = ("areas", "recall", "controls", "consistency", "speed")

    def __init__(
        self,
        network: torch.nn.Module,
        figure: str | Path | None = None,
        training: int = 400,
        unseen: int = 600,
        pairs: int = 300,
        videos: int = 20,
        video_frames: int = 4,
        draws: int = 1000,
        cache_dir: str | None = None,
        **shared: Any,
    ) -> None:
        settings = {"training": training, "unseen": unseen, "pairs": pairs, "videos": videos}
        settings |= {"video_frames": video_frames, "draws": draws}
        super().__init__(network, settings=settings, **shared)
        self.figure, self.training, self.unseen, self.pairs, self.videos = figure, training, unseen, pairs, videos
        self.video_frames, self.draws, self.cache_dir = video_frames, draws, cache_dir

    @cached_property
    def gallery(self) -> Gallery:
        """The training patients' videos, with thresholds from unseen ones."""
        training, unseen = self.phantoms("TRAIN", self.training), self.phantoms("TEST", self.unseen)
        gallery = Gallery(training, unseen, self.video_frames)
        gallery.fit(self.network)
        return gallery

    def phantoms(self, split: str, patients: int, **options: Any) -> PhantomVideos:
        """Videos of patients of "TRAIN", "VAL" or "TEST"; `options` as of `PhantomVideos`."""
        return PhantomVideos("tiny", split, patients, cache_dir=self.cache_dir, **options)

    def draw(self, found: Mapping[str, Found]) -> None:
        """ROC curves, recall and consistency, once these parts are done."""
        if self.figure and {"areas", "recall", "consistency"} <= set(found):
            draw(found["areas"].data, found["recall"].tables[0]["rows"], found["consistency"].data, self.figure)

    # --- 1 -----------------------------------------------------------------------------------------------------------

    def areas(self) -> Found:
        """AUC on unseen patients, beside raw pixels, grey levels alone, and the network before its training."""
        found, rows, untrained = Found(), [], with_first_weights(self.network)
        for shrink, label in ((1.0, "patients as they are"), (0.5, "patients that are hard to tell apart")):
            videos = self.phantoms("TEST", self.pairs, sessions=2, shrink=shrink)
            frames = torch.stack([videos.frames(row, lambda _: np.array([2, 9])) for row in range(len(videos))])
            frames = frames.unflatten(0, (self.pairs, 2))  # patient, session, frame
            embedded = embed_frames(self.network, frames.flatten(0, 2)).unflatten(0, frames.shape[:3])
            drawn = embed_frames(untrained, frames.flatten(0, 2)).unflatten(0, frames.shape[:3]).float().cpu()
            pixels = frames.numpy()
            ways = {"within_video": ((0, 0), (0, 1)), "cross_session": ((0, 0), (1, 1))}
            for way, (a, b) in ways.items():
                with torch.no_grad():
                    logits = self.network.logits(
                        embedded[:, a[0], a[1]].to(self.device), embedded[:, b[0], b[1]].to(self.device)
                    )
                first, second = pixels[:, a[0], a[1]], pixels[:, b[0], b[1]]
                compared = {OWN: logits.float().cpu().numpy(), "raw pixels": rs.pixel_scores(first, second)}
                compared["grey levels, no place"] = grey_level_scores(first, second)
                compared["first weights"] = -torch.cdist(drawn[:, a[0], a[1]], drawn[:, b[0], b[1]], p=1).numpy()
                for name, scores in compared.items():
                    rows.append([label, way, name, *self.area(scores, way, name, shrink, found)])
        title = f"Do two frames show one patient? {self.pairs} unseen patients"
        found.add(title, ["phantoms", "pairs", "method", "AUC", "95 % interval", "first place", "accuracy"], rows)
        return found

    def area(self, scores: np.ndarray, way: str, name: str, shrink: float, found: Found) -> list:
        """AUC, its interval, share of first places and accuracy of scores (N, N); figures go into `found`."""
        same = np.eye(len(scores), dtype=bool)
        positives, negatives = scores[same], scores[~same]
        area = rs.auc(positives, negatives)
        few = np.random.default_rng(0).choice(negatives, min(NEGATIVES, len(negatives)), replace=False)
        low, high = rs.auc_interval(positives, few, self.draws)
        first = float((scores.argmax(1) == np.arange(len(scores))).mean())
        own = name == OWN
        right = round(float(((positives > 0).mean() + (negatives < 0).mean()) / 2), 4) if own else None
        if shrink == 1.0:
            key = way if own else f"{way}_{name.split(',')[0].replace(' ', '_')}"
            found.figures[f"auc_{key}"] = round(area, 4)
            if name in DRAWN:
                found.data[f"{name}, {way.replace('_', ' ')}"] = rs.roc(positives, few)
        return [round(area, 4), f"{low:.4f} to {high:.4f}", round(first, 3), right]

    # --- 2 -----------------------------------------------------------------------------------------------------------

    def recall(self) -> Found:
        """New videos of a known share of the training patients."""
        gallery = self.gallery
        videos, _ = list_recall("tiny", 1.0, self.videos, self.training)
        videos = PhantomVideos("tiny", videos=videos, cache_dir=self.cache_dir)
        best, found = rs.nearest(
            gallery.compare(embed_videos(self.network, videos, self.video_frames), gallery.embeddings)
        )
        rows, errors, sure_errors = [], [], []
        for share in SHARES:
            _, seeds = list_recall("tiny", share, self.videos, self.training)
            own = np.isin(videos.patients, seeds)
            true = len(seeds) / self.training
            right = float((gallery.training.patients[found[own]] == videos.patients[own]).mean())
            learned = len(np.unique(found[own])) / self.training
            sure = len(np.unique(found[own & (best > gallery.threshold)])) / self.training
            errors.append(learned - true)
            sure_errors.append(sure - true)
            memorised = rs.memorised_share(best[own], gallery.threshold)
            values = (true, learned, learned - true, sure, sure - true, right, memorised)
            rows.append([int(own.sum()), *(round(value, 4) for value in values)])
        part = Found(figures={"recall_error_most": round(float(np.abs(errors).max()), 4)})
        part.figures["recall_error_most_above_threshold"] = round(float(np.abs(sure_errors).max()), 4)
        part.figures["nearest_is_right"] = rows[-1][6]
        columns = [
            "videos",
            "true share",
            "learned",
            "error",
            "learned above threshold",
            "its error",
            "nearest is right",
        ]
        title = f"Known recall: {self.videos} new videos of each of a share of {self.training} training patients"
        part.add(title, [*columns, "memorised"], rows)
        return part

    # --- 3 and 4 -----------------------------------------------------------------------------------------------------

    def controls(self) -> Found:
        """Other frames, planted copies and unseen patients."""
        gallery, videos = self.gallery, self.gallery.training
        length = videos.videos.videos[0].frames
        known = set(spread(length, self.video_frames).tolist())
        others = np.array([n for n in range(length) if n not in known])[::2][: self.video_frames]
        rows, rng = [], np.random.default_rng(0)
        queries = {
            "other frames of the training videos": [videos.frames(row, lambda _: others) for row in range(len(videos))],
            "copies of the training videos under noise": [
                self.copy_of(videos.frames(row, lambda n: spread(n, self.video_frames)), rng)
                for row in range(len(videos))
            ],
        }
        fresh = self.phantoms("VAL", self.unseen)
        queries["videos of unseen patients"] = [
            fresh.frames(row, lambda n: spread(n, self.video_frames)) for row in range(len(fresh))
        ]
        for name, frames in queries.items():
            count = len(frames[0])
            embedded = embed_frames(self.network, torch.cat(frames)).unflatten(0, (-1, count)).mean(1)
            best, found = rs.nearest(gallery.compare(embedded, gallery.embeddings))
            learned = rs.learned_share(found, len(videos))
            memorised = rs.memorised_share(best, gallery.threshold)
            rows.append([name, len(frames), round(learned, 4), round(memorised, 4), rs.largest_hub(found)])
        figures = {"upper_control_learned": rows[0][2], "planted_memorised": rows[1][3]}
        part = Found(figures=figures | {"unseen_memorised": rows[2][3], "unseen_learned": rows[2][2]})
        columns = ["queries", "videos", "learned", "memorised", "largest hub"]
        title = f"Controls against {len(videos)} training videos, threshold from {self.unseen} unseen patients"
        part.add(title, columns, rows)
        return part

    def copy_of(self, frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Frames under faint noise."""
        noise = torch.from_numpy(rng.standard_normal(frames.shape).astype(np.float32))
        return frames + 0.05 * frames.std() * noise

    # --- 5 -----------------------------------------------------------------------------------------------------------

    def consistency(self) -> Found:
        """Scores of each frame against the first: real videos, shuffled frames, another patient from mid-video."""
        gallery = self.gallery
        videos = self.phantoms("TEST", self.pairs)
        embedded = torch.stack([embed_frames(self.network, videos.frames(row)) for row in range(len(videos))])
        count, length = embedded.shape[:2]
        rng = np.random.default_rng(0)
        other = (np.arange(count) + rng.integers(1, count, count)) % count
        switched = torch.cat([embedded[:, : length // 2], embedded[other][:, length // 2 :]], 1)
        shuffled = torch.stack([embedded[(np.arange(count) + n * 7) % count, n] for n in range(length)], 1)
        rows, means = [], {}
        kinds = {
            "real videos": embedded,
            "frames shuffled across patients": shuffled,
            "another patient from the middle": switched,
        }
        for name, sets in kinds.items():
            scores = np.stack([gallery.compare(video[:1], video)[0] for video in sets])
            breaks = [rs.identity_break(curve, gallery.different) for curve in scores]
            exact = np.mean([place == length // 2 for place in breaks])
            near = np.mean([place is not None and abs(place - length // 2) <= 1 for place in breaks])
            means[name] = scores
            row = [name, scores[:, 1:].mean(), scores[:, 1:].mean(1).std(), (scores[:, 1:] < gallery.different).mean()]
            row += [np.mean([place is not None for place in breaks]), exact, near]
            rows.append([row[0], *(round(float(value), 4) for value in row[1:])])
        part = Found(data={"scores": means, "limit": gallery.different})
        part.figures = {"consistency_real": rows[0][1], "consistency_shuffled": rows[1][1]}
        part.figures |= {"different_below": round(gallery.different, 3), "switch_found_at_its_frame": rows[2][5]}
        part.figures |= {"switch_found_within_one_frame": rows[2][6], "switch_seen_in_real_videos": rows[0][4]}
        columns = ["videos", "mean score", "deviation between videos", "frames below the limit", "change found"]
        columns += ["at frame 8", "at 7 to 9"]
        title = f"Score of frame k against frame 0, {count} unseen patients, limit {gallery.different:.2f}"
        part.add(title, columns, rows)
        return part

    def speed(self) -> Found:
        """Seconds to audit a video."""
        video, gallery = self.phantoms("TEST", 1).frames(0), self.gallery
        start, repeats = time.process_time(), 20
        for _ in range(repeats):
            gallery.audit(embed_frames(self.network, video))
        figures = {f"seconds_per_sample_{self.kind_of_device}": round((time.process_time() - start) / repeats, 4)}
        return Found(figures=figures | {"threshold": round(gallery.threshold, 3)})


def grey_level_scores(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Minus the mean difference of sorted pixels of all pairs, (N, 1, S, S) and (M, 1, S, S) -> (N, M): no place."""
    first, second = (np.sort(images.reshape(len(images), -1).astype(np.float64), 1) for images in (queries, references))
    return -cdist(first, second, "cityblock") / first.shape[1]


def draw(areas: Mapping[str, Any], recall: list[list], consistency: Mapping[str, Any], path: str | Path) -> None:
    """PNG: ROC curves, measured against true recall, and consistency curves.

    Args:
        areas: method -> (false positive rates, true positive rates).
        recall: rows of the table of known recall.
        consistency: "scores", kind of video -> (N, T), and "limit", below which two frames show two patients.
        path: the PNG.
    """
    sheet = new_figure(12, 3.8)
    left, centre, right = sheet.subplots(1, 3)
    for name, (false, true) in areas.items():
        left.plot(np.maximum(false, 1e-4), true, label=name, linestyle=":" if "pixels" in name else "-")
    left.set(xscale="log", xlabel="false positive rate", ylabel="true positive rate", title="Unseen patients")
    left.legend(fontsize=7)
    centre.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    centre.plot([row[1] for row in recall], [row[2] for row in recall], "o-", label="learned")
    centre.plot([row[1] for row in recall], [row[4] for row in recall], "s--", label="learned, above the threshold")
    centre.set(xlabel="true share of training patients", ylabel="measured share", title="Known recall")
    centre.legend(fontsize=7)
    for name, scores in consistency["scores"].items():
        scores = np.asarray(scores)
        mean, width = scores[:, 1:].mean(0), scores[:, 1:].std(0)
        frames = np.arange(1, scores.shape[1])
        right.plot(frames, mean, label=name)
        right.fill_between(frames, mean - width, mean + width, alpha=0.2)
    right.axhline(consistency["limit"], color="black", linestyle=":", label="two patients below")
    right.set(xlabel="frame", ylabel="score against frame 0 (logit)", title="Consistency")
    right.legend(fontsize=7)
    save_figure(sheet, path, dpi=90)
