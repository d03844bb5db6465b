"""The brain phantom in numbers and pictures: python scripts/phantom_report.py [--output_dir docs]

Writes `pictures/brain_phantom.png` (template and subjects), `pictures/brain_phantom_contrasts.png` (contrasts and
lesions) and `brain_phantom.json` (how exactly volumes are met, subjects a second on one core).
"""

import json
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from synthzoo.bundle.cards import fill_page
from synthzoo.cli import run
from synthzoo.io.files import write_json
from synthzoo.phantoms.brain.phantom import BrainParams, draw_params, make_anatomy, make_brain, render
from synthzoo.phantoms.brain.template import brain_affine, brain_grid
from synthzoo.results.preview import montage

SHOWN = {
    "20 y, 10 mL ventricles, 1350 mL brain": BrainParams(11, 20, "F", 1350, 10),
    "55 y, 35 mL ventricles, 1200 mL brain": BrainParams(12, 55, "M", 1200, 35),
    "88 y, 110 mL ventricles, 950 mL brain": BrainParams(13, 88, "F", 950, 110),
}
TUMOUR = {"core_ml": 6.0, "enhancing_ml": 9.0, "oedema_ml": 40.0}
ILL = BrainParams(14, 72, "M", 1180, 45, wmh_ml=18.0, tumour=TUMOUR)


def template_image(spacing_mm: float) -> np.ndarray:
    """The ICBM152 T1w template within its brain mask on the phantom's grid, (D, H, W)."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template
    from nilearn.image import resample_img

    target = {"target_affine": brain_affine(spacing_mm), "target_shape": brain_grid(spacing_mm)}
    options = {**target, "force_resample": True, "copy_header": True}
    image = resample_img(load_mni152_template(1), **options).get_fdata()
    mask = resample_img(load_mni152_brain_mask(1), interpolation="nearest", **options).get_fdata()
    return (image * mask).astype(np.float32)


def volumes_met(subjects: int) -> dict[str, float]:
    """Largest relative difference between requested and written, and between written and the voxel sum."""
    worst = {"requested": 0.0, "sum": 0.0}
    for seed in tqdm(range(500, 500 + subjects), desc="volumes", mininterval=2):
        anatomy = make_anatomy(draw_params(seed, independent=True), 4.0)
        for name, requested in (("ventricle", anatomy.params.ventricle_ml), ("brain", anatomy.params.brain_ml)):
            worst["requested"] = max(worst["requested"], abs(anatomy.volumes_ml[name] / requested - 1))
        summed = float(anatomy.tissues[3].sum(dtype=np.float64)) * 0.064
        worst["sum"] = max(worst["sum"], abs(anatomy.volumes_ml["ventricle"] / summed - 1))
    return {name: float(f"{value:.2e}") for name, value in worst.items()}


def speed(spacing_mm: float, subjects: int) -> dict[str, float]:
    """Subjects for each second of one core's time: anatomy alone, and with its T1w image."""
    make_brain(draw_params(0), spacing_mm)  # the template is cached from here on
    seconds = {"anatomy": 0.0, "anatomy_and_image": 0.0}
    for seed in tqdm(range(subjects), desc=f"speed at {spacing_mm:g} mm", mininterval=2):
        params = draw_params(seed)
        began = time.process_time()
        anatomy = make_anatomy(params, spacing_mm)
        middle = time.process_time()
        render(anatomy, "T1w", seed=seed)
        seconds["anatomy"] += middle - began
        seconds["anatomy_and_image"] += time.process_time() - began
    return {name: round(subjects / value, 1) for name, value in seconds.items()}


def main(output_dir: str = "docs", spacing_mm: float = 1.0, subjects: int = 100) -> None:
    """Pictures at `spacing_mm`, numbers over `subjects` phantoms at 4 mm and a fifth as many at 2 mm."""
    torch.set_num_threads(1)
    folder = Path(output_dir)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    titles = ["ICBM152 template"] + [f"phantom: {title}" for title in SHOWN]
    images = [template_image(spacing_mm)] + [make_brain(params, spacing_mm).image for params in SHOWN.values()]
    montage(images, titles, folder / "pictures" / "brain_phantom.png")
    anatomy = make_anatomy(ILL, spacing_mm)
    kinds = {"T1w": {}, "T1w with contrast agent": {"gadolinium": True}, "T2w": {}, "FLAIR": {}, "PD": {}, "random": {}}
    images = [render(anatomy, kind.split()[0], seed=3, **options) for kind, options in kinds.items()]
    montage(images, [f"{kind}: tumour and WMH" for kind in kinds], folder / "pictures" / "brain_phantom_contrasts.png")
    found = {
        "command": "python scripts/phantom_report.py",
        "worst_relative_volume_error": volumes_met(subjects),
        "subjects_per_second_on_one_core": {"4 mm": speed(4.0, subjects), "2 mm": speed(2.0, max(5, subjects // 5))},
    }
    write_json(folder / "brain_phantom.json", found)
    fill_page(folder / "brain_phantom.md", "report", report_table(found))
    print(json.dumps(found, indent=2))


def report_table(found: dict) -> str:
    """The numbers as Markdown."""
    worst, speed_of = found["worst_relative_volume_error"], found["subjects_per_second_on_one_core"]
    lines = ["| figure | 4 mm | 2 mm |", "|---|---|---|"]
    for name, text in (("anatomy", "anatomies"), ("anatomy_and_image", "anatomies with a T1w image")):
        values = [str(speed_of[spacing][name]) for spacing in ("4 mm", "2 mm")]
        lines.append(f"| {text} for each second of one core | {' | '.join(values)} |")
    lines.append(f"| largest relative error, requested against written volume | {worst['requested']:g} | |")
    lines.append(f"| largest relative error, written volume against voxel sum | {worst['sum']:g} | |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
