"""A new bundle from one command: it runs, trains in seconds and passes the checks, so that one changes what works.

The skeleton's network is a tiny U-Net from noise to a phantom brain at 4 mm; it learns the mean brain and no condition.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from synthzoo import __version__
from synthzoo.bundle.find import check_name, write_text
from synthzoo.bundle.index import dump
from synthzoo.bundle.schema import OFFICIAL_SCHEMA
from synthzoo.errors import UserError

SKELETONS = ("synthesis",)
SHAPE = [48, 56, 48]
AGE = {"unit": "years", "range": [20, 90], "meaning": "age at the scan"}
LOGGING = """[loggers]
keys=root

[handlers]
keys=console

[formatters]
keys=plain

[logger_root]
level=INFO
handlers=console

[handler_console]
class=StreamHandler
level=INFO
formatter=plain
args=(sys.stdout,)

[formatter_plain]
format=%(asctime)s %(levelname)s %(message)s
"""


def new_bundle(name: str, task: str = "synthesis", root: str | Path = ".") -> Path:
    """Write the skeleton of a bundle into `root/bundles/<name>` and return the folder.

    Args:
        name: <anatomy>_<modality>_<task>_<method>, see `check_name`.
        task: which skeleton; those that exist are in SKELETONS.
        root: the checkout.

    Raises:
        UserError: a name that the stock tools would misread, a task without skeleton, a folder that exists.
    """
    if task not in SKELETONS:
        raise UserError(f"--task {task}: there are skeletons for {', '.join(SKELETONS)}; start from one of them.")
    check_name(name, task)
    bundle = Path(root) / "bundles" / name
    if bundle.exists():
        raise UserError(f"{bundle}: exists already; choose another name or delete the folder.")
    write_text(bundle / "configs" / "metadata.json", dump(metadata(name, task)))
    write_text(bundle / "configs" / "inference.json", dump(inference(name)))
    write_text(bundle / "configs" / "train.json", dump(train(name)))
    write_text(bundle / "configs" / "logging.conf", LOGGING)
    write_text(bundle / "docs" / "README.md", card(name))
    write_text(
        bundle / "docs" / "data_license.txt", "The phantoms are computed from the ICBM152 template of nilearn.\n"
    )
    shutil.copyfile(Path(__file__).parent / "skeleton" / "LICENSE.txt", bundle / "LICENSE")
    (bundle / "models").mkdir()
    return bundle


def metadata(name: str, task: str) -> dict:
    """metadata.json of the skeleton; the versions are those installed here."""
    from importlib.metadata import version

    tensor = {
        "type": "image",
        "format": "magnitude",
        "modality": "MR",
        "num_channels": 1,
        "spatial_shape": SHAPE,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
    }
    return {
        "schema": OFFICIAL_SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "skeleton"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"synthzoo": __version__, "pytorch-ignite": version("pytorch-ignite")},
        "supported_apps": {},
        "name": name.replace("_", " "),
        "task": f"{task} (say of what)",
        "description": "A skeleton: a tiny network that turns noise into the mean phantom brain.",
        "authors": "The SynthZoo authors",
        "copyright": "Copyright (c) The SynthZoo authors",
        "intended_use": "Research on methods; not for diagnosis.",
        "references": [],
        "network_data_format": {
            "inputs": {"image": {**tensor, "format": "noise", "channel_def": {"0": "noise"}}},
            "outputs": {"pred": {**tensor, "value_range": [0, 1], "channel_def": {"0": "T1w"}}},
        },
        "synthzoo": {
            "task": task,
            "conditions": {"age": AGE},
            "outputs": {"image": {"suffix": "T1w.nii.gz", "meaning": "T1-weighted volume in [0, 1]"}},
        },
    }


def inference(name: str) -> dict:
    """inference.json of the skeleton, with the common keys in their common order."""
    return {
        "imports": ["$import synthzoo", "$import torch"],
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
        "preprocessing": None,
        "dataset": {
            "_target_": "synthzoo.data.requests.RequestTable",
            "conditions": {"age": AGE},
            "values": {"age": "@age"},
            "requests": "@requests",
            "num_samples": "@num_samples",
            "seed": "@seed",
            "noise_shape": [1, *SHAPE],
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
                {"_target_": "synthzoo.data.outputs.SaveResult", "table": "@dataset", "spacing_mm": 4.0},
            ],
        },
        "handlers": [{"_target_": "synthzoo.data.outputs.Finish", "table": "@dataset"}],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
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


def train(name: str) -> dict:
    """train.json of the skeleton, an overlay on inference.json."""
    loss = "torch.nn.functional.l1_loss(network(torch.randn_like(batch['image'])), batch['image'])"
    return {
        "_desc_": f"seconds on a CPU; in bundles/{name}: python -m monai.bundle run --config_file "
        "\"['configs/inference.json','configs/train.json']\"",
        "epochs": 2,
        "iterations": 10,
        "network": "$@network_def.to(@device)",
        "train": {
            "dataset": {"_target_": "synthzoo.data.brain_phantom.BrainPhantomDataset", "size": 8, "spacing_mm": 4.0},
            "dataloader": {
                "_target_": "synthzoo.data.loader.SeededLoader",
                "dataset": "@train#dataset",
                "batch_size": 2,
            },
            "inferer": "@inferer",
            "objective": f"$lambda network, batch: {{'loss': {loss}}}",
            "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": 0.002},
            "trainer": {
                "_target_": "synthzoo.training.ObjectiveTrainer",
                "device": "@device",
                "max_epochs": "@epochs",
                "epoch_length": "@iterations",
                "train_data_loader": "@train#dataloader",
                "network": "@network",
                "steps": [{"objective": "@train#objective", "optimizer": "@train#optimizer"}],
                "batch_shapes": {"image": [1, *SHAPE]},
                "save_to": "$@bundle_root + '/models/model.pt'",
            },
        },
        "run": ["$@train#trainer.run()"],
    }


def card(name: str) -> str:
    """The model card with its headings."""
    return f"""# {name}

## Intended use
A skeleton. Say what it is for and who may use it.

## Limits
It knows the phantom only and ignores its conditions.

## Data
Phantoms with known truth, computed from the ICBM152 template.

## Input
Requests: seed and conditions by name, see `configs/metadata.json`.

## Output
`<output_dir>/sub-0001/sub-0001_T1w.nii.gz` with a sidecar of the same name in JSON.

## Results
<!-- results -->
<!-- /results -->

## Run
```
python -m monai.bundle run --config_file "['configs/inference.json','configs/train.json']"
python -m monai.bundle run --config_file configs/inference.json --num_samples 2 --seed 1 --output_dir out
```

## Privacy
No patient's image was used.

## Cite
Name the paper here.
"""
