"""The chest phantom in numbers and pictures: python scripts/chest_phantom_report.py [--output_dir docs]

Writes `pictures/chest_phantom.png` (healthy patients, findings with their boxes, three studies of one patient, his CT),
`chest_phantom.json` and the tables in `chest_phantom.md`.
"""

import io
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps

from synthzoo.bundle.cards import fill_page
from synthzoo.cli import run
from synthzoo.io.files import write_bytes, write_json
from synthzoo.phantoms.chest.anatomy import Anatomy
from synthzoo.phantoms.chest.findings import HU, KINDS, LESIONS, Finding
from synthzoo.phantoms.chest.patient import draw_patient, draw_study
from synthzoo.phantoms.chest.phantom import chest_study, expose, volume_ct
from synthzoo.phantoms.chest.projection import Beam, integrate
from synthzoo.phantoms.chest.tissue import LUNG, WATER_PER_MM
from synthzoo.phantoms.chest.truth import cardiothoracic_ratio

SIZES = (128, 256)
SHOWN = 208  # pixels of a picture's tile
ILL = [Finding("nodule", "right", "mid", 13, seed=3), Finding("consolidation", "left", "upper", 36, seed=1)]
ILL += [Finding("effusion", "right", volume_ml=450), Finding("pneumothorax", "left", size_mm=34, seed=2), *KINDS[4:6]]


def exactness(studies: int) -> dict[str, float]:
    """Largest error of a finding's change of the line integral, and of the lungs' volume at the usual step."""
    found = dict.fromkeys(LESIONS[:3], 0.0)
    for seed, kind in ((seed, kind) for kind in found for seed in range(studies)):
        ill = chest_study(seed, 0, [Finding(kind, seed=seed)], 64).projection
        change = ill.mu - chest_study(seed, 0, [], 64).projection.mu
        wanted = ill.paths[2] * (HU[kind] - LUNG) / 1000 * WATER_PER_MM
        found[kind] = max(found[kind], float(f"{np.abs(change - wanted).max():.1e}"))
    model = Anatomy(draw_patient(2)), Beam.of(draw_study(2), 128)
    usual, half = (float(integrate(*model, step_mm=step)[1][0].sum()) for step in (6.0, 3.0))
    return found | {"lung_volume_error_percent": round(100 * abs(usual / half - 1), 3)}


def ratios(patients: int) -> dict[str, float]:
    """Measured against wanted cardiothoracic ratio, and the ratios of healthy studies."""
    wanted = np.linspace(0.4, 0.66, patients)
    models = [(Anatomy(draw_patient(k), ctr=ctr), Beam.of(draw_study(k), 64)) for k, ctr in enumerate(wanted.tolist())]
    measured = [cardiothoracic_ratio(integrate(*model)[1]) for model in models]
    healthy = [chest_study(seed, 0, [], 32).ctr for seed in range(patients)]
    found = {"r": np.corrcoef(wanted, measured)[0, 1], "mean": np.mean(healthy), "sd": np.std(healthy)}
    return {name: round(float(value), 3) for name, value in found.items()}


def findings(studies: int) -> dict[str, dict]:
    """Median and 5th to 95th percentile of mL and of the mask's share of the image, for each kind."""
    table = {}
    for kind in KINDS[:5]:
        some = [chest_study(seed % 7, seed // 7, [Finding(kind, seed=seed)], 64) for seed in range(studies)]
        shown = [
            (found.volume_ml, found.mask.mean()) for study in some for found in study.findings if found.kind == kind
        ]
        values = dict(zip(("volume_ml", "area"), zip(*shown)))
        table[kind] = {k: [float(f"{v:.3g}") for v in np.percentile(some, [50, 5, 95])] for k, some in values.items()}
    return table


def pixel_identity(patients: int) -> dict[str, float]:
    """How well the correlation of raw pixels at 64 x 64 finds a patient's other study."""
    images = [chest_study(seed, visit, size=64).image.ravel() for visit in (0, 1) for seed in range(patients)]
    similarity = np.corrcoef(images)[:patients, patients:]
    auc = (np.diag(similarity)[:, None] > similarity[~np.eye(patients, dtype=bool)]).mean()
    return {"auc": round(auc, 3), "top1": round((similarity.argmax(1) == np.arange(patients)).mean(), 3)}


def seconds(size: int, studies: int) -> dict[str, float]:
    """Seconds of one core: the best of `studies` poses and patients, since other work on the machine only adds."""
    study = chest_study(0, 0, [], size)
    calls = {
        "new_pose": lambda n: chest_study(0, n + 1, ["nodule"], size),
        "new_patient": lambda n: chest_study(n + 1, 0, ["nodule"], size),
        "new_exposure": lambda n: expose(study.projection, n),
    }
    found = {}
    for name, call in calls.items():
        clock = [time.process_time()]
        for number in range(studies):
            call(number)
            clock.append(time.process_time())
        found[name] = round(float(np.diff(clock).min()), 4)
    return found


def picture(path: Path) -> None:
    """Three rows: healthy patients; findings, boxed; three studies of one patient and slices of his CT."""
    rows = [[chest_study(seed, 0, [], SHOWN).image for seed in (2, 3, 4, 6, 8, 9)], [], []]
    for seed, finding in enumerate(ILL):
        study = chest_study(20 + seed, 0, [finding], SHOWN, text="")
        tile = Image.fromarray(np.uint8(255 * study.image))
        x, y, w, h = study.findings[0].box
        ImageDraw.Draw(tile).rectangle((x - 1, y - 1, x + w, y + h), outline=255)
        rows[1].append(np.asarray(tile) / 255)
    studies = [chest_study(9, visit, [], SHOWN) for visit in (1, 2, 3)]
    volume = volume_ct(studies[0], 2.4)[0]
    x, y, z = (n // 2 for n in volume.shape)
    for plane, low in ((volume[:, :, z + 6], -160), (volume[:, y + 4], -1100), (volume[x + 26], -1100)):
        shown = np.clip((plane[::-1, ::-1].T - low) / (400 if low > -999 else 1400), 0, 1)
        studies.append(np.asarray(ImageOps.pad(Image.fromarray(np.uint8(255 * shown)), (SHOWN, SHOWN))) / 255)
    rows[2] = [getattr(one, "image", one) for one in studies]
    sheet, small = np.concatenate([np.concatenate(row, 1) for row in rows]), io.BytesIO()
    Image.fromarray(np.uint8(255 * sheet)).quantize(40).save(small, "PNG", optimize=True)
    write_bytes(path, small.getvalue())


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


def report_table(found: dict) -> str:
    """The numbers as Markdown."""
    exact, ratio, pixels = found["exactness"], found["cardiothoracic_ratio"], found["raw_pixel_identity"]
    rows = {f"largest error of mu (1 to 6) under {kind}": exact[kind] for kind in LESIONS[:3]}
    rows["lung volume, usual step against half of it"] = f"{exact['lung_volume_error_percent']} %"
    rows["cardiothoracic ratio, wanted and measured"] = f"r = {ratio['r']}; healthy {ratio['mean']}, SD {ratio['sd']}"
    rows["raw pixels as a fingerprint, 64 x 64"] = f"AUC {pixels['auc']}, first place {100 * pixels['top1']:.0f} %"
    for name in ("new_pose", "new_patient", "new_exposure"):
        values = ", ".join(f"{found['seconds'][str(size)][name]:.3f} at {size}" for size in SIZES)
        rows[f"seconds of one core for a {name.replace('_', ' ')}"] = values
    lines = ["| figure | value |", "|---|---|"] + [f"| {name} | {value} |" for name, value in rows.items()]
    lines += ["", "| finding | mL, median (5 to 95 %) | share of the image that its mask covers |", "|---|---|---|"]
    for kind, numbers in found["findings"].items():
        lines.append(" | ".join([f"| {kind}"] + ["{:g} ({:g} to {:g})".format(*v) for v in numbers.values()]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
