"""Convolution of volumes by the machine at hand: single volumes as fast as batches on a CPU, and usable precisions.

PyTorch sends a convolution of a batch to oneDNN, but that of one small volume to a general routine of half its speed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class FastSingleVolumes(TorchFunctionMode):
    """While entered, float32 convolutions of one volume on the CPU go to oneDNN; results agree to rounding.

    Kernels of one voxel stay where they are (they are matrix products), and so does everything under autocast.
    """

    def __init__(self) -> None:
        super().__init__()
        self.available = torch.backends.mkldnn.is_available()

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is torch.conv3d and self.available and not kwargs and len(args) == 7:
            x, weight, bias, stride, padding, dilation, groups = args
            if self.applies(x, weight, padding):
                return torch.mkldnn_convolution(
                    x, weight, bias, triple(padding), triple(stride), triple(dilation), groups
                )
        return func(*args, **(kwargs or {}))

    @staticmethod
    def applies(x: torch.Tensor, weight: torch.Tensor, padding: Any) -> bool:
        """Whether this is a case that PyTorch treats badly."""
        return (
            x.device.type == "cpu"
            and x.ndim == 5
            and x.shape[0] == 1
            and x.dtype == weight.dtype == torch.float32
            and weight.shape[-1] > 1
            and not isinstance(padding, str)
            and not torch.is_autocast_enabled("cpu")
        )


def computes_in(dtype: torch.dtype, device: str) -> bool:
    """Whether a device ("cpu", "cuda") convolves in float16 or bfloat16 itself.

    A CPU without the instructions is slower in them than in float32, and unfolds whole volumes in memory on top.
    """
    if device != "cpu":
        return True
    name = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}[dtype]
    return torch.backends.mkldnn.is_available() and bool(getattr(torch.ops.mkldnn, name)())


def triple(value: int | tuple[int, ...]) -> list[int]:
    """3 -> [3, 3, 3]; three numbers as a list."""
    return [value] * 3 if isinstance(value, int) else list(value)
