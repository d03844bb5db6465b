"""Named outputs of an inferer: a mapping takes its place in the sample, so that a writer finds each by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform


class SpreadOutputsd(MapTransform):
    """Put the entries of an inferer's mapping beside its main output, as entries of the sample.

    An inferer with more than one output returns `{"pred": tensor (B, ...), name: tensor (B, ...) or {name: (B,)}}`,
    which MONAI's evaluator and MONAI Label decollate to one mapping a row, numbers included. Of `{"pred": {"pred": a,
    "factual": b, "ef": 41.0}}` this makes `{"pred": a, "factual": b, "ef": 41.0}`; tensors become float32 on the CPU.
    A tensor in place of a mapping stays as it is.

    Args:
        keys: of the inferer's output; the mapping's entry of that name is the main output.
        decimals: to which numbers are rounded, those of a mapping inside the mapping, too; None leaves them.
    """

    def __init__(self, keys: KeysCollection, decimals: int | None = None) -> None:
        super().__init__(keys)
        self.decimals = decimals

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            if isinstance(data[key], Mapping):
                data |= {name: self._plain(value) for name, value in data[key].items()}
        return data

    def _plain(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.as_subclass(torch.Tensor).float().cpu()
        if isinstance(value, Mapping):
            return {name: self._plain(item) for name, item in value.items()}
        return round(value, self.decimals) if isinstance(value, float) and self.decimals is not None else value
