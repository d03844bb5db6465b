"""The configs of a new bundle from a row of `skeletons`: they run as they are, with the common keys in their order."""

from __future__ import annotations

from typing import Any

from synthzoo.bundle.skeletons import (
    BRAIN_SHAPE,
    CLIP_SHAPE,
    FPS,
    PICTURE_SHAPE,
    RADIOGRAPH_SIZE,
    SCALE,
    SPACING_MM,
    Skeleton,
)

COMMAND = (
    "seconds on a CPU; in bundles/{}: python -m monai.bundle run --config_file "
    "\"['configs/inference.json','configs/train.json']\""
)
WINDOWS = {"_target_": "SlidingWindowInferer", "roi_size": PICTURE_SHAPE, "overlap": 0.25}  # pictures of any size
COMMON = {
    "imports": ["$import synthzoo.cli", "$import torch"],
    "bundle_root": ".",
    "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
    "seed": 0,
    "dataset_dir": "",
    "output_dir": "$@bundle_root + '/out'",
}
NETWORK = {
    "_target_": "synthzoo.networks.weights.load_weights",
    "network": "@network_def",
    "path": "@weights",
    "device": "@device",
}
EVALUATOR = {
    "_target_": "synthzoo.cases.batches.CaseEvaluator",
    "device": "@device",
    "val_data_loader": "@dataloader",
    "network": "@network",
    "inferer": "@inferer",
    "postprocessing": "@postprocessing",
    "val_handlers": "@handlers",
}


def inference(name: str, skeleton: Skeleton) -> dict[str, Any]:
    """inference.json of a bundle `name`."""
    requests = skeleton.source == "requests"
    middle = {"num_samples": 1, "requests": None} if requests else {"images": ""}
    table = "@dataset" if requests else "@dataset#data"
    return {
        **COMMON,
        **middle,
        **skeleton.values,
        "output_format": "native",
        "weights": "$@bundle_root + '/models/model.pt'",
        "network_def": dict(skeleton.network),
        "network": dict(NETWORK),
        "preprocessing": {"_target_": "Compose", "transforms": preprocessing(name, skeleton)},
        "dataset": dataset(name, skeleton),
        "dataloader": {
            "_target_": "synthzoo.cases.batches.CaseLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "num_workers": 0,
        },
        "inferer": WINDOWS if skeleton.source == "pictures" else {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": [*skeleton.after, saver(skeleton, table)]},
        "handlers": [finalizer(skeleton, table)],
        "evaluator": EVALUATOR,
        "initialize": ["@imports", "$torch.manual_seed(@seed)"],
        "run": ["$@evaluator.run()"],
    }


def preprocessing(name: str, skeleton: Skeleton) -> list[dict[str, Any]]:
    """From what a row of the table names to what the network takes."""
    if skeleton.source == "requests":
        return [{"_target_": "synthzoo.results.external_host.RejectImages", "name": name}]
    if skeleton.source == "videos":
        frames, size, _ = CLIP_SHAPE
        loader = "synthzoo.datasets.echo.videos.LoadBeatd"
        return [{"_target_": loader, "keys": "image", "frames": frames, "size": size, "fps": FPS}]
    if skeleton.source == "pictures":
        return [{"_target_": "synthzoo.cases.images.LoadPictured", "keys": "image"}, SCALE]
    if skeleton.source == "radiographs":
        return [
            {"_target_": "synthzoo.cases.images.LoadRadiographd", "keys": "image"},
            {
                "_target_": "synthzoo.transforms.radiograph_grid.ToRadiographGridd",
                "keys": "image",
                "size": RADIOGRAPH_SIZE,
            },
        ]
    return [
        {"_target_": "synthzoo.cases.images.LoadVolumed", "keys": "image"},
        {"_target_": "synthzoo.transforms.head_grid.ToHeadGridd", "keys": "image", "spacing_mm": SPACING_MM},
        SCALE,
    ]


def dataset(name: str, skeleton: Skeleton) -> dict[str, Any]:
    """The table of requests or images."""
    places = {
        "output_dir": "@output_dir",
        "output_format": "@output_format",
        "bundle": name,
        "bundle_root": "@bundle_root",
    }
    conditions = {"conditions": {key: dict(rule) for key, rule in skeleton.conditions.items()}}
    if skeleton.source == "requests":
        return {
            "_target_": "synthzoo.cases.requests.RequestTable",
            **conditions,
            "values": {key: f"@{key}" for key in skeleton.conditions},
            "requests": "@requests",
            "num_samples": "@num_samples",
            "seed": "@seed",
            "noise_shape": [1, *BRAIN_SHAPE],
            **places,
        }
    places = {"suffix": next(iter(skeleton.saved.values())), **places}
    table: dict[str, Any]
    if skeleton.source == "videos":
        given = {key: f"@{key}" for key in skeleton.conditions}
        table = {
            "_target_": "synthzoo.datasets.echo.videos.BeatTable",
            "images": "@images",
            "dataset_dir": "@dataset_dir",
            "loader": "@preprocessing",
            **conditions,
            **given,
        }
    else:
        table = {"_target_": "synthzoo.cases.images.ImageTable", "images": "$@images or @dataset_dir"}
        if skeleton.source in ("pictures", "radiographs"):
            table |= {"kinds": ["image"], "loader": "@preprocessing"}
    settings = {key: f"@{key}" for key in skeleton.options}
    data = {**table, **places, **({"settings": settings} if settings else {})}
    return {"_target_": "Dataset", "data": data, "transform": "@preprocessing"}


def saver(skeleton: Skeleton, table: str) -> dict[str, Any]:
    """The transform that writes a case."""
    made: dict[str, Any] = {
        "_target_": "synthzoo.results.save.SaveResult",
        "table": table,
        "outputs": dict(skeleton.saved),
    }
    if skeleton.source == "requests":
        made["spacing_mm"] = SPACING_MM
    if skeleton.sidecar:
        made["sidecar_keys"] = list(skeleton.sidecar)
    return made | {"description": f"{skeleton.does} Research only."}


def finalizer(skeleton: Skeleton, table: str) -> dict[str, Any]:
    """The handler at the end of a run."""
    made: dict[str, Any] = {"_target_": "synthzoo.results.finalize.FinalizeDataset", "table": table}
    return made | ({"preview": 0} if skeleton.source == "scans" else {})


def train(name: str, skeleton: Skeleton) -> dict[str, Any]:
    """train.json of a bundle `name`, an overlay on inference.json."""
    data: dict[str, Any] = {"dataset": dict(skeleton.rows)}
    if skeleton.changes:
        changed = {"_target_": "Dataset", "data": data["dataset"], "transform": "@train#preprocessing"}
        preprocessing = {"_target_": "Compose", "transforms": list(skeleton.changes)}
        data = {"preprocessing": preprocessing, "dataset": changed}
    return {
        "_desc_": COMMAND.format(name),
        "max_epochs": 2,
        "epoch_length": 10,
        "batch_size": 2,
        "learning_rate": 0.002,
        "train_size": 8,
        "checkpoint_dir": "$@bundle_root + '/runs/train'",
        "log_dir": "@checkpoint_dir",
        "save_to": "$@bundle_root + '/models/model.pt'",
        "network": "$@network_def.to(@device)",
        "train": {
            **data,
            "inferer": "@inferer",
            "objective": f"$lambda network, batch: {{'loss': {skeleton.loss}}}",
            "trainer": {
                "_target_": "synthzoo.training.stage",
                "network": "@network",
                "dataset": "@train#dataset",
                "objective": "@train#objective",
                "parameters": "$@network.parameters()",
                "learning_rate": "@learning_rate",
                "max_epochs": "@max_epochs",
                "epoch_length": "@epoch_length",
                "batch_size": "@batch_size",
                "seed": "@seed",
                "files": {"checkpoint_dir": "@checkpoint_dir", "log_dir": "@log_dir", "save_to": "@save_to"},
                "batch_shapes": {skeleton.key: list(skeleton.shape)},
            },
        },
        "run": ["$@train#trainer.run()"],
    }
