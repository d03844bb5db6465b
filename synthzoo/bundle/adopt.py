"""A stock generative bundle gets what it lacks: seeds, requests, resume, sidecars, marks and a place in the Label app.

Beside it a bundle of this library is written, whose configs are this library's and whose one file of weights holds the
stock tensors, read with `weights_only`. The stock folder is read and never changed; see `synthzoo.bundle.stock`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from synthzoo.bundle.find import check_name, read_json
from synthzoo.bundle.form import dump
from synthzoo.bundle.index import FORMAT, INDEX, entry
from synthzoo.bundle.inspect.judge import inspect_bundle
from synthzoo.bundle.inspect.rules import PASS
from synthzoo.bundle.new import FILES, first_metadata
from synthzoo.bundle.new_configs import COMMON, EVALUATOR, NETWORK
from synthzoo.bundle.schema import verify_metadata
from synthzoo.bundle.stock import Stock, read_stock, understood
from synthzoo.errors import UserError, printable
from synthzoo.io.files import sha256, write_text
from synthzoo.networks.generative import core_state
from synthzoo.networks.saving import save_atomically
from synthzoo.networks.weights import read_state

MODALITIES = {"mr": ("MR", "mr"), "ct": ("CT", "ct"), "xray": ("DX", "xr"), "us": ("US", "us")}
CONTRASTS = ("T1w", "T2w", "FLAIR", "PDw")
LARGEST_TEXT = 2**20
RESERVED = (
    *("imports", "bundle_root", "device", "seed", "dataset_dir", "output_dir", "num_samples", "requests", "steps"),
    *("output_format", "weights", "network_def", "network", "preprocessing", "dataset", "dataloader", "inferer"),
    *("postprocessing", "handlers", "evaluator", "initialize", "run"),
)
PREPARE = {"_target_": "synthzoo.inferers.synthesis.prepare_request", "_mode_": "callable"}


def adopt_bundle(
    folder: str | Path,
    out: str | Path | None = None,
    spacing_mm: float = 1.0,
    weights: dict[str, str] | None = None,
) -> Path:
    """Write the bundle that runs a stock one, and return its folder.

    Args:
        folder: of the stock bundle.
        out: folder to write; by default beside the stock one, its name with `_adopted`.
        spacing_mm: side of a voxel or pixel, which stock configs do not state.
        weights: "autoencoder", "denoiser" or "generator" -> file, where the config does not tell or it lies elsewhere.

    Raises:
        UserError: see `read_stock`; the folder exists; weights of another network or that would run code.
    """
    folder = Path(folder)
    with understood(folder):
        stock = read_stock(folder, weights)
        shape = image_shape(stock)
    own = folder.resolve().name
    own = own if len(own.split("_")) > 2 else f"{own}_synthesis"
    place = Path(out) if out else folder.resolve().parent / f"{own}_adopted"
    check_name(place.name, "synthesis")
    if place.exists():
        raise UserError(f"{place}: exists already; name another folder with --out, or delete it.")
    for name in stock.conditions:
        if name in RESERVED:
            raise UserError(f"{folder}: its condition {name} has the name of a key of every bundle here; not adopted.")
    state = {}
    for role, part in stock.parts.items():
        with understood(folder):
            network = part.network(**part.settings)
        found = core_state(read_state(part.weights), network, str(part.weights), role)
        state |= {f"{role}.{name}": tensor.clone() for name, tensor in found.items()}
    with understood(folder):
        configs = {"inference": inference(place.name, stock, shape, spacing_mm)}
        configs |= {"metadata": metadata(place.name, stock, shape)}
    try:
        for stem, config in configs.items():
            write_text(place / "configs" / f"{stem}.json", dump(config))
        shutil.copyfile(FILES / "logging.conf", place / "configs" / "logging.conf")
        write_text(place / "docs" / "README.md", card(place.name, stock))
        write_text(place / "LICENSE", text_of_file(folder / "LICENSE"))
        save_atomically(state, place / "models" / "model.pt", compressed=True)
        verify_metadata(place)
        expect_innocent(place)
        write_index(place)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)  # it did not exist before
        raise
    return place


def image_shape(stock: Stock) -> list[int]:
    """Channels and size of what is generated, from the networks, which were not run."""
    if "generator" in stock.parts:
        with torch.device("meta"):
            network = stock.parts["generator"].network(**stock.parts["generator"].settings)
            return list(network(torch.zeros(1, *stock.noise_shape)).shape[1:])
    if "autoencoder" not in stock.parts:
        return stock.noise_shape
    settings = stock.parts["autoencoder"].settings
    factor = 2 ** (len(settings["channels"]) - 1)
    return [int(settings["out_channels"]), *(factor * size for size in stock.noise_shape[1:])]


def network_def(stock: Stock) -> dict[str, Any]:
    """Definition of the one network of the bundle."""
    parts = {
        role: {"_target_": f"{part.network.__module__}.{part.network.__name__}", **part.settings}
        for role, part in stock.parts.items()
    }
    if "generator" in parts:
        own = {"uniform": stock.uniform, "sigmoid": stock.sigmoid}
        return {"_target_": "synthzoo.networks.adopted.AdoptedGan", **parts, **own}
    return {
        "_target_": "synthzoo.networks.adopted.AdoptedDiffusion",
        **parts,
        "schedule": {"_target_": "synthzoo.diffusion.schedule.NoiseSchedule", **stock.schedule},
        "preview": {"_target_": "synthzoo.diffusion.samplers.preview", "_mode_": "callable"},
        "defaults": list(stock.conditions.values()),
    }


def inference(name: str, stock: Stock, shape: list[int], spacing_mm: float) -> dict[str, Any]:
    """inference.json, with the common keys in their order."""
    steps = {"steps": stock.sampler["steps"]} if stock.sampler else {}
    sampler = {key: value for key, value in stock.sampler.items() if key != "steps"}
    inferer: dict[str, Any] = {"_target_": "SimpleInferer"}
    if steps:
        inferer = {"_target_": "synthzoo.inferers.synthesis.SynthesisInferer", "sampler": "ddim", "steps": "@steps"}
        inferer |= {**sampler, "progress": True}
    # MONAI's readers of pictures, by which these networks were trained, have x as the first axis.
    turned = [] if len(shape) > 3 else [{"_target_": "Transposed", "keys": "pred", "indices": [0, 2, 1]}]
    kind = {"spacing_mm": [spacing_mm] * 3} if len(shape) > 3 else {"pixel_mm": spacing_mm}
    evaluator = {
        key: value for key, value in EVALUATOR.items() if key not in ("inferer", "postprocessing", "val_handlers")
    }
    return {
        **COMMON,
        "num_samples": 1,
        "requests": None,
        **stock.conditions,
        **steps,
        "output_format": "native",
        "weights": "$@bundle_root + '/models/model.pt'",
        "network_def": network_def(stock),
        "network": dict(NETWORK),
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "synthzoo.results.external_host.RejectImages", "name": name}],
        },
        "dataset": {
            "_target_": "synthzoo.cases.requests.RequestTable",
            "conditions": conditions(stock),
            "values": {key: f"@{key}" for key in stock.conditions},
            "requests": "@requests",
            "num_samples": "@num_samples",
            "seed": "@seed",
            "noise_shape": stock.noise_shape,
            "output_dir": "@output_dir",
            "suffix": suffix(stock, shape),
            "output_format": "@output_format",
            "bundle": name,
            "bundle_root": "@bundle_root",
            "weights": "@weights",
            **({"settings": {key: f"@{key}" for key in steps}} if steps else {}),
        },
        "dataloader": {
            "_target_": "synthzoo.cases.batches.CaseLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "num_workers": 0,
        },
        "inferer": inferer,
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [*turned, {"_target_": "synthzoo.results.save.SaveResult", "table": "@dataset", **kind}],
        },
        "handlers": [{"_target_": "synthzoo.results.finalize.FinalizeDataset", "table": "@dataset"}],
        "evaluator": {
            **evaluator,
            **({"prepare_batch": PREPARE} if steps else {}),
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "initialize": ["@imports", "$torch.manual_seed(@seed)"],
        "run": ["$@evaluator.run()"],
    }


def conditions(stock: Stock) -> dict[str, dict[str, Any]]:
    """The conditions as properties of JSON Schema; their range is that of the input that metadata states, or 0 to 1."""
    stated = tensor_of(stock, "inputs")
    bounds = stated["value_range"] if len(stated.get("value_range", [])) == 2 else [0, 1]
    bounds = [*map(float, bounds), *stock.conditions.values()]  # a default outside of what is stated is allowed, too
    low, high = min(bounds), max(bounds)
    said = list(dict(stated.get("channel_def", {})).values())
    said = said if len(said) == len(stock.conditions) else list(stock.conditions)
    return {
        name: {"type": "number", "minimum": low, "maximum": high, "unit": "as there", "description": plain_text(word)}
        for name, word in zip(stock.conditions, said)
    }


def tensor_of(stock: Stock, side: str) -> dict[str, Any]:
    """What the stock metadata says of its first input or output."""
    found = stock.metadata.get("network_data_format", {})
    found = found.get(side, {}) if isinstance(found, dict) else {}
    first = next(iter(found.values()), {}) if isinstance(found, dict) else {}
    return first if isinstance(first, dict) else {}


def modality(stock: Stock) -> tuple[str, str]:
    """DICOM's word for the modality, and that in a file's name."""
    said = str(tensor_of(stock, "outputs").get("modality", "")).lower()
    return MODALITIES.get({"mri": "mr", "x-ray": "xray", "dx": "xray", "cr": "xray"}.get(said, said), ("OT", "image"))


def suffix(stock: Stock, shape: list[int]) -> str:
    """End of the names of the images."""
    said = str(next(iter(dict(tensor_of(stock, "outputs").get("channel_def", {})).values()), ""))
    word = said if said in CONTRASTS else modality(stock)[1]
    return f"{word}.nii.gz" if len(shape) > 3 else f"{word}.png"


def metadata(name: str, stock: Stock, shape: list[int]) -> dict[str, Any]:
    """metadata.json; texts of the stock one are shown, never evaluated."""
    said, own = stock.metadata, stock.folder.resolve().name
    tensor = {"type": "image", "modality": modality(stock)[0], "dtype": "float32", "is_patch_data": False}
    noise = {"num_channels": stock.noise_shape[0], "spatial_shape": stock.noise_shape[1:], "value_range": []}
    image = {"num_channels": shape[0], "spatial_shape": shape[1:], "value_range": [0, 1]}
    files = {role: {"file": part.weights.name, "sha256": sha256(part.weights)} for role, part in stock.parts.items()}
    voxels = int(torch.tensor(shape[1:]).prod())
    steps = {"type": "integer", "minimum": 1, "maximum": stock.schedule.get("num_steps", 1)}
    calls: list[Any] = [int(torch.tensor(stock.noise_shape[1:]).prod()), "steps"]
    return {
        **first_metadata(name, f"adopted from {own} {plain_text(said.get('version', ''))}"),
        "task": f"synthesis: {plain_text(said.get('task', own))}",
        "description": f"The networks of {own}, run by this library: {plain_text(said.get('description', ''))}",
        "authors": plain_text(said.get("authors", "unknown")),
        "copyright": plain_text(said.get("copyright", "unknown")),
        "intended_use": plain_text(said.get("intended_use", "Research on methods; not for diagnosis.")),
        "references": [],
        "network_data_format": {
            "inputs": {"image": {**tensor, "format": "noise", **noise, "channel_def": {"0": "noise"}}},
            "outputs": {"pred": {**tensor, "format": "magnitude", **image, "channel_def": {"0": "image"}}},
        },
        "synthzoo": {
            "system": "adopted",
            "task": "synthesis",
            "conditions": conditions(stock),
            **({"options": {"steps": {**steps, "description": "network calls per image"}}} if stock.schedule else {}),
            "outputs": {"image": {"suffix": suffix(stock, shape), "description": "image in [0, 1]"}},
            "cost": [calls, [voxels]] if stock.schedule else [[voxels]],
            "adopted_from": {"folder": own, "version": plain_text(said.get("version", "")), "weights": files},
        },
    }


def plain_text(value: Any) -> str:
    """A text from outside as one that shows and does nothing."""
    return printable(str(value).lstrip("$@%").strip(), 300) or "unknown"


def text_of_file(path: Path) -> str:
    """The text of a licence, of a plain file that is no link.

    Raises:
        UserError: it is absent, a link or larger than 1 MiB.
    """
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_TEXT:
        raise UserError(
            f"{path}: is no licence, a plain file of 1 MiB at most; the weights are not copied without one."
        )
    return path.read_text(encoding="utf-8", errors="replace")


def expect_innocent(place: Path) -> None:
    """Raise one sentence if the inspection does not pass what was written."""
    found = inspect_bundle(place)
    if found.verdict != PASS:
        raise UserError(f"{place}: is not written, because the inspection does not pass it: {found.findings[0]}.")


def write_index(place: Path) -> None:
    """Name the bundle in `bundle_index.json` beside it, from which the Label app serves."""
    path = place.parent / INDEX
    index = read_json(path) if path.is_file() else {"format": FORMAT, "base_url": "", "bundles": {}}
    if not isinstance(index, dict) or not isinstance(index.get("bundles"), dict):
        raise UserError(f"{path}: is no index of bundles; move it, or name another folder with --out.")
    index["bundles"][place.name] = entry(place)
    write_text(path, dump(index))


def card(name: str, stock: Stock) -> str:
    """The model card."""
    own = stock.folder.resolve().name
    given = "".join(f" --{key} {value:g}" for key, value in stock.conditions.items())
    return f"""# {name}

## Intended use
The networks of `{own}`, with seeds, requests, resume, sidecars and marks. What it is for says the card of that bundle.

## Limits
Weights, training data and limits are those of `{own}`; nothing was measured here. Images are clipped to [0, 1].

## Data
See `{own}`.

## Input
Requests: seed{"".join(f", `{key}`" for key in stock.conditions)}.

## Output
`<output_dir>/sub-0001/` with an image and a sidecar.

## Results
<!-- results -->
<!-- /results -->

### Privacy
Unknown: `python scripts/audit.py --samples FOLDER --training FOLDER` tells whom its images betray.

## Run
```
python -m monai.bundle run --config_file configs/inference.json --num_samples 2 --seed 1{given}
```

## Cite
What `{own}` names.
"""
