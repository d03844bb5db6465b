"""Classifiers of images: a vision transformer of timm or of MONAI, or a ResNet, a mean over patches, and a linear head.

    h = fc_norm(mean over patch tokens of blocks(patches(x) + positions)),   logits = W h + b

The class token is left out of the mean (Cai et al., NeurIPS 2022, and the authors' `models/vit.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.networks.blocks.pos_embed_utils import build_sincos_position_embedding
from monai.networks.layers.drop_path import DropPath
from monai.networks.nets import ResNet, ViT
from torch import nn

from synthzoo.errors import UserError
from synthzoo.systems.semi_vit.published_weights import load_backbone

HEAD_STD = 2e-5  # of a new head's weights, so that what was learnt before leads at first
MLP_RATIO = 4


class TransformerBody(nn.Module):
    """A vision transformer in three steps, which a masked autoencoder and a classifier take apart in different ways.

    Attributes:
        channels: of the image.
        image_size, patch, grid: along each axis: pixels, pixels of a patch, patches.
        width: D, of a token.
        prefix: P, tokens in front of those of the patches.
    """

    channels: int
    image_size: tuple[int, ...]
    patch: tuple[int, ...]
    grid: tuple[int, ...]
    width: int
    prefix: int

    def embed(self, image: torch.Tensor) -> torch.Tensor:
        """Tokens (B, P + N, D) of an image (B, C, *S), positions included."""
        raise NotImplementedError

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (B, n, D) after all blocks, of all patches or of some."""
        raise NotImplementedError

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """Features (B, D) of an image from its tokens (B, P + N, D)."""
        raise NotImplementedError

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Which parameter belongs to which layer, by patterns, as `timm.optim.param_groups_layer_decay` wants it.

        What no pattern names, the head and the last normalisation, is the last layer.
        """
        raise NotImplementedError

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.pool(self.encode(self.embed(image)))


class TimmViT(TransformerBody):
    """A plain ViT of timm, of any size, for 2D images.

    Args:
        name: of timm's model, such as "vit_small_patch16_224"; `settings` override its sizes.
        source: None for random weights, a file, or a tag of the hub, see `published_weights.load_backbone`.
        channels: of the image.
        image_size, patch: pixels of a side.
        positions: "sincos", fixed, for runs from random weights, or "learned".
        drop_path: share of residuals that training leaves out in the last block; less in those before.
        settings: further arguments of the model: embed_dim, depth, num_heads, class_token ...

    Raises:
        UserError: an unknown word, no such model, weights that do not fit.
    """

    def __init__(
        self,
        name: str = "vit_small_patch16_224",
        source: str | None = None,
        channels: int = 3,
        image_size: int = 224,
        patch: int = 16,
        positions: str = "learned",
        drop_path: float = 0.0,
        **settings: Any,
    ) -> None:
        super().__init__()
        sizes = {"img_size": int(image_size), "patch_size": int(patch), "in_chans": int(channels)}
        more = {"global_pool": "avg", "drop_path_rate": float(drop_path), **sizes, **settings}
        self.vit = load_backbone(name, source, num_classes=0, **more)
        self.channels, self.image_size, self.patch = int(channels), (int(image_size),) * 2, (int(patch),) * 2
        self.grid = tuple(self.vit.patch_embed.grid_size)
        self.width, self.prefix = int(self.vit.embed_dim), int(self.vit.num_prefix_tokens)
        if fixed(positions):
            table = build_sincos_position_embedding(self.grid, self.width, 2).detach()
            front = self.vit.pos_embed.shape[1] - table.shape[1]
            with torch.no_grad():
                self.vit.pos_embed.copy_(torch.cat([torch.zeros(1, front, self.width), table], 1))
            self.vit.pos_embed.requires_grad_(False)

    def embed(self, image: torch.Tensor) -> torch.Tensor:
        return self.vit.norm_pre(self.vit._pos_embed(self.vit.patch_embed(image)))

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.vit.norm(self.vit.blocks(tokens))

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.vit.forward_head(tokens, pre_logits=True)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        stem = r"^body\.vit\.(?:cls_token|reg_token|pos_embed|patch_embed|norm_pre)"
        return {"stem": stem, "blocks": [(r"^body\.vit\.blocks\.(\d+)", None)]}


class MonaiViT(TransformerBody):
    """MONAI's ViT for 2D and 3D images, with a mean over patches, stochastic depth and a normalisation after the mean.

    MONAI's own head squashes logits by tanh, reads the class token and gives that no position; it is not used.

    Args:
        channels: of the image.
        image_size, patch: pixels along each axis; an integer is the same along all.
        dims: 2 or 3.
        width, depth, heads: of the transformer; with fixed positions the width is divisible by 2 `dims`.
        positions, drop_path: see `TimmViT`; a block is left out as a whole.

    Raises:
        UserError: an unknown word, a patch that does not divide the image.
    """

    def __init__(
        self,
        channels: int = 1,
        image_size: int | Sequence[int] = 128,
        patch: int | Sequence[int] = 16,
        dims: int = 2,
        width: int = 96,
        depth: int = 4,
        heads: int = 4,
        positions: str = "sincos",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.channels, self.width, self.prefix = int(channels), int(width), 0
        self.image_size, self.patch = along_axes(image_size, dims), along_axes(patch, dims)
        if any(size % step for size, step in zip(self.image_size, self.patch)):
            raise UserError(f"image_size = {self.image_size}: each side must be a multiple of patch = {self.patch}.")
        self.grid = tuple(size // step for size, step in zip(self.image_size, self.patch))
        self.vit = ViT(
            in_channels=self.channels,
            img_size=self.image_size,
            patch_size=self.patch,
            hidden_size=self.width,
            mlp_dim=MLP_RATIO * self.width,
            num_layers=depth,
            num_heads=heads,
            pos_embed_type="sincos" if fixed(positions) else "learnable",
            spatial_dims=dims,
            qkv_bias=True,
        )
        self.vit.norm = nn.Identity()  # the mean is normalised, not each token
        self.fc_norm = nn.LayerNorm(self.width, eps=1e-6)
        self.drops = nn.ModuleList(DropPath(drop_path * n / max(1, depth - 1)) for n in range(depth))

    def embed(self, image: torch.Tensor) -> torch.Tensor:
        return self.vit.patch_embedding(image)

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        for block, drop in zip(self.vit.blocks, self.drops):
            tokens = tokens + drop(block(tokens) - tokens)
        return tokens

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.fc_norm(tokens.mean(1))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        blocks = [(r"^body\.vit\.blocks\.(\d+)", None)]
        return {"stem": r"^body\.vit\.patch_embedding", "blocks": blocks}


class ConvBody(nn.Module):
    """MONAI's ResNet without its head, the convolutional baseline, for 2D and 3D images.

    Args:
        channels: of the image.
        dims: 2 or 3.
        widths: of the four levels; each but the first halves the grid.
        layers: blocks of each level.
        stride: of the first convolution, 1 for small images.
    """

    def __init__(
        self,
        channels: int = 3,
        dims: int = 2,
        widths: Sequence[int] = (24, 48, 96, 192),
        layers: Sequence[int] = (1, 1, 1, 1),
        stride: int = 2,
    ) -> None:
        super().__init__()
        self.channels, self.width = int(channels), int(widths[-1])
        self.net = ResNet(
            block="basic",
            layers=list(layers),
            block_inplanes=list(widths),
            spatial_dims=dims,
            n_input_channels=self.channels,
            conv1_t_size=3,
            conv1_t_stride=stride,
            no_max_pool=True,
            feed_forward=False,
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net(image)


BODIES: dict[str, Callable[..., nn.Module]] = {"timm": TimmViT, "monai": MonaiViT, "cnn": ConvBody}


class ImageClassifier(nn.Module):
    """Logits (B, K) of images (B, C, *S) in [0, 1].

    Args:
        classes: K.
        body: of `BODIES`.
        mean, std: of the levels, which are normalised by them first; one for all channels or one for each.
        settings: of the body.

    Raises:
        UserError: another body, fewer than two classes.
    """

    def __init__(
        self,
        classes: int,
        body: str = "timm",
        mean: float | Sequence[float] = 0.5,
        std: float | Sequence[float] = 0.25,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if body not in BODIES:
            raise UserError(f"network_def#body = {body!r}: must be {', '.join(BODIES)}.")
        if int(classes) < 2:
            raise UserError(f"network_def#classes = {classes}: at least 2 are told apart.")
        self.body = BODIES[body](**dict(settings or {}))
        self.head = nn.Linear(self.body.width, int(classes))
        nn.init.trunc_normal_(self.head.weight, std=HEAD_STD)
        nn.init.zeros_(self.head.bias)
        for name, value in (("mean", mean), ("std", std)):
            levels = torch.as_tensor(value, dtype=torch.float32).flatten().expand(self.body.channels)
            self.register_buffer(name, levels.clone())

    @property
    def classes(self) -> int:
        """K."""
        return self.head.out_features

    def normalise(self, image: torch.Tensor) -> torch.Tensor:
        """Levels with the mean and the deviation that training expects."""
        shape = (1, -1, *(1,) * (image.ndim - 2))
        return (image - self.mean.view(shape)) / self.std.view(shape)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.normalise(image)))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """See `TransformerBody.group_matcher`."""
        return self.body.group_matcher(coarse)


def along_axes(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """A number along each of `dims` axes."""
    return (int(value),) * dims if isinstance(value, int) else tuple(int(one) for one in value)


def fixed(positions: str) -> bool:
    """Whether positions are fixed.

    Raises:
        UserError: another word.
    """
    if positions not in ("sincos", "learned"):
        raise UserError(f"positions = {positions!r}: must be sincos or learned.")
    return positions == "sincos"


def patches_of(image: torch.Tensor, patch: Sequence[int]) -> torch.Tensor:
    """Pixels of the patches, (B, N, C times pixels of a patch), of an image (B, C, *S), rows before columns."""
    batch, channels, *size = image.shape
    dims = len(size)
    split = [part for side, step in zip(size, patch) for part in (side // step, step)]
    parts = image.reshape(batch, channels, *split)
    order = [0, *(2 + 2 * axis for axis in range(dims)), *(3 + 2 * axis for axis in range(dims)), 1]
    return parts.permute(order).reshape(batch, math.prod(split[::2]), -1)
