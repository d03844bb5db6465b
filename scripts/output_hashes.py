"""Hashes of what every bundle gives, to tell whether a change of the code changed a result.

python scripts/output_hashes.py save FILE     before the change
python scripts/output_hashes.py compare FILE  after it: names each result that differs, exit code 1

Each bundle runs its default inference on two requests or on one phantom, the anomaly maps also on the real template,
and every training stage takes three iterations. Hashed are voxels, frames, cells and weights, never names of keys, so
that a renamed key changes nothing. Sums of floats differ between machines: compare on the machine that saved.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from synthzoo.cli import run

ROOT = Path(__file__).resolve().parents[1]
COUNTS = ("epoch_length", "iterations", "size", "train_size", "validation_size", "steps_per_epoch")
ONCE = ("max_epochs", "epochs", "sessions")
FLAT = ("_heatmap.png", "_confidence.png", "_slice.png", "_dseg.png")
PLACES = ("save_to", "checkpoint_dir", "log_dir", "output_dir")


def save(file: str, inputs: str | None = None) -> None:
    """Write the hashes of all bundles to `file`; `inputs` is the folder of inputs, by default `<file>.inputs`."""
    Path(file).write_text(json.dumps(_all_hashes(_inputs(file, inputs)), indent=1) + "\n", encoding="utf-8")


def compare(file: str, inputs: str | None = None) -> None:
    """Print each result whose hash is not the one in `file`; exits with 1 if there is one."""
    before, after = json.loads(Path(file).read_text(encoding="utf-8")), _all_hashes(_inputs(file, inputs))
    names = sorted(before.keys() | after.keys())
    off = [name for name in names if before.get(name) != after.get(name)]
    for name in off:
        print(f"{name}: {before.get(name, 'was not there')} -> {after.get(name, 'is not there')}")
    print(f"{len(names) - len(off)} of {len(names)} results are the same")
    raise SystemExit(bool(off))


def _inputs(file: str, inputs: str | None) -> Path:
    """The folder of inputs."""
    folder = Path(inputs or f"{file}.inputs")
    if not folder.exists():
        raise SystemExit(f"error: {folder}: this folder of inputs (brain.nii.gz, template.nii.gz, echo.avi) is absent")
    return folder


def _all_hashes(inputs: Path) -> dict[str, str]:
    from synthzoo.bundle.find import find_bundles

    torch.set_num_threads(1)
    found: dict[str, str] = {}
    for bundle in find_bundles(ROOT):
        with tempfile.TemporaryDirectory() as folder:
            found |= {f"{bundle.name}/{name}": value for name, value in _inference(bundle, inputs, Path(folder))}
            found |= {f"{bundle.name}/{name}": value for name, value in _training(bundle, Path(folder))}
        print(f"{bundle.name}: {len(found)} results so far", flush=True)
    return found


def _inference(bundle: Path, inputs: Path, folder: Path):
    from synthzoo.bundle.compose import run_bundle

    config = json.loads((bundle / "configs" / "inference.json").read_text(encoding="utf-8"))
    overrides: dict = {"output_dir": str(folder / "out"), "seed": 5}
    if "images" not in config:
        overrides["num_samples"] = 2
    elif bundle.name.startswith("echo_"):
        overrides["images"] = str(inputs / "echo.avi")
    elif not bundle.name.startswith("brain_mr_anomaly_map"):
        overrides["images"] = "example"
    else:
        overrides["images"] = [str(inputs / "brain.nii.gz"), str(inputs / "template.nii.gz")]
    run_bundle(bundle, overrides=overrides)
    for path in sorted((folder / "out").rglob("*")):
        flat = path.name.endswith(FLAT) and not path.with_suffix(".nii.gz").is_file()
        if flat or path.name.endswith((".nii.gz", ".avi")) or (path.suffix == ".tsv" and path.parent != folder / "out"):
            yield path.relative_to(folder).as_posix(), _hash_of(path)


def _training(bundle: Path, folder: Path):
    from synthzoo.bundle.compose import load_config, load_workflow
    from synthzoo.bundle.order import walk

    for path in sorted((bundle / "configs").glob("train*.json")):
        overlays = [path.stem]
        named = json.loads(path.read_text(encoding="utf-8")).get("_desc_", "")
        stages = [other.stem for other in path.parent.glob("*.json") if f"configs/{other.name}" in named]
        stages = sorted(set(stages) - {"inference"}, key=lambda stage: named.index(f"{stage}.json"))
        if stages and stages[-1] == path.stem:
            overlays = stages
        overrides = {}
        for where, value in walk(load_config(bundle, overlays).get()):
            key = where.split("#")[-1]
            if type(value) is int and key in (*COUNTS, *ONCE, "batch_size", "num_workers"):
                overrides[where] = 0 if key == "num_workers" else min(value, 1 if key in ONCE else 3)
            if key in PLACES and isinstance(value, str) and (not value.startswith("@") or key in value):
                overrides[where] = str(folder / path.stem / (f"{key}.pt" if key == "save_to" else key))
        workflow = load_workflow(bundle, overlays, overrides)
        workflow.initialize()
        workflow.run()
        network = workflow.parser.get_parsed_content("network")
        yield f"{path.stem}/weights", _digest([value.numpy() for _, value in sorted(network.state_dict().items())])
        for saved in sorted((folder / path.stem).rglob("save_to.pt")):
            state = sorted(torch.load(saved, weights_only=True).items())
            yield f"{path.stem}/saved", _digest([value.float().numpy() for _, value in state])


def _hash_of(path: Path) -> str:
    """Digest of a result's content: voxels and affine of a volume, cells of a table, bytes of anything else."""
    if path.name.endswith(".nii.gz"):
        import nibabel as nib

        image = nib.load(path)
        return _digest([np.asarray(image.dataobj), image.affine])
    if path.suffix == ".tsv":
        return _digest([np.genfromtxt(path, delimiter="\t", skip_header=1, filling_values=-1)])
    if path.suffix == ".avi":
        return _digest([np.frombuffer(chunk, np.uint8) for chunk in _jpeg_frames(path.read_bytes())])
    return _digest([np.asarray(Image.open(path))])


def _jpeg_frames(data: bytes) -> list[bytes]:
    """The stored frames of a Motion-JPEG video, so that chunks beside them do not count."""
    frames, at = [], data.find(b"movi") + 4
    while data[at : at + 4] == b"00dc":
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        frames.append(data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return frames


def _digest(arrays) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]


if __name__ == "__main__":
    run({"save": save, "compare": compare})
