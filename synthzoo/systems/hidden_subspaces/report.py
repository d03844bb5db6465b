"""Report of an audit over the whole set: a table, a summary and pictures."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from PIL import Image, ImageDraw

from synthzoo.cases.table import CaseTable
from synthzoo.io.files import text_of, write_bytes, write_json, write_text
from synthzoo.io.marks import with_mark
from synthzoo.results.dataset_files import case_of, mark_of_row, mark_of_set, sidecars
from synthzoo.systems.hidden_subspaces.gallery import Gallery
from synthzoo.systems.hidden_subspaces.videos import spread

COLUMNS = ("score", "memorised", "nearest_video", "nearest_patient", "consistency", "identity_break", "frames")
SHOWN = 6  # frames of a video in its picture
SIDE = 96  # pixels of a frame there


class SaveAuditPreview(Transform):
    """Write `<case>_reid.png`: frames of the video above frames of the training video that is nearest to it.

    Args:
        table: the run's.
        gallery: has the training videos.
    """

    served = False  # a server answers with results, not with pictures of them

    def __init__(self, table: CaseTable, gallery: Gallery) -> None:
        self.table, self.gallery = table, gallery

    def __call__(self, data: dict) -> dict:
        if self.table.output_dir is not None and "case" in data:
            video = torch.as_tensor(data["image"]).as_subclass(torch.Tensor).cpu().float().movedim(1, 0)
            own = video[torch.from_numpy(spread(len(video), SHOWN))]
            other = self.gallery.training.frames(int(data["nearest"]), lambda count: spread(count, SHOWN))
            word = "memorised" if data["memorised"] else "not memorised"
            titles = [
                f"{text_of(data['case'])}: score {data['score']:.2f}, threshold {data['threshold']:.2f}, {word}",
                f"nearest training video: {data['nearest_video']}",
            ]
            mark = mark_of_row(self.table, int(data["row"]), synthetic=False)
            png = with_mark(strips([own, other], titles), mark)
            write_bytes(self.table.path(str(data["case"]), "reid.png"), png)
        return data


def strips(videos: list[torch.Tensor], titles: list[str]) -> bytes:
    """PNG of rows of frames (n, C, H, W), the first channel of each, with a line of text above."""
    picture = Image.new("L", (SHOWN * SIDE, len(videos) * (SIDE + 14)))
    pen = ImageDraw.Draw(picture)
    for number, (frames, text) in enumerate(zip(videos, titles, strict=True)):
        top = number * (SIDE + 14)
        pen.text((2, top + 1), text[:96], fill=255)
        for place, frame in enumerate(frames[:, 0].numpy()):
            low, high = float(frame.min()), float(frame.max())
            grey = np.uint8(np.clip((frame - low) / max(high - low, 1e-6), 0, 1) * 255)
            picture.paste(Image.fromarray(grey).resize((SIDE, SIDE)), (place * SIDE, top + 14))
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def summarise(records: list[dict]) -> dict:
    """The figures of a set from its videos' sidecars, which were all compared with the same training videos."""
    last = records[-1]
    training = last["training"]
    owners = [record["nearest_video"] for record in records]
    kept = [record["nearest_video"] for record in records if not record["memorised"]]
    count, known = len(records), training["videos"]
    steady = [record["consistency"] for record in records if record["consistency"] is not None]
    summary = {
        "videos": count,
        "training": training,
        "unseen": last["unseen"],
        "threshold": last["threshold"],
        "memorised": sum(record["memorised"] for record in records),
        "memorised_share": sum(record["memorised"] for record in records) / count,
        "learned": len(set(owners)),
        "learned_share": len(set(owners)) / min(known, count),
        "learned_of_all_training_videos": len(set(owners)) / known,
        "learned_without_memorised": len(set(kept)),
        "largest_hub": max(owners.count(name) for name in set(owners)),
        "consistency_mean": float(np.mean(steady)) if steady else None,
        "different_below": last["different_below"],
        "identity_breaks": sum(record["identity_break"] is not None for record in records),
    }
    if last["unseen"]:
        unseen = last["unseen"]
        summary["learned_share_of_unseen_patients"] = unseen["training_videos_nearest"] / min(known, unseen["videos"])
    return summary


def write_audit(table: CaseTable, paths: list[Path], overlay: str | None = None) -> None:
    """Write audit.tsv, audit.json and audit.png of all cases in the output folder."""
    paths = sidecars(table)
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    # Videos of an earlier run against another training set would make no sense in one sum.
    same = [n for n, record in enumerate(records) if record["training"] == records[-1]["training"]]
    paths, records = [paths[n] for n in same], [records[n] for n in same]
    lines = ["\t".join(("video", *COLUMNS))]
    for path, record in zip(paths, records):
        lines.append("\t".join([text_of(case_of(path, table)), *(_cell(record[name]) for name in COLUMNS)]))
    write_text(table.output_dir / "audit.tsv", "\n".join(lines) + "\n")
    summary = summarise(records)
    write_json(table.output_dir / "audit.json", summary)
    curves = [_read_curve(table.path(case_of(path, table))) for path in paths]
    png = with_mark(figure(records, curves, summary), mark_of_set(table, paths))
    write_bytes(table.output_dir / "audit.png", png)
    print(
        f"{summary['videos']} videos against {summary['training']['videos']} training videos: {summary['memorised']} "
        f"memorised (score above {summary['threshold']:.2f}), {summary['learned']} training videos are nearest to at "
        f"least one, {summary['identity_breaks']} videos change their patient; see {table.output_dir / 'audit.json'}"
    )


def figure(records: list[dict], curves: list[np.ndarray], summary: dict) -> bytes:
    """PNG: the videos' scores with the threshold, and their consistency curves."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(10, 3.6))
    FigureCanvasAgg(sheet)
    left, right = sheet.subplots(1, 2)
    left.hist([record["score"] for record in records], bins=min(40, 5 + len(records) // 2), color="#4477aa")
    left.axvline(
        summary["threshold"], color="#cc3311", label=f"threshold: {summary['memorised']} of {len(records)} above"
    )
    left.set(xlabel="score against the nearest training video (logit)", ylabel="videos")
    left.legend(fontsize=8)
    for curve, record in zip(curves[:200], records):
        broken = record["identity_break"] is not None
        right.plot(
            np.arange(1, len(curve)),
            curve[1:],
            color="#cc3311" if broken else "#4477aa",
            alpha=0.9 if broken else 0.3,
            linewidth=1,
        )
    right.axhline(summary["different_below"], color="black", linestyle=":", label="two patients below")
    right.set(xlabel="frame", ylabel="score against frame 0 (logit)")
    right.legend(fontsize=8)
    sheet.tight_layout()
    buffer = BytesIO()
    sheet.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()


def _read_curve(path: Path) -> np.ndarray:
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return np.array([float(row[2]) for row in rows])


def _cell(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)
