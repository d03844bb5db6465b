"""What the server adds to the inference: python scripts/benchmark_serving.py --url http://127.0.0.1:8000

Start the server first (docs/slicer.md). A phantom of 1 mm is uploaded; then the same request runs in this process and
through the server, in turns, so that both meet the same machine. Writes docs/serving.json and its table in
docs/slicer.md. Give both the same OMP_NUM_THREADS.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import requests
import torch

from synthzoo.bundle.cards import fill_page
from synthzoo.cli import run
from synthzoo.io.files import write_json
from synthzoo.phantoms.brain.phantom import draw_params, make_brain
from synthzoo.serving.served import ServedBundle

ROOT = Path(__file__).resolve().parents[1]
SHARE, SECONDS = 0.1, 0.5  # what the server may add


def write_scan(path: Path, spacing_mm: float) -> Path:
    """A phantom of a head as a scan, int16."""
    made = make_brain(draw_params(31), spacing_mm)
    nib.save(nib.Nifti1Image((made.image * 900).astype(np.int16), made.anatomy.affine), path)
    return path


def measure(
    url: str, bundle: Path, scan: Path, turns: int = 3, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Any]:
    """Seconds of one request alone and served, the medians over `turns`, after one turn that warms both up.

    Args:
        url: of a server that has this bundle.
        bundle: its folder.
        scan: NIfTI file, uploaded for bundles that take an image and removed in the end.
        clock: gives seconds.
    """
    from monailabel.client import MONAILabelClient

    own, seconds = ServedBundle(bundle), {"alone": [], "served": []}
    with tempfile.TemporaryDirectory() as folder:
        client = MONAILabelClient(url, folder)
        name = "benchmark_scan" if own.takes_images else ""
        if name:
            client.upload_image(str(scan), name)
        try:
            for turn in range(turns + 1):
                values = {} if own.takes_images else {"seed": turn}
                began = clock()
                own.run(values, Path(folder) / str(turn), scan if own.takes_images else None)
                seconds["alone"].append(clock() - began)
                began = clock()
                client.infer(own.name, name, {**values, "store": False})
                seconds["served"].append(clock() - began)
        finally:
            if name:
                requests.delete(f"{url}/datastore/?id={name}", timeout=60).raise_for_status()
    alone, served = (statistics.median(found[1:]) for found in seconds.values())
    return {
        "bundle": own.name,
        "volume": "x".join(map(str, nib.load(scan).shape)) if own.takes_images else "none, it makes one",
        "alone_s": round(alone, 2),
        "served_s": round(served, 2),
        "added_s": round(served - alone, 2),
        "allowed_s": round(SHARE * alone + SECONDS, 2),
    }


def main(url: str = "http://127.0.0.1:8000", turns: int = 3, spacing_mm: float = 1.0, out: str = str(ROOT / "docs")):
    """Measure every bundle of this checkout that the server has, and write `serving.json` and the table into `out`."""
    names = requests.get(f"{url}/zoo/index", timeout=60).json()["models"]
    with tempfile.TemporaryDirectory() as folder:
        scan = write_scan(Path(folder) / "scan.nii.gz", spacing_mm)
        # A volume is what is sent, so bundles of videos are left out.
        names = [name for name in names if "_us_" not in name]
        found = [path for path in sorted((ROOT / "bundles").iterdir()) if path.name in names]
        rows = [measure(url, path, scan, turns) for path in found]
    machine = f"{os.cpu_count()} cores ({platform.machine()}), {torch.get_num_threads()} threads"
    command = f"python scripts/benchmark_serving.py --turns {turns} --spacing_mm {spacing_mm:g}"
    write_json(Path(out) / "serving.json", {"command": command, "machine": machine, "rows": rows})
    lines = [f"Medians of {turns} requests in turns on {machine}, by `{command}`:", ""]
    lines += ["| bundle | scan | alone | served | added | allowed |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [row["bundle"], row["volume"], *(f"{row[key]:.2f} s" for key in list(row)[2:])]
        lines.append(f"| {' | '.join(cells)} |")
    print("\n".join(lines))
    fill_page(Path(out) / "slicer.md", "serving", "\n".join(lines))


if __name__ == "__main__":
    run(main)
