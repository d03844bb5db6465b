"""A new bundle from one command: it runs, trains in seconds and passes the checks, so that one changes what works.

The skeleton's network is a tiny U-Net at 4 mm. For synthesis it goes from noise to a phantom brain and learns the mean
brain and no condition; for anomaly maps it goes from a head to the places where healthy phantoms were changed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from synthzoo import __version__
from synthzoo.bundle.find import check_name
from synthzoo.bundle.index import dump
from synthzoo.bundle.new_configs import AGE, BRAIN_SHAPE, HEAD_SHAPE, INFERENCE, TRAIN
from synthzoo.bundle.schema import OFFICIAL_SCHEMA
from synthzoo.errors import UserError
from synthzoo.io.files import write_text

SKELETONS = tuple(INFERENCE)
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
    write_text(bundle / "configs" / "inference.json", dump(INFERENCE[task](name)))
    write_text(bundle / "configs" / "train.json", dump(TRAIN[task](name)))
    write_text(bundle / "configs" / "logging.conf", LOGGING)
    write_text(bundle / "docs" / "README.md", card(name, task))
    write_text(
        bundle / "docs" / "data_license.txt", "The phantoms are computed from the ICBM152 template of nilearn.\n"
    )
    shutil.copyfile(Path(__file__).parent / "skeleton" / "LICENSE.txt", bundle / "LICENSE")
    (bundle / "models").mkdir()
    return bundle


def metadata(name: str, task: str) -> dict:
    """metadata.json of the skeleton; the versions are those installed here."""
    from importlib.metadata import version

    synthesis = task == "synthesis"
    tensor = {
        "type": "image",
        "format": "magnitude",
        "modality": "MR",
        "num_channels": 1,
        "spatial_shape": BRAIN_SHAPE if synthesis else HEAD_SHAPE,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
    }
    if synthesis:
        description = "A skeleton: a tiny network that turns noise into the mean phantom brain."
        tensors = {
            "inputs": {"image": {**tensor, "format": "noise", "channel_def": {"0": "noise"}}},
            "outputs": {"pred": {**tensor, "value_range": [0, 1], "channel_def": {"0": "T1w"}}},
        }
        requested = {"conditions": {"age": AGE}}
        outputs = {"image": {"suffix": "T1w.nii.gz", "description": "T1-weighted volume in [0, 1]"}}
    else:
        description = "A skeleton: a tiny network that finds where healthy phantom brains were changed."
        tensors = {
            "inputs": {"image": {**tensor, "value_range": [0, 1], "channel_def": {"0": "head"}}},
            "outputs": {"pred": {**tensor, "type": "logits", "channel_def": {"0": "anomaly"}}},
        }
        threshold = {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "heat from which a region is labelled",
        }
        requested = {"conditions": {}, "options": {"threshold": threshold}}
        outputs = {
            "heat_map": {"suffix": "heatmap.nii.gz", "description": "anomaly in [0, 1] on the scan's own grid"},
            "label": {"suffix": "dseg.nii.gz", "description": "regions above the threshold, 1 is the largest"},
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
        "description": description,
        "authors": "The SynthZoo authors",
        "copyright": "Copyright (c) The SynthZoo authors",
        "intended_use": "Research on methods; not for diagnosis.",
        "references": [],
        "network_data_format": tensors,
        "synthzoo": {"system": name.rsplit("_", 1)[-1], "task": task, **requested, "outputs": outputs},
    }


def card(name: str, task: str) -> str:
    """The model card with its headings."""
    if task == "synthesis":
        knows = "It knows the phantom only and ignores its conditions."
        taken = "Requests: seed and conditions by name, see `configs/metadata.json`."
        given = "`<output_dir>/sub-0001/sub-0001_T1w.nii.gz` with a sidecar of the same name in JSON."
        requested = "--num_samples 2 --seed 1"
    else:
        knows = "It knows the phantom only and sees the skull as an anomaly."
        taken = "A head as NIfTI or as a folder with one DICOM series, any orientation, spacing and matrix."
        given = "`<output_dir>/<name>/<name>_heatmap.nii.gz`, `_dseg.nii.gz` and a sidecar in JSON."
        requested = "--images scan.nii.gz"
    return f"""# {name}

## Intended use
A skeleton. Say what it is for and who may use it.

## Limits
{knows}

## Data
Phantoms with known truth, computed from the ICBM152 template.

## Input
{taken}

## Output
{given}

## Results
<!-- results -->
<!-- /results -->

### Privacy
No patient's image was used.

## Run
```
python -m monai.bundle run --config_file "['configs/inference.json','configs/train.json']"
python -m monai.bundle run --config_file configs/inference.json {requested} --output_dir out
```

## Cite
Name the paper here.
"""
