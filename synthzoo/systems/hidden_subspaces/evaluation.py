"""How far the re-identification metric can be trusted: on phantoms the truth of every answer is known.

1. AUC on unseen patients, two frames of one video and two videos of one patient, beside raw pixels.
2. Controlled recall: new videos of a known share q of the training patients; the learned share must be q.
3. Controls: other frames of the training videos (recall near 1); videos of unseen patients (memorised near 5 %).
4. Planted copies of training videos under faint noise are flagged.
5. Consistency curves: real videos, frames shuffled across patients, a change of patient at mid-video.
"""

from __future__ import annotations

import json
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from synthzoo.io.files import write_bytes, write_json
from synthzoo.phantoms.echo.sets import list_recall
from synthzoo.systems.hidden_subspaces import scores as rs
from synthzoo.systems.hidden_subspaces.gallery import Gallery, embed_frames, embed_videos
from synthzoo.systems.hidden_subspaces.videos import PhantomVideos, spread

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
REQUESTED = {
    "auc_within_video": 0.995,
    "auc_cross_session": 0.98,
    "recall_error_most": 0.03,
    "upper_control_learned": 0.97,
    "planted_memorised": 0.99,
}
NEGATIVES = 4000  # pairs of two patients in the bootstrap


class ReidEvaluation:
    """Runs the five tests, writes metrics.json and a picture.

    Args:
        network: trained `ReidNetwork`.
        training: patients of TRAIN that the audits compare with.
        unseen: patients for the thresholds, and as many others for the lower control.
        pairs: unseen patients for the AUC.
        videos: of each patient in the controlled recall.
        video_frames: over which a video's embedding is averaged.
        draws: of the bootstrap.
        cache_dir: keeps the phantoms.
        save_to, figure: metrics.json and a PNG.
        command: what a reader types to get the same numbers.
        device: where the network runs.
    """

    def __init__(
        self,
        network,
        training: int = 400,
        unseen: int = 600,
        pairs: int = 300,
        videos: int = 20,
        video_frames: int = 4,
        draws: int = 1000,
        cache_dir: str | None = None,
        save_to: str = "docs/metrics.json",
        figure: str | None = None,
        command: str = "",
        device="cpu",
    ):
        self.network = network.to(device).eval()
        self.training, self.unseen, self.pairs, self.videos = training, unseen, pairs, videos
        self.video_frames, self.draws, self.cache_dir = video_frames, draws, cache_dir
        self.save_to, self.figure, self.command, self.device = Path(save_to), figure, command, device
        self.figures: dict[str, float] = {}

    def run(self) -> dict:
        """All tests in turn; returns and writes the tables and figures."""
        gallery = Gallery(self._videos("TRAIN", self.training), self._videos("TEST", self.unseen), self.video_frames)
        gallery.fit(self.network)
        tables, curves = [], {}
        parts = {
            "re-identification": lambda: self._areas(curves),
            "recall": lambda: self._recall(gallery),
            "controls": lambda: self._controls(gallery),
            "consistency": lambda: self._consistency(gallery, curves),
            "speed": lambda: self._speed(gallery),
        }
        for name, part in tqdm(parts.items(), desc="evaluation"):
            found = part()
            tables += found if isinstance(found, list) else []
            print(f"{name}: {self.figures}", flush=True)
        self.figures["threshold"] = round(gallery.threshold, 3)
        tables.append(self._requested())
        result = {"command": self.command, "tables": tables, "figures": self.figures}
        write_json(self.save_to, result)
        if self.figure:
            write_bytes(self.figure, draw(tables, curves, gallery.different))
        print(json.dumps(self.figures, indent=1))
        return result

    def _videos(self, split: str, patients: int, **kwargs) -> PhantomVideos:
        return PhantomVideos("tiny", split, patients, cache_dir=self.cache_dir, **kwargs)

    # --- 1 -----------------------------------------------------------------------------------------------------------

    def _areas(self, curves: dict) -> list[dict]:
        rows = []
        for shrink, label in ((1.0, "patients as they are"), (0.5, "patients that are hard to tell apart")):
            videos = self._videos("TEST", self.pairs, sessions=2, shrink=shrink)
            frames = torch.stack([videos.frames(row, lambda _: np.array([2, 9])) for row in range(len(videos))])
            frames = frames.unflatten(0, (self.pairs, 2))  # patient, session, frame
            embedded = embed_frames(self.network, frames.flatten(0, 2)).unflatten(0, frames.shape[:3])
            pixels = frames.numpy()
            ways = {"within_video": ((0, 0), (0, 1)), "cross_session": ((0, 0), (1, 1))}
            for way, (a, b) in ways.items():
                with torch.no_grad():
                    logits = self.network.logits(
                        embedded[:, a[0], a[1]].to(self.device), embedded[:, b[0], b[1]].to(self.device)
                    )
                floor = rs.pixel_scores(pixels[:, a[0], a[1]], pixels[:, b[0], b[1]])
                for name, scores in (("re-identification", logits.float().cpu().numpy()), ("raw pixels", floor)):
                    rows.append([label, way, name, *self._area(scores, way, name, shrink, curves)])
        title = f"Do two frames show one patient? {self.pairs} unseen patients"
        columns = ["phantoms", "pairs", "method", "AUC", "95 % interval", "first place", "accuracy"]
        return [{"title": title, "columns": columns, "rows": rows}]

    def _area(self, scores: np.ndarray, way: str, name: str, shrink: float, curves: dict) -> list:
        same = np.eye(len(scores), dtype=bool)
        positives, negatives = scores[same], scores[~same]
        area = rs.auc(positives, negatives)
        few = np.random.default_rng(0).choice(negatives, min(NEGATIVES, len(negatives)), replace=False)
        low, high = rs.auc_interval(positives, few, self.draws)
        first = float((scores.argmax(1) == np.arange(len(scores))).mean())
        own = name != "raw pixels"
        right = round(float(((positives > 0).mean() + (negatives < 0).mean()) / 2), 4) if own else None
        if shrink == 1.0:
            key = way if own else f"{way}_raw_pixels"
            self.figures[f"auc_{key}"] = round(area, 4)
            curves[f"{name}, {way.replace('_', ' ')}"] = rs.roc(positives, few)
        return [round(area, 4), f"{low:.4f} to {high:.4f}", round(first, 3), right]

    # --- 2 -----------------------------------------------------------------------------------------------------------

    def _recall(self, gallery: Gallery) -> list[dict]:
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
        self.figures["recall_error_most"] = round(float(np.abs(errors).max()), 4)
        self.figures["recall_error_most_above_threshold"] = round(float(np.abs(sure_errors).max()), 4)
        self.figures["nearest_is_right"] = rows[-1][6]
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
        return [{"title": title, "columns": [*columns, "memorised"], "rows": rows}]

    # --- 3 and 4 -----------------------------------------------------------------------------------------------------

    def _controls(self, gallery: Gallery) -> list[dict]:
        videos = gallery.training
        known = set(spread(videos.videos.videos[0].frames, self.video_frames).tolist())
        others = np.array([n for n in range(videos.videos.videos[0].frames) if n not in known])[:: 16 // 8][
            : self.video_frames
        ]
        rows, rng = [], np.random.default_rng(0)
        queries = {
            "other frames of the training videos": [videos.frames(row, lambda _: others) for row in range(len(videos))],
            "copies of the training videos under noise": [
                self._copy(videos.frames(row, lambda n: spread(n, self.video_frames)), rng)
                for row in range(len(videos))
            ],
        }
        fresh = self._videos("VAL", self.unseen)
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
        self.figures["upper_control_learned"] = rows[0][2]
        self.figures["planted_memorised"] = rows[1][3]
        self.figures["unseen_memorised"] = rows[2][3]
        self.figures["unseen_learned"] = rows[2][2]
        columns = ["queries", "videos", "learned", "memorised", "largest hub"]
        title = f"Controls against {len(videos)} training videos, threshold from {self.unseen} unseen patients"
        return [{"title": title, "columns": columns, "rows": rows}]

    def _copy(self, frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        noise = torch.from_numpy(rng.standard_normal(frames.shape).astype(np.float32))
        return frames + 0.05 * frames.std() * noise

    # --- 5 -----------------------------------------------------------------------------------------------------------

    def _consistency(self, gallery: Gallery, curves: dict) -> list[dict]:
        videos = self._videos("TEST", self.pairs)
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
        curves["consistency"] = means
        self.figures["consistency_real"] = rows[0][1]
        self.figures["consistency_shuffled"] = rows[1][1]
        self.figures["different_below"] = round(gallery.different, 3)
        self.figures["shuffled_below_limit"] = float(rows[1][1] < gallery.different)
        self.figures["switch_found_at_its_frame"] = rows[2][5]
        self.figures["switch_found_within_one_frame"] = rows[2][6]
        self.figures["switch_seen_in_real_videos"] = rows[0][4]
        columns = ["videos", "mean score", "deviation between videos", "frames below the limit", "change found"]
        columns += ["at frame 8", "at 7 to 9"]
        title = f"Score of frame k against frame 0, {count} unseen patients, limit {gallery.different:.2f}"
        return [{"title": title, "columns": columns, "rows": rows}]

    def _speed(self, gallery: Gallery) -> None:
        video = self._videos("TEST", 1).frames(0)
        start, repeats = time.process_time(), 20
        for _ in range(repeats):
            gallery.audit(embed_frames(self.network, video))
        kind = "gpu" if "cuda" in str(self.device) else "cpu"
        self.figures[f"seconds_per_sample_{kind}"] = round((time.process_time() - start) / repeats, 4)

    def _requested(self) -> dict:
        rows = []
        for name, bar in REQUESTED.items():
            value = self.figures[name]
            met = value <= bar if name.startswith("recall_error") else value >= bar
            rows.append(
                [name, f"{'at most' if name.startswith('recall_error') else 'at least'} {bar}", value, bool(met)]
            )
        rows.append(
            [
                "unseen_memorised",
                "0.03 to 0.07",
                self.figures["unseen_memorised"],
                bool(0.03 <= self.figures["unseen_memorised"] <= 0.07),
            ]
        )
        limit = f"below {self.figures['different_below']}"
        rows.append(
            [
                "consistency_shuffled",
                limit,
                self.figures["consistency_shuffled"],
                bool(self.figures["shuffled_below_limit"]),
            ]
        )
        for way in ("within_video", "cross_session"):
            own, floor = self.figures[f"auc_{way}"], self.figures[f"auc_{way}_raw_pixels"]
            rows.append([f"auc_{way}", f"above raw pixels, {floor}", own, bool(own > floor)])
        self.figures["bars_met"], self.figures["bars"] = sum(row[-1] for row in rows), len(rows)
        return {"title": "What was requested", "columns": ["figure", "requested", "reached", "met"], "rows": rows}


def draw(tables: list[dict], curves: dict, limit: float) -> bytes:
    """PNG: ROC curves, measured against true recall, and consistency curves."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(12, 3.8))
    FigureCanvasAgg(sheet)
    left, middle, right = sheet.subplots(1, 3)
    curves = dict(curves)
    videos = curves.pop("consistency")
    for name, (false, true) in curves.items():
        left.plot(np.maximum(false, 1e-4), true, label=name, linestyle=":" if "pixels" in name else "-")
    left.set(xscale="log", xlabel="false positive rate", ylabel="true positive rate", title="Unseen patients")
    left.legend(fontsize=7)
    rows = next(table["rows"] for table in tables if table["title"].startswith("Known recall"))
    middle.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    middle.plot([row[1] for row in rows], [row[2] for row in rows], "o-", label="learned")
    middle.plot([row[1] for row in rows], [row[4] for row in rows], "s--", label="learned, above the threshold")
    middle.set(xlabel="true share of training patients", ylabel="measured share", title="Known recall")
    middle.legend(fontsize=7)
    for name, scores in videos.items():
        mean, width = scores[:, 1:].mean(0), scores[:, 1:].std(0)
        frames = np.arange(1, scores.shape[1])
        right.plot(frames, mean, label=name)
        right.fill_between(frames, mean - width, mean + width, alpha=0.2)
    right.axhline(limit, color="black", linestyle=":", label="two patients below")
    right.set(xlabel="frame", ylabel="score against frame 0 (logit)", title="Consistency")
    right.legend(fontsize=7)
    sheet.tight_layout()
    buffer = BytesIO()
    sheet.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()
