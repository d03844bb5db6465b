"""Average networks that were trained from one start: python scripts/average_weights.py A.pt B.pt --save_to C.pt

Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time", ICML 2022.
"""

import torch

from synthzoo.cli import run
from synthzoo.errors import UserError
from synthzoo.networks.saving import save_atomically
from synthzoo.networks.weights import read_state


def main(*weights: str, save_to: str) -> None:
    """Write the mean of every number; the networks must have the same tensors.

    Args:
        weights: two or more weights files.
        save_to: file to write, each tensor in the number format of the first file.
    """
    if len(weights) < 2:
        raise UserError(f"average_weights: got {len(weights)} file, but needs two or more to average.")
    states = [read_state(path) for path in weights]
    for path, state in zip(weights[1:], states[1:]):
        for name in [*states[0], *state]:
            sizes = [tuple(s[name].shape) if name in s else None for s in (states[0], state)]
            if sizes[0] != sizes[1]:
                raise UserError(
                    f"{path}: {name} is {_said(sizes[1])}, but {_said(sizes[0])} in {weights[0]}; average networks of "
                    "one kind."
                )
    mean = {}
    for name, first in states[0].items():
        values = torch.stack([state[name].double() for state in states]).mean(0)
        mean[name] = (values if first.is_floating_point() else values.round()).to(first.dtype)
    save_atomically(mean, save_to)
    print(f"{save_to}: {len(mean)} tensors, each the mean of {len(weights)} files")


def _said(size: tuple[int, ...] | None) -> str:
    return "missing" if size is None else f"of size {list(size)}"


if __name__ == "__main__":
    run(main)
