"""A new bundle from one command: it runs, trains in seconds and passes the checks, so that one changes what works.

There is a skeleton for every task; `skeletons` says what each does. With a system's name it also makes the folder of
code that the bundle will need, where there is none yet.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from synthzoo import __version__
from synthzoo.bundle.find import check_name
from synthzoo.bundle.form import dump
from synthzoo.bundle.new_configs import inference, train
from synthzoo.bundle.new_system import check_system, write_system
from synthzoo.bundle.schema import OFFICIAL_SCHEMA
from synthzoo.bundle.skeletons import (
    BRAIN_SHAPE,
    CLIP_SHAPE,
    HEAD_SHAPE,
    PICTURE_SHAPE,
    RADIOGRAPH_SIZE,
    SKELETONS,
    Skeleton,
    skeleton_of,
)
from synthzoo.errors import UserError
from synthzoo.io.files import write_text

SHAPES = {"requests": BRAIN_SHAPE, "scans": HEAD_SHAPE, "pictures": PICTURE_SHAPE, "videos": CLIP_SHAPE} | {
    "radiographs": [RADIOGRAPH_SIZE] * 2
}
INPUTS = {
    "requests": "Requests: seed and conditions by name, see `configs/metadata.json`.",
    "scans": "A head as NIfTI or as a folder with one DICOM series, any orientation, spacing and matrix.",
    "pictures": "A grey picture as PNG, JPEG or DICOM radiograph, of any size.",
    "radiographs": "A frontal chest radiograph as PNG, JPEG or DICOM, of any size.",
    "videos": "A grey video of the heart as AVI, of a second or more.",
}
COMMANDS = {
    "requests": "--num_samples 2 --seed 1",
    "scans": "--images example",
    "pictures": "--images example",
    "radiographs": "--images example",
    "videos": "--images example",
}
MODALITIES = {"mr": "MR", "ct": "CT", "us": "US", "xr": "DX"}  # the word of a bundle's name -> DICOM's
EXAMPLES = {  # see synthzoo.cases.examples
    "scans": "brain_flair",
    "pictures": "brain_picture",
    "radiographs": "chest_radiograph",
    "videos": "echo_video",
}
DATA = {
    "requests": "The phantoms are computed from the ICBM152 template of nilearn.",
    "scans": "The phantoms are computed from the ICBM152 template of nilearn.",
    "pictures": "The phantoms are computed from the ICBM152 template of nilearn.",
    "radiographs": "The phantoms are computed from formulas alone.",
    "videos": "The phantoms are computed from formulas alone.",
}
FILES = Path(__file__).parent / "skeleton"


def new_bundle(name: str, task: str = "synthesis", root: str | Path = ".", system: str | None = None) -> Path:
    """Write the skeleton of a bundle into `root/bundles/<name>` and return the folder.

    Args:
        name: <anatomy>_<modality>_<task>_<method>, see `check_name`.
        task: which skeleton, one of `SKELETONS`.
        root: the checkout.
        system: folder of the bundle's code in `synthzoo/systems`, which is made with its tests if it is not there;
            None writes no code and calls the system as the last word of the name.

    Raises:
        UserError: a name that the stock tools would misread, an unknown task, a folder that exists.
    """
    if task not in SKELETONS:
        raise UserError(f"--task {task}: the tasks are {', '.join(SKELETONS)}.")
    check_name(name, task)
    if system is not None:
        check_system(system)
    bundle, skeleton = Path(root) / "bundles" / name, skeleton_of(name, task)
    if bundle.exists():
        raise UserError(f"{bundle}: exists already; choose another name or delete the folder.")
    own = system or name.rsplit("_", 1)[-1]
    write_text(bundle / "configs" / "metadata.json", dump(metadata(name, task, skeleton, own)))
    write_text(bundle / "configs" / "inference.json", dump(inference(name, skeleton)))
    write_text(bundle / "configs" / "train.json", dump(train(name, skeleton)))
    shutil.copyfile(FILES / "logging.conf", bundle / "configs" / "logging.conf")
    write_text(bundle / "docs" / "README.md", card(name, skeleton))
    write_text(bundle / "docs" / "data_license.txt", f"{DATA[skeleton.source]}\n")
    shutil.copyfile(FILES / "LICENSE.txt", bundle / "LICENSE")
    (bundle / "models").mkdir()
    if system is not None:
        write_system(system, name, root)
    return bundle


def first_metadata(name: str, change: str) -> dict[str, Any]:
    """What metadata.json of a new bundle `name` begins with: its schema, versions, name, and the first change."""
    return {
        "schema": OFFICIAL_SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": change},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"synthzoo": __version__, "pytorch-ignite": version("pytorch-ignite")},
        "supported_apps": {},
        "name": name.replace("_", " "),
    }


def metadata(name: str, task: str, skeleton: Skeleton, system: str) -> dict[str, Any]:
    """metadata.json of the skeleton; the versions are those installed here."""
    tensor = {
        "type": "image",
        "format": "magnitude",
        "modality": MODALITIES.get(name.split("_")[1], ""),
        "num_channels": 1,
        "spatial_shape": SHAPES[skeleton.source],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
    }
    noise = {"format": "noise", "channel_def": {"0": "noise"}}
    shown = {"videos": "video", "pictures": "picture", "radiographs": "radiograph"}.get(skeleton.source, "head")
    image = {"value_range": [0, 1], "channel_def": {"0": shown}}
    block = {"system": system, "task": task, "conditions": dict(skeleton.conditions)}
    if skeleton.options:
        block["options"] = dict(skeleton.options)
    if skeleton.source in EXAMPLES:
        block["example_input"] = EXAMPLES[skeleton.source]
    return {
        **first_metadata(name, "skeleton"),
        "task": f"{task} (say of what)",
        "description": f"A skeleton. {skeleton.does}",
        "authors": "The SynthZoo authors",
        "copyright": "Copyright (c) The SynthZoo authors",
        "intended_use": "Research on methods; not for diagnosis.",
        "references": [],
        "network_data_format": {
            "inputs": {"image": {**tensor, **(noise if skeleton.source == "requests" else image)}},
            "outputs": {"pred": {**tensor, **skeleton.pred}},
        },
        "synthzoo": {**block, "outputs": dict(skeleton.outputs)},
    }


def card(name: str, skeleton: Skeleton) -> str:
    """The model card with its headings."""
    case = "sub-0001" if skeleton.source == "requests" else "<name>"
    files = ", ".join(f"`{case}_{output['suffix']}` ({output['description']})" for output in skeleton.outputs.values())
    return f"""# {name}

## Intended use
A skeleton. {skeleton.does} Say what it is for and who may use it.

## Limits
{skeleton.limit}

## Data
Phantoms with known truth. {DATA[skeleton.source]}

## Input
{INPUTS[skeleton.source]}

## Output
In `<output_dir>/{case}/`: {files}, and a sidecar in JSON.

## Results
<!-- results -->
<!-- /results -->

### Privacy
No patient's image was used.

## Run
```
python -m monai.bundle run --config_file "['configs/inference.json','configs/train.json']"
python -m monai.bundle run --config_file configs/inference.json {COMMANDS[skeleton.source]} --output_dir out
```

## Cite
Name the paper here.
"""
