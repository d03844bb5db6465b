"""The echo phantom in numbers and pictures: python scripts/echo_phantom_report.py [--output_dir docs]

Writes `pictures/echo_phantom.png` (one heart under three ejection fractions, and other patients), `echo_phantom.json`
(how exactly the ejection fraction is met, seconds of one core for each video, what discs on the masks measure, how far
raw pixels tell patients apart) and the table in `echo_phantom.md`.
"""

import io
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from synthzoo.bundle.cards import fill_page
from synthzoo.cli import run
from synthzoo.instruments.echo.discs import measure_echo
from synthzoo.io.files import write_bytes, write_json
from synthzoo.phantoms.echo.phantom import counterfactual, draw_params, ejection_curve, make_clip, make_masks

SIZES = (32, 64, 112)


def largest_ef_error(videos: int) -> float:
    """Largest difference between requested EF and 1 - min / max of the sampled volumes."""
    worst = 0.0
    for patient in range(videos):
        params = draw_params(patient)
        volumes = ejection_curve(params, 16, 16).volume_ml
        worst = max(worst, abs(1 - volumes.min() / volumes.max() - params.ef))
    return float(f"{worst:.2e}")


def speed(size: int, videos: int) -> float:
    """Seconds of one core for a video of 16 frames with masks, each of another patient."""
    make_clip(draw_params(0), size)
    began = time.process_time()
    for patient in range(1, videos + 1):
        make_clip(draw_params(patient), size)
    return round((time.process_time() - began) / videos, 4)


def discs(size: int, videos: int) -> dict[str, float]:
    """R2 and mean absolute error, in EF points, of discs on the true masks; EF evenly spread on 0.15 to 0.85."""
    requested, measured = np.linspace(0.15, 0.85, videos), []
    for patient, ef in enumerate(tqdm(requested, desc=f"discs at {size}", mininterval=2)):
        params = draw_params(patient, ef=float(ef))
        measured.append(measure_echo(make_masks(params, size), params.patient.depth_cm / size)["ef"])
    error = np.array(measured) - requested
    r2 = 1 - (error**2).sum() / ((requested - requested.mean()) ** 2).sum()
    return {"r2": round(float(r2), 4), "mae_points": round(100 * float(np.abs(error).mean()), 2)}


def pixel_identity(patients: int, shrink: float, size: int = 32) -> dict[str, float]:
    """How well the correlation of raw pixels finds a patient's other frame: in the same video, and in another session.

    Frames are paired across all patients; AUC of same against different patients, and share of frames whose nearest
    is the right one. Sessions have another EF, pose, gain and phase.
    """
    first, later, second = [], [], []
    for patient in range(200_000, 200_000 + patients):
        video = make_clip(draw_params(patient, 0, shrink=shrink), size).frames
        first.append(video[0])
        later.append(video[8])
        second.append(make_clip(draw_params(patient, 1, 1, shrink=shrink), size).frames[0])
    found = {}
    for name, others in (("video", later), ("session", second)):
        one, two = (np.array(frames, float).reshape(patients, -1) for frames in (first, others))
        similarity = np.corrcoef(one, two)[:patients, patients:]
        same, different = np.diag(similarity), similarity[~np.eye(patients, dtype=bool)]
        found[f"auc_{name}"] = round(float((same[:, None] > different[None]).mean()), 3)
        found[f"top1_{name}"] = round(float((similarity.argmax(1) == np.arange(patients)).mean()), 3)
    return found


def picture(path: Path) -> None:
    """One patient at EF 0.20, 0.45 and 0.70, end diastole beside end systole; below, other patients and a mask."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    clip = make_clip(draw_params(23, ef=0.45), 112)
    shown = []
    for ef in (0.20, 0.45, 0.70):
        video = counterfactual(clip, ef)
        shown += [
            (f"EF {ef:.2f}, {name}", video.frames[k]) for name, k in (("ED", video.ed_frame), ("ES", video.es_frame))
        ]
    videos = [make_clip(draw_params(patient, ef=0.6), 112) for patient in (21, 22, 5, 25, 30)]
    shown += [(f"another patient, {f.source.edv_ml:.0f} mL", f.frames[f.ed_frame]) for f in videos]
    figure = Figure(figsize=(10.5, 3.9), facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 6).ravel()
    for axis, (title, frame) in zip(axes, [*shown, ("the last one's mask", videos[-1].frames[videos[-1].ed_frame])]):
        axis.imshow(frame, cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, color="white", fontsize=8)
    axes[-1].contour(videos[-1].masks[videos[-1].ed_frame], [0.5], colors="white", linewidths=1)
    for axis in axes:
        axis.set_axis_off()
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.94, 0.02, 0.12)
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, dpi=90, facecolor="black")
    Image.open(raw).convert("L").quantize(32).save(small, "PNG", optimize=True)
    write_bytes(path, small.getvalue())


def main(output_dir: str = "docs", videos: int = 120) -> None:
    """The picture, and numbers over `videos` phantoms."""
    folder = Path(output_dir)
    picture(folder / "pictures" / "echo_phantom.png")
    found = {
        "command": "python scripts/echo_phantom_report.py",
        "largest_ef_error": largest_ef_error(10 * videos),
        "seconds_per_video_of_16_frames_on_one_core": {str(size): speed(size, max(10, videos // 4)) for size in SIZES},
        "discs_on_true_masks": {str(size): discs(size, videos) for size in SIZES},
        "raw_pixel_identity_at_32": {f"{shrink:g}": pixel_identity(60, shrink) for shrink in (1.0, 0.5)},
    }
    write_json(folder / "echo_phantom.json", found)
    fill_page(folder / "echo_phantom.md", "report", report_table(found))
    print(json.dumps(found, indent=2))


def report_table(found: dict) -> str:
    """The numbers as Markdown."""
    seconds, measured = found["seconds_per_video_of_16_frames_on_one_core"], found["discs_on_true_masks"]
    rows = {
        "seconds of one core for a video of 16 frames with masks": [f"{seconds[str(size)]:.3f}" for size in SIZES],
        "R2 of discs on the true masks": [f"{measured[str(size)]['r2']:.4f}" for size in SIZES],
        "mean absolute error of these, EF points": [f"{measured[str(size)]['mae_points']:.2f}" for size in SIZES],
        "largest error of the EF of sampled volumes": [f"{found['largest_ef_error']:.1e}"] * 3,
    }
    lines = ["| figure | 32 x 32 | 64 x 64 | 112 x 112 |", "|---|---|---|---|"]
    lines += [f"| {name} | {' | '.join(values)} |" for name, values in rows.items()]
    lines += ["", "| raw pixels as a fingerprint, 60 patients at 32 x 32 | ranges as they are | `shrink=0.5` |"]
    lines += ["|---|---|---|"]
    identity = [found["raw_pixel_identity_at_32"][shrink] for shrink in ("1", "0.5")]
    for name, text in (("video", "two frames of one video"), ("session", "two sessions with different EF")):
        values = [f"AUC {v[f'auc_{name}']:.3f}, first place {100 * v[f'top1_{name}']:.0f} %" for v in identity]
        lines.append(f"| {text} | {' | '.join(values)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
