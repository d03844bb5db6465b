"""What the server adds to the inference: python scripts/benchmark_serving.py --url http://127.0.0.1:8000

Start the server first (docs/slicer.md). The example that a bundle's metadata names is uploaded, a scan of a brain with
voxels of 1 mm; then the same request runs in this process and through the server, in turns, so that both meet the same
machine. Writes docs/serving.json and its table in docs/slicer.md. Give both the same OMP_NUM_THREADS.
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
from PIL import Image

from synthzoo.bundle.cards import fill_page
from synthzoo.cases.examples import write_example
from synthzoo.cli import run
from synthzoo.io.files import write_json
from synthzoo.phantoms.brain.phantom import draw_params, make_brain
from synthzoo.serving.sequences import as_sequence
from synthzoo.serving.served import ServedBundle

ROOT = Path(__file__).resolve().parents[1]
SHARE, SECONDS = 0.1, 0.5  # what the server may add


def input_of(own: ServedBundle, folder: Path, spacing_mm: float) -> Path | None:
    """Write what a bundle takes, by its metadata, in a form that the server stores; None for one that takes no image.

    A scan of a brain is one of `spacing_mm`, anything else the example of `--images example`.
    """
    if not own.takes_images:
        return None
    kind = own.block["example_input"]
    if kind != "brain_flair":
        path = write_example(kind, folder)
        return as_sequence(path)[0] if path.suffix == ".avi" else path
    made, path = make_brain(draw_params(31), spacing_mm, "FLAIR"), folder / "scan.nii.gz"
    nib.save(nib.Nifti1Image((made.image * 900).astype(np.int16), made.anatomy.affine), path)
    return path


def size_of(path: Path | None) -> str:
    """Voxels or pixels of a side, as 192x224x192."""
    if path is None:
        return "none, it makes one"
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return "x".join(map(str, picture.size))
    return "x".join(map(str, nib.load(path).shape))


def measure(
    url: str, bundle: Path, scan: Path | None, turns: int = 3, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Any]:
    """Seconds of one request alone and served, the medians over `turns`, after one turn that warms both up.

    Args:
        url: of a server that has this bundle.
        bundle: its folder.
        scan: what it takes, uploaded and removed in the end, see `input_of`; None for one that takes no image.
        clock: gives seconds.
    """
    from monailabel.client import MONAILabelClient

    own, seconds = ServedBundle(bundle), {"alone": [], "served": []}
    with tempfile.TemporaryDirectory() as folder:
        client = MONAILabelClient(url, folder)
        name = "" if scan is None else "benchmark_scan"
        if scan is not None:
            client.upload_image(str(scan), name)
        try:
            if scan is not None and own.takes_labels:  # the server paints the label map of a study
                client.save_label(name, str(scan), "original")
            for turn in range(turns + 1):
                values = {"seed": turn} if scan is None else {}
                began = clock()
                own.run(values, Path(folder) / str(turn), scan)
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
        "volume": size_of(scan),
        "alone_s": round(alone, 2),
        "served_s": round(served, 2),
        "added_s": round(served - alone, 2),
        "allowed_s": round(SHARE * alone + SECONDS, 2),
    }


def main(url: str = "http://127.0.0.1:8000", turns: int = 3, spacing_mm: float = 1.0, out: str = str(ROOT / "docs")):
    """Measure every bundle of this checkout that the server has, and write `serving.json` and the table into `out`."""
    names = requests.get(f"{url}/zoo/index", timeout=60).json()["models"]
    rows = []
    for path in sorted((ROOT / "bundles").iterdir()):
        if path.name in names:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measure(url, path, input_of(ServedBundle(path), Path(folder), spacing_mm), turns))
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
