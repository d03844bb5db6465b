"""Three synthetic brains as asked, and two anomaly maps, with previews: python scripts/demo.py [--output_dir demo]

The brains come from `brain_mr_synthesis_ldm` and are measured on their voxels alone. The maps come from
`brain_mr_anomaly_map_manytasks`: one of the real ICBM152 T1w template, into which nothing was planted, and one of a
copy with a lesion whose place and volume are known. A second call keeps what is complete.
"""

import json
from pathlib import Path

import fire
import nibabel as nib
import numpy as np
from scipy import ndimage as ndi

from synthzoo.bundle.compose import run_bundle
from synthzoo.data.files import write_nifti
from synthzoo.metrics.brain_age import measure_age
from synthzoo.metrics.brain_volumes import measure_brain

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
ASKED = {"age": [30, 60, 80], "sex": ["F", "M", "F"], "ventricle_ml": [12, 40, 90], "brain_ml": [1250, 1200, 1050]}
CENTRE_MM, LESION_ML = (-28.0, 8.0, 28.0), 25.0


def main(output_dir: str = "demo") -> None:
    """Write everything below `output_dir` and print what was asked against what was measured."""
    folder = Path(output_dir).resolve()
    print("demo 1/2: three brains as asked, from brain_mr_synthesis_ldm")
    brains = folder / "brains"
    run_bundle(
        BUNDLES / "brain_mr_synthesis_ldm",
        overrides={**ASKED, "num_samples": 3, "seed": 1, "output_dir": str(brains)},
    )
    print("demo 2/2: anomaly maps of a real template and of a copy with a lesion, from brain_mr_anomaly_map_manytasks")
    scans, maps = folder / "scans", folder / "maps"
    truth = write_scans(scans)
    run_bundle(
        BUNDLES / "brain_mr_anomaly_map_manytasks",
        overrides={"images": [str(scans / f"{case}.nii.gz") for case in CASES], "output_dir": str(maps)},
        run_id="run",
    )
    print("\nbrains, asked -> measured by instruments that see the voxels alone:")
    for number in range(3):
        print("  " + brain_line(brains, number))
    print("maps:")
    for case in CASES:
        print("  " + map_line(maps, case, truth))
    print(f"look at {brains / 'preview.png'}")
    for case in CASES:
        print(f"        {maps / case / f'{case}_heatmap.png'}")


CASES = ("template", "template_with_lesion")


def write_scans(folder: Path) -> np.ndarray:
    """The template and its copy with a lesion as NIfTI; returns the lesion, bool (D, H, W)."""
    import nilearn.datasets

    source = Path(nilearn.datasets.__file__).parent / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    image = nib.load(source)
    head = np.asarray(image.dataobj, dtype=np.float32)
    lesion, sick = plant_lesion(head, image.affine)
    for case, array in zip(CASES, (head, sick)):
        write_nifti(folder / f"{case}.nii.gz", array, image.affine)
    return lesion


def plant_lesion(head: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A tumour with a rough edge: dark core, bright rim, as on T1w with contrast agent; (truth, changed head)."""
    rng = np.random.default_rng(0)
    centre = np.linalg.inv(affine)[:3] @ (*CENTRE_MM, 1.0)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = np.meshgrid(*[(np.arange(n) - c) * s for n, c, s in zip(head.shape, centre, spacing)], indexing="ij")
    rough = ndi.gaussian_filter(rng.standard_normal(head.shape).astype(np.float32), 5)
    distance = np.sqrt(sum(a**2 for a in axes)) + 2.5 * rough / rough.std()
    edge = np.sort(distance[head > 0])[round(LESION_ML * 1000 / spacing.prod())]
    tissue = float(np.median(head[head > 0.3 * head.max()]))
    share = ndi.gaussian_filter((distance < edge).astype(np.float32), 0.8) * (head > 0)
    core = ndi.gaussian_filter((distance < 0.7 * edge).astype(np.float32), 0.8)
    level = tissue * (1.35 * (1 - core) + 0.55 * core)
    return (distance < edge) & (head > 0), head * (1 - share) + share * level


def brain_line(folder: Path, number: int) -> str:
    """One generated brain: each condition with what an instrument reads."""
    case = f"sub-{number + 1:04d}"
    image = nib.load(folder / case / f"{case}_T1w.nii.gz")
    array, spacing = image.get_fdata(dtype=np.float32), float(image.header.get_zooms()[0])
    found = {**measure_brain(array, spacing), "age": measure_age(array, spacing)}
    parts = [f"{name} {ASKED[name][number]} -> {found[name]:.0f}" for name in ("age", "ventricle_ml", "brain_ml")]
    return f"{case} ({ASKED['sex'][number]}): " + ", ".join(parts)


def map_line(folder: Path, case: str, truth: np.ndarray) -> str:
    """One map: how much lies above the threshold, and for the lesion how much of it was found."""
    record = json.loads((folder / case / f"{case}_heatmap.json").read_text())
    heat = np.asarray(nib.load(folder / case / f"{case}_heatmap.nii.gz").dataobj, dtype=np.float32)
    inside, above = heat > 0, heat >= record["threshold"]["value"]
    line = f"{case}: image score {record['score']:.4f}, {100 * above[inside].mean():.2f} % of the brain above threshold"
    if case != CASES[1]:
        return line + ", nothing planted"
    overlap = 2 * (above & truth).sum() / max(above.sum() + truth.sum(), 1)
    planted = f"planted {truth.sum() / 1000:.1f} mL at {CENTRE_MM} mm"
    largest = record["regions"][0] if record["regions"] else None
    found = (
        f"largest region {largest['volume_ml']:.1f} mL at {tuple(largest['centre_mm'])} mm" if largest else "no region"
    )
    means = f"mean heat in the lesion {heat[truth].mean():.3f}, elsewhere {heat[inside & ~truth].mean():.3f}"
    return f"{line}; {planted}, {found}, Dice {overlap:.2f}; {means}"


if __name__ == "__main__":
    fire.Fire(main)
