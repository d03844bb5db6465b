"""Small bundles of pictures whose answers are known to the pixel: red and blue change places, or grey stays grey."""

from __future__ import annotations

from pathlib import Path

SWAP, GREY = "phantom_rgb_translation_swap_tiny", "phantom_xc_translation_grey_tiny"


def make_colour_zoo(folder: Path) -> Path:
    """`<folder>/bundle_index.json` of both bundles; gives it."""
    from synthzoo.io.files import write_json

    entries = {name: colour_bundle(folder / "bundles" / name) for name in (SWAP, GREY)}
    write_json(folder / "bundle_index.json", {"format": 1, "base_url": "", "bundles": entries})
    return folder / "bundle_index.json"


def colour_bundle(folder: Path) -> dict:
    """One of the two in `folder`, by its name; gives its entry of the index."""
    import torch
    from small_zoo import tiny_bundle

    from synthzoo.bundle.find import read_json
    from synthzoo.io.files import write_json

    made = tiny_bundle(folder)
    paths = {name: folder / "configs" / f"{name}.json" for name in ("inference", "metadata")}
    config, metadata = (read_json(path) for path in paths.values())
    channels, suffix = (3, "swapped.png") if folder.name == SWAP else (1, "grey.png")
    numbers = {"in_channels": channels, "out_channels": channels, "kernel_size": 1, "bias": False}
    config["network_def"] = {"_target_": "torch.nn.Conv2d", **numbers}
    read = {"_target_": "synthzoo.cases.images.LoadPictured", "keys": "image", "channels": channels}
    config["preprocessing"] = read
    config["dataset"]["data"] |= {"kinds": ["image"], "loader": "@preprocessing", "suffix": suffix}
    config["postprocessing"]["transforms"] = config["postprocessing"]["transforms"][1:]
    config["postprocessing"]["transforms"][0]["outputs"] = {"pred": suffix}
    named = dict(enumerate(("red", "green", "blue") if channels == 3 else ("grey",)))
    tensor = {"type": "image", "modality": "XC", "num_channels": channels, "spatial_shape": ["*", "*"]}
    tensor["channel_def"] = {str(number): name for number, name in named.items()}
    metadata["network_data_format"] = {"inputs": {"image": tensor}, "outputs": {"pred": tensor}}
    metadata["synthzoo"] |= {"example_input": "garment_photograph", "outputs": {"image": {"suffix": suffix}}}
    write_json(paths["inference"], config)
    write_json(paths["metadata"], metadata)
    weight = torch.eye(channels).flip(0)[:, :, None, None]
    torch.save({"weight": weight}, folder / "models" / "model.pt")
    return made
