"""The configs of a new bundle, by task: small ones that run as they are, with the common keys in their common order."""

from __future__ import annotations

SPACING_MM = 4.0
BRAIN_SHAPE = [48, 56, 48]  # of a phantom
HEAD_SHAPE = [56, 64, 56]  # of a scan, see `synthzoo.transforms.head_grid`
AGE = {"type": "number", "minimum": 20, "maximum": 90, "unit": "years", "description": "age at the scan"}
COMMAND = (
    "seconds on a CPU; in bundles/{}: python -m monai.bundle run --config_file "
    "\"['configs/inference.json','configs/train.json']\""
)
PHANTOMS = {"_target_": "synthzoo.datasets.brain.phantoms.BrainPhantomDataset", "size": 8, "spacing_mm": SPACING_MM}
EVALUATOR = {
    "_target_": "SupervisedEvaluator",
    "device": "@device",
    "val_data_loader": "@dataloader",
    "network": "@network",
    "inferer": "@inferer",
    "postprocessing": "@postprocessing",
    "val_handlers": "@handlers",
}
OPTIMIZER = {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": 0.002}
SCALE = {
    "_target_": "ScaleIntensityRangePercentilesd",
    "keys": "image",
    "lower": 0,
    "upper": 99.5,
    "b_min": 0,
    "b_max": 1,
    "clip": True,
}


def synthesis(name: str) -> dict:
    """inference.json of a synthesis skeleton, with the common keys in their common order."""
    return {
        "imports": ["$import synthzoo.cli", "$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "seed": 0,
        "dataset_dir": "",
        "output_dir": "$@bundle_root + '/out'",
        "num_samples": 1,
        "requests": None,
        "age": None,
        "weights": "$@bundle_root + '/models/model.pt'",
        "network_def": {"_target_": "UNet", **unet()},
        "network": {
            "_target_": "synthzoo.networks.weights.load_weights",
            "network": "@network_def",
            "path": "@weights",
            "device": "@device",
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "synthzoo.results.external_host.RejectImages", "name": name}],
        },
        "dataset": {
            "_target_": "synthzoo.cases.requests.RequestTable",
            "conditions": {"age": AGE},
            "values": {"age": "@age"},
            "requests": "@requests",
            "num_samples": "@num_samples",
            "seed": "@seed",
            "noise_shape": [1, *BRAIN_SHAPE],
            "output_dir": "@output_dir",
            "bundle": name,
            "bundle_root": "@bundle_root",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Lambdad", "keys": "pred", "func": "$lambda pred: pred.clamp(0, 1)"},
                {"_target_": "synthzoo.results.save.SaveResult", "table": "@dataset", "spacing_mm": SPACING_MM},
            ],
        },
        "handlers": [{"_target_": "synthzoo.results.finalize.FinalizeDataset", "table": "@dataset"}],
        "evaluator": EVALUATOR,
        "run": ["$@evaluator.run()"],
    }


def anomaly_map(name: str) -> dict:
    """inference.json of an anomaly-map skeleton: a head comes to one grid, its map goes back to the scan's own."""
    return {
        "imports": ["$import synthzoo.cli", "$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "seed": 0,
        "dataset_dir": "",
        "output_dir": "$@bundle_root + '/out'",
        "images": "",
        "threshold": 0.5,
        "weights": "$@bundle_root + '/models/model.pt'",
        "network_def": {"_target_": "UNet", **unet()},
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
                {"_target_": "synthzoo.transforms.head_grid.ToHeadGridd", "keys": "image", "spacing_mm": SPACING_MM},
                SCALE,
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": {
                "_target_": "synthzoo.cases.images.ImageTable",
                "images": "$@images or @dataset_dir",
                "suffix": "heatmap.nii.gz",
                "output_dir": "@output_dir",
                "bundle": name,
                "bundle_root": "@bundle_root",
                "settings": {"threshold": "@threshold"},
            },
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
                {"_target_": "synthzoo.transforms.head_grid.FromHeadGridd", "keys": "pred"},
                {
                    "_target_": "synthzoo.transforms.regions.HeatMapRegionsd",
                    "keys": "pred",
                    "threshold": "@threshold",
                },
                {
                    "_target_": "synthzoo.results.save.SaveResult",
                    "table": "@dataset#data",
                    "outputs": {"pred": "heatmap.nii.gz", "dseg": "dseg.nii.gz"},
                    "sidecar_keys": ["score", "peak", "threshold", "regions"],
                    "description": "Anomaly map of a scan. Research only.",
                },
            ],
        },
        "handlers": [{"_target_": "synthzoo.results.finalize.FinalizeDataset", "table": "@dataset#data", "preview": 0}],
        "evaluator": EVALUATOR,
        "run": ["$@evaluator.run()"],
    }


def unet() -> dict:
    """Arguments of the tiny network."""
    return {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 1,
        "channels": [8, 16, 32],
        "strides": [2, 2],
        "num_res_units": 1,
    }


def train_synthesis(name: str) -> dict:
    """train.json of a synthesis skeleton, an overlay on inference.json."""
    loss = "torch.nn.functional.l1_loss(network(torch.randn_like(batch['image'])), batch['image'])"
    return train_overlay(name, {"dataset": PHANTOMS}, loss)


def train_anomaly_map(name: str) -> dict:
    """train.json of an anomaly-map skeleton: healthy phantoms with something planted, and where."""
    loss = "torch.nn.functional.binary_cross_entropy_with_logits(network(batch['image']), batch['label'])"
    plant = {
        "_target_": "synthzoo.systems.many_tasks.tasks.RandAnomalyTaskd",
        "keys": "image",
        "mask_key": None,
        "tasks": [2, 3, 4],
    }
    data = {
        "preprocessing": {"_target_": "Compose", "transforms": [SCALE, plant]},
        "dataset": {"_target_": "Dataset", "data": PHANTOMS, "transform": "@train#preprocessing"},
    }
    return train_overlay(name, data, loss)


def train_overlay(name: str, data: dict, loss: str) -> dict:
    """What every skeleton's train.json has in common, around its data and its loss (an expression)."""
    return {
        "_desc_": COMMAND.format(name),
        "epochs": 2,
        "iterations": 10,
        "network": "$@network_def.to(@device)",
        "train": {
            **data,
            "dataloader": {
                "_target_": "synthzoo.datasets.loader.SeededLoader",
                "dataset": "@train#dataset",
                "batch_size": 2,
            },
            "inferer": "@inferer",
            "objective": f"$lambda network, batch: {{'loss': {loss}}}",
            "optimizer": OPTIMIZER,
            "trainer": trainer(),
        },
        "run": ["$@train#trainer.run()"],
    }


def trainer() -> dict:
    """The one training loop of the library on what stands beside it."""
    return {
        "_target_": "synthzoo.training.ObjectiveTrainer",
        "device": "@device",
        "max_epochs": "@epochs",
        "epoch_length": "@iterations",
        "train_data_loader": "@train#dataloader",
        "network": "@network",
        "steps": [{"objective": "@train#objective", "optimizer": "@train#optimizer"}],
        "batch_shapes": {"image": [1, *BRAIN_SHAPE]},
        "save_to": "$@bundle_root + '/models/model.pt'",
    }


INFERENCE = {"synthesis": synthesis, "anomaly_map": anomaly_map}
TRAIN = {"synthesis": train_synthesis, "anomaly_map": train_anomaly_map}
