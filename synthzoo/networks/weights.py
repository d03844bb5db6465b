"""Loading a bundle's `models/model.pt` (or `.safetensors`) into its one network: strict, and plain tensors only.

In a config: `{"_target_": "synthzoo.networks.weights.load_weights", "network": "@network_def", "path": "@weights",
"device": "@device"}`. The `$` form needs `"$from synthzoo.networks.weights import load_weights"` among the imports,
because MONAI does not bind dotted `import` statements.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from synthzoo.errors import UserError

WRAPPERS = ("state_dict", "model", "network", "net")


def load_weights(
    network: torch.nn.Module,
    path: str | Path,
    device: str | torch.device | None = None,
    map_keys: Callable[[dict], dict] | None = None,
) -> torch.nn.Module:
    """Load the state dict at `path` strictly into `network`, set it to eval mode and return it.

    Tensors stored in half precision are cast up to the precision of the network's own tensors.

    Args:
        network: the composite network of one bundle, its buffers (scale factor, normaliser) included.
        path: `.pt` (read with `weights_only=True`) or `.safetensors`.
        device: where the network is moved afterwards; None leaves it where it is.
        map_keys: optional callable from a state dict of public weights to one with this network's names and shapes.

    Raises:
        UserError: the file is absent, cannot be read as plain tensors, or belongs to another network.
    """
    state = read_state(path)
    if map_keys is not None:
        state = map_keys(state)
    expect_same_network(network, state, path)
    network.load_state_dict(state, strict=True)
    network.eval()
    return network if device is None else network.to(device)


def read_state(path: str | Path, entry: str = "") -> dict[str, torch.Tensor]:
    """The flat state dict (name -> CPU tensor) in a `.pt` or `.safetensors` file, without running any pickled code.

    Args:
        path: the file.
        entry: key of the state dict in a file that holds several; without one it is the file itself, or what stands
            under a usual key such as state_dict.
    """
    state = read_content(path)
    if entry:
        if not isinstance(state, Mapping) or not _is_state(state.get(entry)):
            known = [str(key) for key, value in state.items() if _is_state(value)] if isinstance(state, Mapping) else []
            raise UserError(
                f"{path}: has no state dict under {entry}; "
                + (f"there are {', '.join(known)}." if known else "leave entry out.")
            )
        return dict(state[entry])
    for wrapper in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        known = [str(key) for key, value in state.items() if _is_state(value)] if isinstance(state, Mapping) else []
        inside = (
            f", but several: convert one of {', '.join(known)} with scripts/convert_checkpoint.py --entry"
            if known
            else ""
        )
        raise UserError(
            f"{path}: holds no state dict (names to tensors){inside or '; save network.state_dict() into it'}."
        )
    return dict(state)


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(item, torch.Tensor) for item in value.values())


def read_content(path: str | Path) -> Any:
    """What a `.pt` or `.safetensors` file holds, on the CPU, without running any pickled code.

    Raises:
        UserError: no such file, one that may not be read, that would run code or that is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"{path}: these weights do not exist; run from the bundle's own folder or give --bundle_root, "
            "train them with the bundle's train*.json, or get the bundle with scripts/download.py."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(str(path), device="cpu")
        return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise UserError(f"{path}: these weights cannot be read ({error.strerror}): check its permissions.") from None
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: not a file of plain tensors (it would run code or is damaged), so it was not loaded; download it "
            "again or, where it was made and if it is trusted, save it as a state dict: "
            "torch.save(network.state_dict(), FILE)."
        ) from error
    except Exception as error:  # torch, zipfile and safetensors each raise kinds of their own for a damaged file
        raise UserError(
            f"{path}: cannot be read as weights ({type(error).__name__}), the file looks truncated or damaged; "
            "download it again."
        ) from error


def expect_same_network(network: torch.nn.Module, state: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Raise one sentence if `state` differs from the network's names or shapes."""
    own = network.state_dict()
    missing = [name for name in own if name not in state]
    unknown = [name for name in state if name not in own]
    shapes = [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if not (missing or unknown or shapes):
        return
    problems = []
    if missing:
        problems.append(f"{len(missing)} tensors missing ({missing[0]}, ...)")
    if unknown:
        problems.append(f"{len(unknown)} unknown ({unknown[0]}, ...)")
    if shapes:
        problems.append(f"{len(shapes)} of another shape ({shapes[0]})")
    raise UserError(
        f"{path}: these weights belong to another network than {type(network).__name__}: {'; '.join(problems)}; "
        "use the model.pt of this bundle with the network settings that it was trained with."
    )
