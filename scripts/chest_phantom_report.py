"""The chest phantom in numbers and pictures: python scripts/chest_phantom_report.py [--output_dir docs]

Writes `pictures/chest_phantom.png` (healthy patients, findings with their boxes, three studies of one patient, his CT),
`chest_phantom.json` (exactness, ratio, sizes of findings, raw pixels as a fingerprint, seconds of one core) and the
tables in `chest_phantom.md`.
"""

import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from tqdm import tqdm

from synthzoo.bundle.cards import fill_page
from synthzoo.cli import run
from synthzoo.io.files import write_bytes, write_json
from synthzoo.io.images import png_bytes
from synthzoo.phantoms.chest.anatomy import Anatomy
from synthzoo.phantoms.chest.findings import HU, KINDS, LESIONS, Finding
from synthzoo.phantoms.chest.patient import draw_patient, draw_study
from synthzoo.phantoms.chest.phantom import chest_study, expose, volume_ct
from synthzoo.phantoms.chest.projection import Beam, integrate
from synthzoo.phantoms.chest.tissue import LUNG, WATER_PER_MM
from synthzoo.phantoms.chest.truth import cardiothoracic_ratio

SIZES = (128, 256)
SHOWN = 224  # pixels of a picture's tile


def exactness(studies: int) -> dict[str, float]:
    """Largest error of a finding's change of the line integral, and of the lungs' volume at the usual step."""
    found = {}
    for kind in LESIONS[:3]:
        worst = 0.0
        for seed in range(studies):
            ill = chest_study(seed, 0, [Finding(kind, seed=seed)], 64)
            change = ill.projection.mu - chest_study(seed, 0, [], 64).projection.mu
            step = (HU[kind] - LUNG) / 1000 * WATER_PER_MM
            worst = max(worst, float(np.abs(change - ill.projection.paths[2] * step).max()))
        found[f"largest_error_{kind}"] = float(f"{worst:.1e}")
    an, beam = Anatomy(draw_patient(2)), Beam.of(draw_study(2), 128)
    usual, half = (float(integrate(an, beam, step_mm=step)[1][0].sum()) for step in (6.0, 3.0))
    return found | {"lung_volume_error_percent": round(100 * abs(usual / half - 1), 3)}


def ratios(patients: int) -> dict[str, float]:
    """Measured against wanted cardiothoracic ratio, and the ratios of healthy studies."""
    wanted, measured = np.linspace(0.4, 0.66, patients), []
    for seed, ctr in enumerate(wanted):
        an = Anatomy(draw_patient(seed), ctr=float(ctr))
        measured.append(cardiothoracic_ratio(integrate(an, Beam.of(draw_study(seed), 64))[1]))
    healthy = [chest_study(seed, 0, [], 32).ctr for seed in range(patients)]
    found = {"r": np.corrcoef(wanted, measured)[0, 1], "mean": np.mean(healthy), "sd": np.std(healthy)}
    return {name: round(float(value), 3) for name, value in found.items()}


def findings(studies: int) -> dict[str, dict]:
    """Median and 5th to 95th percentile of mL and of the mask's share of the image, for each kind."""
    table = {}
    for kind in tqdm(KINDS[:5], desc="findings", mininterval=2):
        some = [chest_study(seed % 7, seed // 7, [Finding(kind, seed=seed)], 64) for seed in range(studies)]
        shown = [found for study in some for found in study.findings if found.kind == kind]
        table[kind] = {
            "volume_ml": [round(float(v), 1) for v in np.percentile([f.volume_ml for f in shown], [50, 5, 95])],
            "area": [round(float(v), 4) for v in np.percentile([f.mask.mean() for f in shown], [50, 5, 95])],
        }
    return table


def pixel_identity(patients: int) -> dict[str, float]:
    """How well the correlation of raw pixels at 64 x 64 finds a patient's other study."""
    images = [[chest_study(seed, visit, size=64).image for seed in range(patients)] for visit in (0, 1)]
    one, two = (np.array(some, float).reshape(patients, -1) for some in images)
    similarity = np.corrcoef(one, two)[:patients, patients:]
    same, other = np.diag(similarity), similarity[~np.eye(patients, dtype=bool)]
    top1 = (similarity.argmax(1) == np.arange(patients)).mean()
    return {"auc": round(float((same[:, None] > other).mean()), 3), "top1": round(float(top1), 3)}


def seconds(size: int, studies: int) -> dict[str, float]:
    """Seconds of one core: the best of `studies` poses and patients, since other work on the machine only adds."""

    def best(call, count: int) -> float:
        spent = []
        for number in range(count):
            began = time.process_time()
            call(number)
            spent.append(time.process_time() - began)
        return round(min(spent), 4)

    study = chest_study(0, 0, [], size)
    found = {"new_pose": best(lambda n: chest_study(0, n + 1, ["nodule"], size), studies)}
    found["new_patient"] = best(lambda n: chest_study(n + 1, 0, ["nodule"], size), max(2, studies // 3))
    return found | {"new_exposure": best(lambda n: expose(study.projection, n), 3 * studies)}


def picture(path: Path) -> None:
    """Three rows: healthy patients; findings, boxed; three studies of one patient and slices of his CT."""
    rows = [[chest_study(seed, 0, [], SHOWN).image for seed in (2, 3, 4, 6, 8, 9)], [], []]
    for seed, kind in enumerate(["nodule", "consolidation", "effusion", "pneumothorax", "cardiomegaly", "pacemaker"]):
        study = chest_study(20 + seed, 0, [Finding(kind, seed=seed)], SHOWN, text="")
        tile = Image.fromarray(np.uint8(255 * study.image))
        x, y, w, h = study.findings[0].box
        ImageDraw.Draw(tile).rectangle((x - 1, y - 1, x + w, y + h), outline=255)
        rows[1].append(np.asarray(tile) / 255)
    studies = [chest_study(9, visit, [], SHOWN) for visit in (1, 2, 3)]
    volume = volume_ct(studies[0], 2.4)[0]
    x, y, z = (n // 2 for n in volume.shape)
    planes = [volume[:, :, z + 6][::-1, ::-1].T, volume[:, y + 4][::-1, ::-1].T, volume[x + 26, ::-1, ::-1].T]
    windows = ((-160, 240), (-1100, 300), (-1100, 300))
    rows[2] = [study.image for study in studies] + [_tile(plane, *w) for plane, w in zip(planes, windows)]
    sheet = np.clip(np.concatenate([np.concatenate(row, 1) for row in rows]), 0, 1)
    write_bytes(path, png_bytes((sheet * 63).astype(np.uint8) * 4))


def _tile(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    grey = Image.fromarray(np.uint8(255 * np.clip((plane - low) / (high - low), 0, 1)))
    grey.thumbnail((SHOWN, SHOWN))
    tile = Image.new("L", (SHOWN, SHOWN))
    tile.paste(grey, ((SHOWN - grey.width) // 2, (SHOWN - grey.height) // 2))
    return np.asarray(tile) / 255


def main(output_dir: str = "docs", studies: int = 21) -> None:
    """The picture, and numbers over `studies` phantoms."""
    torch.set_num_threads(1)
    folder = Path(output_dir)
    picture(folder / "pictures" / "chest_phantom.png")
    found = {
        "command": "python scripts/chest_phantom_report.py",
        "exactness": exactness(max(2, studies // 5)),
        "cardiothoracic_ratio": ratios(studies),
        "findings": findings(studies),
        "raw_pixel_identity": pixel_identity(2 * studies),
        "seconds": {str(size): seconds(size, max(4, studies // 2)) for size in SIZES},
    }
    write_json(folder / "chest_phantom.json", found)
    fill_page(folder / "chest_phantom.md", "report", report_table(found))
    print(json.dumps(found, indent=2))


def report_table(found: dict) -> str:
    """The numbers as Markdown."""
    exact, ratio, pixels = found["exactness"], found["cardiothoracic_ratio"], found["raw_pixel_identity"]
    lines = ["| figure | value |", "|---|---|"]
    for kind in LESIONS[:3]:
        lines.append(f"| largest error of mu under a {kind} (mu is 1 to 6) | {exact[f'largest_error_{kind}']:.0e} |")
    lines += [
        f"| lung volume, usual step against half of it | {exact['lung_volume_error_percent']} % |",
        f"| correlation of wanted and measured cardiothoracic ratio | {ratio['r']} |",
        f"| ratio of healthy studies | {ratio['mean']} (SD {ratio['sd']}) |",
        f"| raw pixels as a fingerprint, 64 x 64 | AUC {pixels['auc']}, first place {100 * pixels['top1']:.0f} % |",
    ]
    for name, text in (
        ("new_pose", "pose of a known patient"),
        ("new_patient", "patient"),
        ("new_exposure", "exposure"),
    ):
        values = ", ".join(f"{found['seconds'][str(size)][name]:.3f} at {size}" for size in SIZES)
        lines.append(f"| seconds of one core for a new {text} | {values} |")
    lines += ["", "| finding | mL, median (5 to 95 %) | share of the image that its mask covers |", "|---|---|---|"]
    for kind, numbers in found["findings"].items():
        (ml, low, high), (area, least, most) = numbers["volume_ml"], numbers["area"]
        lines.append(f"| {kind} | {ml:g} ({low:g} to {high:g}) | {area:g} ({least:g} to {most:g}) |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
