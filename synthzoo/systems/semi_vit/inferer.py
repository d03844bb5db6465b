"""From an image to the probability of every class, and from that to a table, the likeliest class first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from monai.transforms import Transform

from synthzoo.errors import UserError

DIGITS = 4


class ClassScoresInferer(Inferer):
    """Probabilities of all classes, as the mean over the image and, where sides mean nothing, its mirror image.

    Args:
        mirror: ask for the mirror image, too.

    Called with images (B, C, *S) in [0, 1] and the network; returns float32 (B, K), rows of sum 1.
    """

    def __init__(self, mirror: bool = False) -> None:
        self.mirror = bool(mirror)

    def __call__(self, inputs: torch.Tensor, network: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        images = torch.as_tensor(inputs).as_subclass(torch.Tensor).float()
        found = network(images).float().softmax(1)
        return (found + network(images.flip(-1)).float().softmax(1)) / 2 if self.mirror else found


class RankClasses(Transform):
    """Turn the probabilities of a sample into a table of classes, the likeliest first.

    The sample gets "class", its name, and "probability", of that class, for the sidecar, and in place of the
    probabilities (K,) the columns "class" and "probability".

    Args:
        classes: names in the order of the network's outputs.
        key: of the probabilities.

    Raises:
        UserError: another number of names than of probabilities.
    """

    def __init__(self, classes: Sequence[str], key: str = "pred") -> None:
        self.classes, self.key = tuple(classes), key

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        found = torch.as_tensor(data[self.key]).as_subclass(torch.Tensor).float().flatten().cpu()
        if len(found) != len(self.classes):
            raise UserError(f"classes has {len(self.classes)} names, but the network tells {len(found)} classes apart.")
        order = found.argsort(descending=True, stable=True).tolist()
        columns = {
            "class": [self.classes[place] for place in order],
            "probability": [round(float(found[place]), DIGITS) for place in order],
        }
        return {**data, self.key: columns, "class": columns["class"][0], "probability": columns["probability"][0]}
