"""The segmenter by which synthetic pairs are judged; the generators are `synthzoo.networks.label_to_image`."""

from __future__ import annotations

from monai.networks.nets import UNet
from torch import nn

from synthzoo.phantoms.brain.label_maps import CLASSES


def small_unet(classes: int = len(CLASSES)) -> nn.Module:
    """A residual U-Net of slices, about .2 million parameters."""
    return UNet(2, 1, classes, channels=(12, 24, 48, 64), strides=(2, 2, 2), num_res_units=1, norm="INSTANCE")
