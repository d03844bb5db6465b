"""Writing weights and checkpoints so that a kill or a full disk never leaves half a file."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import torch

from synthzoo.errors import UserError
from synthzoo.io.files import atomic_path
from synthzoo.networks.weights import read_state

LARGE = 100_000  # numbers; a buffer larger than that is a map or a basis and bears rounding


def save_atomically(content: Any, path: str | Path, compressed: bool = False) -> None:
    """Save with `torch.save`, whole or not at all.

    Args:
        compressed: see `compress`.
    """
    try:
        with atomic_path(path) as temporary:
            torch.save(content, temporary)
            if compressed:
                compress(temporary)
    except UserError:
        raise
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError of its zip writer
        raise UserError(f"{path}: cannot be written ({error}); free disk space or name another place.") from error


def compress(path: Path) -> None:
    """Deflate the entries of a file of `torch.save` where it lies: a tenth smaller, the same bit for bit.

    `torch.load` reads it as any other, except with `mmap=True`.
    """
    with atomic_path(path) as packed, zipfile.ZipFile(path) as plain, zipfile.ZipFile(packed, "w") as small:
        for entry in plain.infolist():
            small.writestr(zipfile.ZipInfo(entry.filename), plain.read(entry), zipfile.ZIP_DEFLATED, 9)


def save_weights(network: torch.nn.Module, path: str | Path, half: bool = False) -> None:
    """Write the state dict of `network` as plain CPU tensors, compressed, and read it back once.

    Args:
        half: store parameters and large buffers as float16; small buffers (bounds, scale factors) stay exact.
    """
    rounded = {name for name, _ in network.named_parameters()}
    rounded |= {name for name, buffer in network.named_buffers() if buffer.numel() > LARGE}
    state = {}
    for name, tensor in network.state_dict().items():
        tensor = tensor.detach().cpu()
        state[name] = tensor.half() if half and name in rounded and tensor.is_floating_point() else tensor.clone()
    save_atomically(state, path, compressed=True)
    if set(read_state(path)) != set(state):
        raise UserError(f"{path}: could not be read back as it was written; the disk may be full.")


def digest_of(network: torch.nn.Module) -> str:
    """Twelve hexadecimal digits that change with any weight."""
    digest = hashlib.sha256()
    for value in network.state_dict().values():
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
