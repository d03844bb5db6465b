"""Three synthetic brains as requested, and two anomaly maps, with previews: python scripts/demo.py [--output_dir demo]

The brains come from `brain_mr_synthesis_ldm` and are measured on their voxels alone. The maps come from
`brain_mr_anomaly_map_manytasks`: one of the real ICBM152 T1w template, into which nothing was planted, and one of a
copy with a tumour, painted as the phantom paints them, whose place and volume are known. A second call keeps what is
complete.
"""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from synthzoo.bundle.compose import run_bundle
from synthzoo.cli import run
from synthzoo.instruments.brain.age import measure_age
from synthzoo.instruments.brain.volumes import measure_brain
from synthzoo.phantoms.brain.planted import CASES, write_planted

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
REQUESTED = {"age": [30, 60, 80], "sex": ["F", "M", "F"], "ventricle_ml": [12, 40, 90], "brain_ml": [1250, 1200, 1050]}


def main(output_dir: str = "demo") -> None:
    """Write everything below `output_dir` and print what was requested against what was measured."""
    folder = Path(output_dir).resolve()
    print("demo 1/2: three brains as requested, from brain_mr_synthesis_ldm")
    brains = folder / "brains"
    run_bundle(
        BUNDLES / "brain_mr_synthesis_ldm",
        overrides={**REQUESTED, "num_samples": 3, "seed": 1, "output_dir": str(brains)},
    )
    print("demo 2/2: anomaly maps of a real template and of a copy with a lesion, from brain_mr_anomaly_map_manytasks")
    scans, maps = folder / "scans", folder / "maps"
    truth = write_planted(scans)
    run_bundle(
        BUNDLES / "brain_mr_anomaly_map_manytasks",
        overrides={"images": [str(scans / f"{case}.nii.gz") for case in CASES], "output_dir": str(maps)},
        run_id="run",
    )
    print("\nbrains, requested -> measured by instruments that see the voxels alone:")
    for number in range(3):
        print("  " + brain_line(brains, number))
    print("maps:")
    for case in CASES:
        print("  " + map_line(maps, case, truth))
    print(f"look at {brains / 'preview.png'}")
    for case in CASES:
        print(f"        {maps / case / f'{case}_heatmap.png'}")


def brain_line(folder: Path, number: int) -> str:
    """One generated brain: each condition with what an instrument reads."""
    case = f"sub-{number + 1:04d}"
    image = nib.load(folder / case / f"{case}_T1w.nii.gz")
    array, spacing = image.get_fdata(dtype=np.float32), float(image.header.get_zooms()[0])
    found = {**measure_brain(array, spacing), "age": measure_age(array, spacing)}
    parts = [f"{name} {REQUESTED[name][number]} -> {found[name]:.0f}" for name in ("age", "ventricle_ml", "brain_ml")]
    return f"{case} ({REQUESTED['sex'][number]}): " + ", ".join(parts)


def map_line(folder: Path, case: str, truth: np.ndarray) -> str:
    """One map: how much lies above the threshold, and for the lesion how much of it was found."""
    record = json.loads((folder / case / f"{case}_heatmap.json").read_text(encoding="utf-8"))
    heat = np.asarray(nib.load(folder / case / f"{case}_heatmap.nii.gz").dataobj, dtype=np.float32)
    inside, above = heat > 0, heat >= record["threshold"]["value"]
    line = f"{case}: image score {record['score']:.4f}, {100 * above[inside].mean():.2f} % of the brain above threshold"
    if case != CASES[1]:
        return line + ", nothing planted"
    overlap = 2 * (above & truth).sum() / max(above.sum() + truth.sum(), 1)
    affine = nib.load(folder / case / f"{case}_heatmap.nii.gz").affine
    centre = tuple(round(float(x)) for x in (affine @ [*np.argwhere(truth).mean(0), 1])[:3])
    planted = f"planted {truth.sum() / 1000:.1f} mL around {centre} mm"
    largest = record["regions"][0] if record["regions"] else None
    found = (
        f"largest region {largest['volume_ml']:.1f} mL at {tuple(largest['centre_mm'])} mm" if largest else "no region"
    )
    means = f"mean heat in the lesion {heat[truth].mean():.3f}, elsewhere {heat[inside & ~truth].mean():.3f}"
    return f"{line}; {planted}, {found}, Dice {overlap:.2f}; {means}"


if __name__ == "__main__":
    run(main)
