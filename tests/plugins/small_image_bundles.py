"""Small bundles that make an image of a stored one: from its labels, at a finer grid, or as it would look otherwise."""

from __future__ import annotations

from pathlib import Path

FROM_LABELS = "phantom_mr_translation_from_labels_tiny"
FINER = "phantom_mr_translation_finer_tiny"
COUNTERFACTUAL = "phantom_mr_counterfactual_tiny"
TWIN = "echo_us_counterfactual_twin"  # the released one, small enough as it is
NAMES = (FROM_LABELS, FINER, COUNTERFACTUAL)


def image_bundle(folder: Path) -> dict:
    """One of NAMES in `folder`, by its name; gives its entry of the index."""
    from small_zoo import tiny_bundle

    from synthzoo.bundle.find import read_json
    from synthzoo.io.files import write_json

    made = tiny_bundle(folder)
    paths = {name: folder / "configs" / f"{name}.json" for name in ("inference", "metadata")}
    config, metadata = (read_json(path) for path in paths.values())
    block = metadata["synthzoo"]
    if folder.name == FROM_LABELS:
        metadata["network_data_format"]["inputs"]["image"] |= {"format": "labels"}
        block["example_input"] = "brain_labels"
    elif folder.name == FINER:
        del block["example_input"]
        config["like"] = "plain"
        settings = config["dataset"]["data"]["settings"]
        settings["like"] = {"_target_": "synthzoo.cases.images.stamped", "value": "@like"}
        rule = {"type": "string", "maxLength": 200, "format": "image", "examples": ["plain", "bright"]}
        block["options"]["like"] = {**rule, "description": "a word, or an image that shows it"}
        config["preprocessing"]["transforms"].insert(1, {"_target_": "Spacingd", "keys": "image", "pixdim": [2, 2, 2]})
    else:
        config["lesion"] = 0.0
        config["dataset"]["data"]["settings"] = {"lesion": "@lesion"}
        steps = config["postprocessing"]["transforms"]
        steps.insert(1, {"_target_": "ShiftIntensityd", "keys": "pred", "offset": "@lesion"})
        block["task"] = "counterfactual"
        block["conditions"] = {
            "lesion": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "unit": "mL",
                "description": "volume of a lesion to add",
            }
        }
    write_json(paths["inference"], config)
    write_json(paths["metadata"], metadata)
    return made
