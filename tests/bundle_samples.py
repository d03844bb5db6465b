"""Small bundles written by hand for the tests of the zoo's tools: a plain one, and ways to spoil a copy of it."""

import contextlib
import functools
import http.server
import json
import shutil
import threading
import zipfile
from pathlib import Path

import torch

from synthzoo.bundle.pack import package_bundles

ROOT = Path(__file__).parents[1]

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
            "system": "tiny",
            "task": "synthesis",
            "conditions": {
                "age": {
                    "type": "number",
                    "minimum": 20,
                    "maximum": 90,
                    "unit": "years",
                    "description": "age at the scan",
                }
            },
            "outputs": {"image": {"suffix": "T1w.nii.gz", "description": "a brain"}},
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
    shutil.copyfile(ROOT / "synthzoo" / "bundle" / "skeleton" / "logging.conf", bundle / "configs" / "logging.conf")
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


@contextlib.contextmanager
def served_release(folder, handler):
    """Pack the plain bundle into `folder`/dist and serve that with `handler`; gives the folder and its address."""
    write_bundle(folder / "zoo")
    (folder / "dist").mkdir()
    wheel = folder / "synthzoo-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("synthzoo/errors.py", (ROOT / "synthzoo" / "errors.py").read_bytes())
    where = functools.partial(handler, directory=str(folder / "dist"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), where)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    package_bundles(folder / "zoo", folder / "dist", url, wheel=wheel)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield folder / "dist", url
    finally:
        server.shutdown()
