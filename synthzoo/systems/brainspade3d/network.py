"""The segmenter by which the paper's claim is tested; the generators are `synthzoo.networks.label_to_image`."""

from __future__ import annotations

from monai.networks.nets import BasicUNet
from torch import nn

from synthzoo.phantoms.brain.label_maps import CLASSES


def tumour_unet() -> nn.Module:
    """A U-Net that reads slices (B, 1, h, w), about .3 million parameters; its sizes are multiples of 16."""
    return BasicUNet(2, 1, len(CLASSES), features=(12, 12, 24, 48, 64, 12), norm=("instance", {"affine": True}))
