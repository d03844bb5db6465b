"""From the files of a run to the answer that a client gets: which output, in which format, with which names."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monailabel.transform.writer import write_itk
from PIL import Image

from lib.requests import Request
from synthzoo.bundle.outputs import kinds_shown_as
from synthzoo.cases.table import IDENTITY
from synthzoo.errors import UserError
from synthzoo.io.files import scratch_folder
from synthzoo.io.marks import read_mark
from synthzoo.io.nifti import write_nifti
from synthzoo.serving.served import Case, ServedBundle
from synthzoo.transforms.heat_bands import band_names, heat_bands

LONGEST_SOURCE = 80  # bytes of its id in the id of what was made of it; the digest tells longer ones apart
SENT_ALONG = ("score", "peak", "threshold", "regions", "boxes", "words", "measured", "class", "probability")


def wanted_output(bundle: ServedBundle, request: Request) -> str:
    """The kind of output that a request wants: as it says, bands for a viewer of segments, else the bundle's first."""
    requested = request.extras["result"]
    if requested not in (None, "auto"):
        return requested
    if kinds_shown_as("overlay", bundle.outputs) and request.extras["result_dtype"] == "uint8":
        return "bands"
    return next(iter(bundle.outputs))


def answer(bundle: ServedBundle, request: Request, case: Case) -> tuple[str, dict[str, Any]]:
    """The file to send, a temporary one that the server removes, and the parameters beside it."""
    kind = wanted_output(bundle, request)
    if request.extras["result"] in (None, "auto") and kind not in (*case.files, "bands"):
        kind = next(iter(case.files), kind)
    source = case.files.get(next(iter(kinds_shown_as("overlay", case.files)), kind) if kind == "bands" else kind)
    if source is None:
        raise UserError(f"{bundle.name} gave no {kind} for this image; request one of {', '.join(case.files)}.")
    params: dict[str, Any] = {"result": kind, "sidecar": case.sidecar}
    params |= {key: case.sidecar[key] for key in SENT_ALONG if key in case.sidecar}
    if kind == "bands":
        params["label_names"] = band_names()
    elif kind == "label":
        params["label_names"] = label_names(bundle, case)
    return write_answer(source, kind, request), params


def write_answer(source: Path, kind: str, request: Request) -> str:
    """The output in the format that was requested; without a request the very bytes that the run wrote."""
    extension, dtype = request.extras["result_extension"], request.extras["result_dtype"]
    own = ".nii.gz" if source.name.endswith(".nii.gz") else source.suffix
    plain = dtype is None or (dtype == "uint8") == (kind == "label")
    folder = scratch_folder("answer")
    if own not in (".nii.gz", ".nii") or (kind != "bands" and extension in (None, own) and plain):
        target = folder / source.name
        shutil.copyfile(source, target)
        return lone(target)
    image = nib.load(source)
    array = np.asarray(image.dataobj)
    if kind == "bands":
        array = heat_bands(array)
    elif dtype == "uint8" and kind != "label":
        array = np.clip(np.rint(array * 255), 0, 255).astype(np.uint8)  # [0, 1] for viewers that take bytes only
    elif dtype is not None:
        array = array.astype(dtype)
    target = folder / f"{source.name.removesuffix(own)}{extension or own}"
    if target.name.endswith(".nrrd"):
        write_itk(array, str(target), image.affine, array.dtype, True)
    else:
        write_nifti(target, array, image.affine, mark=read_mark(source))
    return lone(target)


def pack(bundle: ServedBundle, cases: list[Case], params: dict[str, Any]) -> Path:
    """Every output of every result in one zip, the very bytes that the run wrote; the caller removes it.

    `answer.json` in it holds `params`, the task, and `cases`: each with its name, sidecar and `files`, kind of output
    -> {"path": in the zip, "label_names": name -> value of a label map}.
    """
    packed, described = scratch_folder("answer") / "answer.zip", []
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for number, case in enumerate(cases):
            files: dict[str, dict] = {}
            for kind, path in case.files.items():
                files[kind] = {"path": f"{number}/{kind}/{path.name}"}
                if kind == "label":
                    files[kind]["label_names"] = label_names(bundle, case)
                archive.write(path, files[kind]["path"])
            described.append({"name": case.name, "sidecar": case.sidecar, "files": files})
        answer = {**params, "task": bundle.task, "cases": described}
        archive.writestr("answer.json", json.dumps(answer))
    return Path(lone(packed))


def lone(path: Path) -> str:
    """Move a file out of its own temporary folder, so that removing the file leaves nothing behind."""
    target = path.parent.with_name(f"{path.parent.name}_{path.name}")
    path.rename(target)
    path.parent.rmdir()
    return str(target)


def label_names(bundle: ServedBundle, case: Case) -> dict[str, int]:
    """Name -> value of a label map, values consecutive from 1, as the stock viewer needs them."""
    stated = bundle.outputs["label"].get("names")
    if stated:
        return {str(name): int(value) for name, value in stated.items()}
    named = case.sidecar.get("labels")
    if isinstance(named, dict):
        return {str(name): int(value) for value, name in named.items()}
    if "regions" in case.sidecar:
        return {f"region {item['label']}{size_of(item)}": int(item["label"]) for item in case.sidecar["regions"]}
    path = case.files["label"]
    voxels = Image.open(path) if path.suffix == ".png" else nib.load(path).dataobj
    highest = int(np.asarray(voxels).max())
    return {f"label {value}": value for value in range(1, highest + 1)}


def size_of(region: dict[str, Any]) -> str:
    """How large a region is, in brackets: of a volume in mL, of a flat image in its share; "" where nothing is said."""
    if "volume_ml" in region:
        return f" ({region['volume_ml']:g} mL)"
    return f" ({100 * region['area_share']:.1f} %)" if "area_share" in region else ""


def study_id(bundle: ServedBundle, case: Case, source: str = "") -> str:
    """The id of a generated study: equal requests have equal ids, so that nothing is stored twice."""
    identity = {key: case.sidecar[key] for key in IDENTITY if key in case.sidecar}
    digest = hashlib.sha256(json.dumps([identity, source], sort_keys=True).encode()).hexdigest()[:10]
    seed = f"_seed{identity['seed']}" if "seed" in identity else ""
    while len(source.encode()) > LONGEST_SOURCE:  # an image made of an image made of an image
        source = source[:-1]
    return f"{source + '_' if source else ''}{bundle.name}{seed}_{digest}"
