"""A checkout with small copies of the zoo's bundles and its own index, so that a server answers within a second."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bundle_runs import ROOT
from small_image_bundles import NAMES, TWIN, image_bundle

SYNTHESIS, ANOMALY = "brain_mr_synthesis_ldm", "brain_mr_anomaly_map_manytasks"
TINY_MAP, TINY_TRANSLATION = "phantom_mr_anomaly_map_tiny", "phantom_mr_translation_tiny"
TINY_VIDEO, TINY_LABELLED = "phantom_us_video_synthesis_tiny", "phantom_mr_synthesis_labelled_tiny"


def make_small_zoo(folder: Path) -> Path:
    """`<folder>/bundle_index.json` and `<folder>/bundles`, with narrow networks of random weights; gives the index.

    The brain extractor of the anomaly map keeps its weights, since without it no brain is found.
    """
    import torch

    from synthzoo.bundle.compose import load_config
    from synthzoo.bundle.index import entry
    from synthzoo.io.files import write_json
    from synthzoo.networks.weights import read_state

    torch.manual_seed(0)
    entries = {}
    for name in (SYNTHESIS, ANOMALY):
        bundle = folder / "bundles" / name
        shutil.copytree(ROOT / "bundles" / name, bundle, ignore=shutil.ignore_patterns("runs", "out", "*.pt", "eval"))
        path = bundle / "configs" / "inference.json"
        config = json.loads(path.read_text())
        network = config["network_def"]
        if name == SYNTHESIS:
            network["autoencoder"] |= {"channels": [8], "norm_num_groups": 4}
            network["denoiser"]["unet"] |= {
                "channels": [8, 16],
                "norm_num_groups": 4,
                "num_head_channels": [0, 8],
            }
            config["steps"] = 2
        else:
            network["channels"] = [4, 8]
            config["grid"] = [16, 16, 16]  # the middle of the brain
        path.write_text(json.dumps(config, indent=2))
        (bundle / "models").mkdir(exist_ok=True)
        made = load_config(bundle).get_parsed_content("network_def")
        state = made.state_dict()
        released = read_state(ROOT / "bundles" / name / "models" / "model.pt")
        state |= {key: value.to(state[key].dtype) for key, value in released.items() if key.startswith("extractor.")}
        torch.save(state, bundle / "models" / "model.pt")
        entries[name] = entry(bundle)
    shutil.copytree(ROOT / "bundles" / TWIN, folder / "bundles" / TWIN, ignore=shutil.ignore_patterns("out", "eval"))
    entries[TWIN] = entry(folder / "bundles" / TWIN)
    for name in (TINY_MAP, TINY_TRANSLATION):
        entries[name] = tiny_bundle(folder / "bundles" / name)
    for name in (TINY_VIDEO, TINY_LABELLED):
        entries[name] = tiny_generator(folder / "bundles" / name)
    for name in NAMES:
        entries[name] = image_bundle(folder / "bundles" / name)
    index = folder / "bundle_index.json"
    write_json(index, {"format": 1, "base_url": "", "bundles": entries})
    return index


def write_scans(folder: Path, count: int = 3) -> list[Path]:
    """Phantom brains as scans: oblique, in hundreds, each with its own anatomy; the last one has a bright lesion."""
    import nibabel as nib
    import numpy as np

    from synthzoo.phantoms.brain.phantom import draw_params, make_brain

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        made = make_brain(draw_params(200_000 + number), 4.0)
        image = made.image * 800
        if number == count - 1:
            image[20:26, 28:34, 26:32] = 1500
        turn = np.deg2rad(5.0 + number)
        oblique = np.eye(4)
        oblique[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        path = folder / f"scan_{number}.nii.gz"
        nib.save(nib.Nifti1Image(image.astype(np.float32), oblique @ made.anatomy.affine), path)
        paths.append(path)
    return paths


def tiny_bundle(folder: Path) -> dict:
    """A bundle that the app has never seen: one convolution from a scan to a heat map or to another image."""
    import torch

    from synthzoo.io.files import write_json

    maps = "anomaly_map" in folder.name
    steps: list[dict] = [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}]
    outputs = {"pred": "T2w.nii.gz"}
    if maps:
        steps.append({"_target_": "synthzoo.transforms.regions.HeatMapRegionsd", "threshold": "@threshold"})
        outputs = {"pred": "heatmap.nii.gz", "dseg": "dseg.nii.gz"}
    save = {"_target_": "synthzoo.results.save.SaveResult", "table": "@dataset#data", "outputs": outputs}
    steps.append(save | {"sidecar_keys": ["score", "peak", "regions"]})
    config = {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cpu')",
        "dataset_dir": "",
        "output_dir": "$@bundle_root + '/out'",
        "images": "",
        "threshold": 0.6,
        "weights": "$@bundle_root + '/models/model.pt'",
        "network_def": {
            "_target_": "torch.nn.Conv3d",
            "in_channels": 1,
            "out_channels": 1,
            "kernel_size": 3,
            "padding": 1,
        },
        "network": {
            "_target_": "synthzoo.networks.weights.load_weights",
            "network": "@network_def",
            "path": "@weights",
            "device": "@device",
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "synthzoo.cases.images.LoadVolumed", "keys": "image"},
                {"_target_": "ScaleIntensityd", "keys": "image"},
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": {
                "_target_": "synthzoo.cases.images.ImageTable",
                "images": "@images",
                "suffix": outputs["pred"],
                "output_dir": "@output_dir",
                "bundle": folder.name,
                "bundle_root": "@bundle_root",
                "weights": "@weights",
                "settings": {"threshold": "@threshold"},
            },
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "synthzoo.cases.batches.CaseLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "num_workers": 0,
        },
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": steps},
        "handlers": [{"_target_": "synthzoo.results.finalize.FinalizeDataset", "table": "@dataset#data", "preview": 0}],
        "evaluator": {
            "_target_": "synthzoo.cases.batches.CaseEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }
    tensor = {"type": "image", "modality": "MR", "num_channels": 1, "spatial_shape": ["*", "*", "*"]}
    tensor["channel_def"] = {"0": "anomaly" if maps else "T2w"}
    image = {"image": {"suffix": "T2w.nii.gz", "description": "the other contrast"}}
    heat = {"heat_map": {"suffix": "heatmap.nii.gz"}, "label": {"suffix": "dseg.nii.gz"}}
    metadata = {
        "version": "0.1.0",
        "name": folder.name,
        "description": "one convolution, for tests",
        "network_data_format": {"inputs": {"image": tensor}, "outputs": {"pred": tensor}},
        "synthzoo": {
            "task": "anomaly_map" if maps else "translation",
            "example_input": "brain_flair",
            "conditions": {},
            "options": {"threshold": {"type": "number", "minimum": 0, "maximum": 1, "description": "of the map"}}
            if maps
            else {},
            "outputs": heat if maps else image,
        },
    }
    (folder / "models").mkdir(parents=True)
    write_json(folder / "configs" / "inference.json", config)
    write_json(folder / "configs" / "metadata.json", metadata)
    torch.save(torch.nn.Conv3d(1, 1, 3, padding=1).state_dict(), folder / "models" / "model.pt")
    return {"name": folder.name, "version": "0.1.0"}


def tiny_generator(folder: Path) -> dict:
    """A bundle that makes a video of a beating disc, or an image with labels whose values are not consecutive."""
    import torch

    from synthzoo.bundle.find import read_json
    from synthzoo.io.files import write_json

    video = "video" in folder.name
    tiny_bundle(folder)
    config = read_json(folder / "configs" / "inference.json")
    metadata = read_json(folder / "configs" / "metadata.json")
    for key in ("images", "threshold", "preprocessing"):
        del config[key]
    # A tensor of four axes whose first one is longer than 1 is written as x, y, z, time.
    shape = [48, 40, 1, 12] if video else [1, 16, 20, 12]
    suffix = "echo.nii.gz" if video else "T1w.nii.gz"
    gain = {"type": "number", "minimum": -6, "maximum": 6, "unit": "dB", "description": "gain of the probe"}
    config |= {"seed": 0, "num_samples": 1, "gain": None}
    config["network_def"] |= {"in_channels": shape[0], "out_channels": shape[0]}
    config["dataset"] = {
        "_target_": "synthzoo.cases.requests.RequestTable",
        "conditions": {"gain": gain},
        "values": {"gain": "@gain"},
        "num_samples": "@num_samples",
        "seed": "@seed",
        "noise_shape": shape,
        "suffix": suffix,
        "output_dir": "@output_dir",
        "bundle": folder.name,
        "bundle_root": "@bundle_root",
        "weights": "@weights",
    }
    save = {"_target_": "synthzoo.results.save.SaveResult", "table": "@dataset", "outputs": {"pred": suffix}}
    steps: list[dict] = [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}, save]
    outputs: dict[str, dict] = {"video": {"suffix": suffix, "frame_ms": 25}}
    if video:
        save["affine"] = [[2, 0, 0, -47], [0, 2, 0, -39], [0, 0, 2, 0], [0, 0, 0, 1]]
        disc = "((torch.arange(48.0)[:, None, None, None] - 24) ** 2 + (torch.arange(40.0)[:, None, None] - 20) ** 2)"
        beat = "(11 + 4 * torch.sin(torch.arange(12.0) * torch.pi / 6)) ** 2"
        beats = {"_target_": "Lambdad", "keys": "pred", "func": f"$lambda x: 0.4 * x + 0.6 * ({disc} > {beat})"}
        steps.insert(1, beats)
    else:
        save |= {"spacing_mm": [2, 2, 3], "outputs": {"pred": suffix, "dseg": "dseg.nii.gz"}}
        cut = {"_target_": "Lambdad", "keys": "dseg", "func": "$lambda x: 2.0 * (x > 0.45) + 5.0 * (x > 0.55)"}
        steps[1:1] = [{"_target_": "CopyItemsd", "keys": "pred", "names": "dseg"}, cut]
        names = {"low": 2, "high": 7}
        outputs = {"image": {"suffix": suffix}, "label": {"suffix": "dseg.nii.gz", "names": names}}
    config["postprocessing"]["transforms"] = steps
    config["handlers"][0]["table"] = "@dataset"
    del metadata["synthzoo"]["example_input"]
    metadata["synthzoo"] |= {"task": "synthesis", "conditions": {"gain": gain}, "options": {}, "outputs": outputs}
    write_json(folder / "configs" / "inference.json", config)
    write_json(folder / "configs" / "metadata.json", metadata)
    network = torch.nn.Conv3d(shape[0], shape[0], 3, padding=1)
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return {"name": folder.name, "version": "0.1.0"}
