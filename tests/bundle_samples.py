"""Small bundles written by hand for the tests of the zoo's tools: a plain one, and ways to spoil a copy of it."""

import json
from pathlib import Path

import torch

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
formatter=plain
args=(sys.stdout,)
[formatter_plain]
format=%(asctime)s %(message)s
"""
TENSOR = {
    "type": "image",
    "format": "magnitude",
    "num_channels": 1,
    "spatial_shape": [8, 8],
    "dtype": "float32",
    "value_range": [0, 1],
    "is_patch_data": False,
    "channel_def": {"0": "image"},
}


def metadata(version="0.1.0"):
    return {
        "schema": "https://example.org/schema.json",
        "version": version,
        "changelog": {version: "first"},
        "monai_version": "1.6.1",
        "pytorch_version": "2.15.0",
        "numpy_version": "1.26.4",
        "required_packages_version": {"synthzoo": "0.1.0"},
        "task": "a test",
        "description": "a network of one layer, for tests",
        "authors": "the authors",
        "copyright": "the authors",
        "intended_use": "tests",
        "network_data_format": {"inputs": {"image": TENSOR}, "outputs": {"pred": TENSOR}},
        "synthzoo": {
            "task": "synthesis",
            "conditions": {"age": {"unit": "years", "range": [20, 90], "meaning": "age at the scan"}},
            "outputs": {"image": {"suffix": "T1w.nii.gz"}},
        },
    }


def inference():
    return {
        "imports": ["$import os", "$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "weights": "$@bundle_root + '/models/model.pt'",
        "network_def": {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 1},
        "network": {
            "_target_": "synthzoo.networks.weights.load_weights",
            "network": "@network_def",
            "path": "@weights",
            "device": "@device",
        },
        "inferer": {"_target_": "SimpleInferer"},
        "run": ["$print('mean', float(@inferer(torch.ones(1, 1, 8, 8), @network).mean()))"],
    }


def write_bundle(root, name="phantom_mr_synthesis_tiny", version="0.1.0", metrics=None):
    bundle = Path(root) / "bundles" / name
    for folder in ("configs", "docs", "models"):
        (bundle / folder).mkdir(parents=True, exist_ok=True)
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata(version)))
    (bundle / "configs" / "inference.json").write_text(json.dumps(inference(), indent=1))
    (bundle / "configs" / "logging.conf").write_text(LOGGING)
    (bundle / "docs" / "README.md").write_text("# Tiny\n\n<!-- results -->\n<!-- /results -->\n")
    (bundle / "LICENSE").write_text("Apache License\n")
    torch.manual_seed(0)
    torch.save(torch.nn.Conv2d(1, 1, 1).state_dict(), bundle / "models" / "model.pt")
    if metrics:
        (bundle / "docs" / "metrics.json").write_text(json.dumps(metrics))
    return bundle


def change(bundle, key, value, file="inference.json"):
    path = bundle / "configs" / file
    content = json.loads(path.read_text())
    content[key] = value
    path.write_text(json.dumps(content, indent=1))
