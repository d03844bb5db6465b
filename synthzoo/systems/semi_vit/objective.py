"""The three stages' losses: masked autoencoding, supervised training, and an averaged teacher with pseudo mixup.

stage 1   L = mean over masked patches of (prediction - normalised pixels)^2        (He et al., CVPR 2022), optional
stage 2   L = cross-entropy of a strong view with the smoothed label
stage 3   L = L_x + weight * L_u,   teacher <- m teacher + (1 - m) student          (Cai et al., NeurIPS 2022)
          L_u = mean over all unlabelled images of 1[o~ >= threshold] * cross-entropy of the mixed strong view
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from monai.networks.blocks.pos_embed_utils import build_sincos_position_embedding
from monai.networks.blocks.transformerblock import TransformerBlock
from torch import nn
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.networks.released import package_class
from synthzoo.networks.saving import save_weights
from synthzoo.systems.semi_vit.augmentation import View, strong_view, weak_view
from synthzoo.systems.semi_vit.mixing import beta_mixup, pseudo_mixup, smoothed
from synthzoo.systems.semi_vit.network import ImageClassifier, TransformerBody, patches_of

NO_DECAY = ("pos_embed", "cls_token", "position_embeddings", "mask_token")


class SupervisedLoss:
    """Cross-entropy of strong views with smoothed labels.

    Args:
        view: images -> views; None is `strong_view`.
        smoothing: of the labels.
        mix_labelled: mix the labelled images with each other by `mixing.beta_mixup`.

    Called with the network and {"image": (B, C, *S) in [0, 1], "label": int64 (B,)}; gives "loss" and "accuracy" of the
    views.
    """

    name = "supervised"

    def __init__(self, view: View | None = None, smoothing: float = 0.1, mix_labelled: bool = False) -> None:
        self.view, self.smoothing, self.mix_labelled = view or strong_view(), float(smoothing), bool(mix_labelled)

    def __call__(self, network: ImageClassifier, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        images, targets = self.prepared(batch, network.classes)
        logits = network(images).float()
        found = (logits.argmax(1) == batch["label"]).float().mean()
        return {"loss": F.cross_entropy(logits, targets), "accuracy": found}

    def prepared(self, batch: Mapping[str, torch.Tensor], classes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Views (B, C, *S) and targets (B, K) of the labelled images of a batch."""
        images, targets = self.view(batch["image"]), smoothed(batch["label"], classes, self.smoothing)
        if not self.mix_labelled:
            return images, targets
        mixed = beta_mixup(images, targets)
        return mixed.images, mixed.targets


class SemiSupervisedLoss(nn.Module):
    """A student learns from labels and from what an averaged teacher says of unlabelled images.

    The teacher begins as the student that it is first called with, has no gradient and no dropout, and follows before
    every step; it is part of the checkpoint. With a decay of 0 it is the student itself, as in FixMatch (Sohn et al.,
    NeurIPS 2020).

    Args:
        network: whose copy the teacher is.
        supervised: loss of the labelled images; None is `SupervisedLoss`.
        weak, strong: views; None are `weak_view` and `strong_view`.
        decay: m, of the teacher.
        threshold: tau, confidence from which an image counts, after mixing.
        weight: lambda, of the unlabelled images.
        mixing: mix the unlabelled images by `mixing.pseudo_mixup`.
        cut: share of them that are mixed by a box.
        smoothing: of pseudo-labels.

    Called with the network and {"image", "label", "others": (B, mu, C, *S) in [0, 1]} and, where they are known,
    "others_truth" int64 (B, mu), for the log alone. Gives "loss", "supervised", "unsupervised", "kept" (share of the
    unlabelled images that count) and "pseudo_accuracy" (of the teacher's labels of those that it is sure of by itself).

    Raises:
        UserError: a decay, a threshold or a weight out of range.
    """

    name = "semi"

    def __init__(
        self,
        network: ImageClassifier,
        supervised: SupervisedLoss | None = None,
        weak: View | None = None,
        strong: View | None = None,
        decay: float = 0.995,
        threshold: float = 0.7,
        weight: float = 1.0,
        mixing: bool = True,
        cut: float = 0.5,
        smoothing: float = 0.1,
    ) -> None:
        super().__init__()
        for key, value, most in (("decay", decay, 1.0), ("threshold", threshold, 1.0), ("weight", weight, 100.0)):
            if not 0 <= float(value) <= most:
                raise UserError(f"train#objective#{key} = {value}: must lie between 0 and {most:g}.")
        self.teacher = copy.deepcopy(network).eval().requires_grad_(False)
        self.register_buffer("begun", torch.tensor(False))
        self.supervised = supervised or SupervisedLoss()
        self.weak, self.strong = weak or weak_view(), strong or strong_view()
        self.decay, self.threshold, self.weight = float(decay), float(threshold), float(weight)
        self.mixing, self.cut, self.smoothing = bool(mixing), float(cut), float(smoothing)

    def train(self, mode: bool = True) -> SemiSupervisedLoss:
        """As any module, but that the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def follow(self, network: ImageClassifier) -> None:
        """teacher <- m teacher + (1 - m) student, of floating tensors; other buffers are copied."""
        decay = self.decay if bool(self.begun) else 0.0
        averages = self.teacher.state_dict()
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                averages[name].lerp_(value.to(averages[name]), 1 - decay)
            else:
                averages[name].copy_(value)
        self.begun.fill_(True)

    def forward(self, network: ImageClassifier, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.follow(network)
        labelled, targets = self.supervised.prepared(batch, network.classes)
        others = batch["others"].flatten(0, 1)
        with torch.no_grad():
            confidence, label = self.teacher(self.weak(others)).float().softmax(1).max(1)
            alone = confidence >= self.threshold
            seen, soft = self.strong(others), smoothed(label, network.classes, self.smoothing)
            sure = confidence
            if self.mixing:
                seen, soft, sure, _ = pseudo_mixup(seen, soft, confidence, self.cut)
            counts = (sure >= self.threshold).float()
        logits = network(torch.cat([labelled, seen.to(labelled)])).float()
        first, second = logits[: len(labelled)], logits[len(labelled) :]
        supervised = F.cross_entropy(first, targets)
        # Over all unlabelled images, not over those that count: few of them weigh little.
        unsupervised = (counts * -(soft * second.log_softmax(1)).sum(1)).mean()
        found = {
            "loss": supervised + self.weight * unsupervised,
            "supervised": supervised,
            "unsupervised": unsupervised,
            "kept": counts.mean(),
        }
        if "others_truth" in batch:
            known = alone & (batch["others_truth"].flatten() >= 0)
            right = (label == batch["others_truth"].flatten()) & known
            found["pseudo_accuracy"] = right.sum() / known.sum().clamp(min=1)
        return found

    def save_teacher(self, path: str, half: bool = True) -> None:
        """Write the teacher, which is what is shipped, as the weights of the network."""
        save_weights(self.teacher, path, half=half)


class MaskedAutoencoderLoss(nn.Module):
    """A body sees a quarter of the patches; a small decoder, which is thrown away, draws the others.

    Args:
        network: whose body learns; a transformer.
        masked: share of patches that are hidden.
        width, depth, heads: of the decoder.
        view: images -> views; None is a weak one.

    Called with the network and {"image": (B, C, *S) in [0, 1]} and, where there are, "others" (B, mu, C, *S), which are
    seen as well. Gives "loss", against pixels that are normalised within each patch: 1 says the patch's mean.

    Raises:
        UserError: a network without patches.
    """

    name = "mae"

    def __init__(
        self,
        network: ImageClassifier,
        masked: float = 0.75,
        width: int = 64,
        depth: int = 1,
        heads: int = 4,
        view: View | None = None,
    ) -> None:
        super().__init__()
        body = network.body
        if not isinstance(body, TransformerBody):
            raise UserError(
                "train#objective: a masked autoencoder needs a transformer, network_def#body timm or monai."
            )
        self.masked, self.view = float(masked), view or weak_view()
        pixels = body.channels * int(torch.tensor(body.patch).prod())
        self.enter, self.leave = nn.Linear(body.width, width), nn.Linear(width, pixels)
        self.norm_in, self.norm_out = nn.LayerNorm(body.width), nn.LayerNorm(width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.blocks = nn.ModuleList(TransformerBlock(width, 4 * width, heads, qkv_bias=True) for _ in range(depth))
        table = build_sincos_position_embedding(body.grid, width, len(body.grid)).detach()
        self.register_buffer("positions", table)
        self.to(network.mean.device)

    def forward(self, network: ImageClassifier, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        images = batch["image"]
        if "others" in batch:
            images = torch.cat([images, batch["others"].flatten(0, 1)])
        body, images = network.body, network.normalise(self.view(images))
        tokens = body.embed(images)
        front, tokens = tokens[:, : body.prefix], tokens[:, body.prefix :]
        size, count = tokens.shape[:2]
        order = torch.rand(size, count, device=tokens.device).argsort(1)
        seen = max(1, round(count * (1 - self.masked)))
        visible = take(tokens, order[:, :seen])
        code = self.enter(self.norm_in(body.encode(torch.cat([front, visible], 1))))[:, body.prefix :]
        whole = torch.cat([code, self.mask_token.to(code).expand(size, count - seen, -1)], 1)
        whole = take(whole, order.argsort(1)) + self.positions.to(code)
        for block in self.blocks:
            whole = block(whole)
        drawn = self.leave(self.norm_out(whole)).float()
        truth = patches_of(images.float(), body.patch)
        truth = (truth - truth.mean(-1, keepdim=True)) / (truth.var(-1, keepdim=True) + 1e-6).sqrt()
        hidden = order[:, seen:]
        return {"loss": (take(drawn, hidden) - take(truth, hidden)).square().mean()}


def take(tokens: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Tokens (B, n, D) at rows int64 (B, n) of tokens (B, N, D)."""
    return tokens.gather(1, rows[..., None].expand(-1, -1, tokens.shape[-1]))


def layer_groups(
    network: ImageClassifier, learning_rate: float, layer_decay: float = 0.75, weight_decay: float = 0.05
) -> list[dict[str, Any]]:
    """Parameter groups with a learning rate each: smaller the deeper a layer lies below the head.

    Layer i of D blocks has learning_rate * layer_decay^(D + 1 - i), i = 0 for patches and positions, D + 1 for the head
    (Bao et al., ICLR 2022). Vectors, tokens and positions have no weight decay.

    Args:
        network: to be trained.
        learning_rate: of the head.
        layer_decay: 1 gives every layer the same rate.
        weight_decay: of matrices.
    """
    if not isinstance(network.body, TransformerBody):  # a convolutional network is one layer
        flat = [value for value in network.parameters() if value.ndim <= 1]
        deep = [value for value in network.parameters() if value.ndim > 1]
        return [
            {"params": values, "lr": learning_rate, "weight_decay": decay}
            for values, decay in ((deep, weight_decay), (flat, 0.0))
        ]
    param_groups_layer_decay = package_class("timm.optim", "param_groups_layer_decay", "timm", "layers' learning rates")
    patterns = [name for name, _ in network.named_parameters() if name.rsplit(".", 1)[-1] in NO_DECAY]
    groups = param_groups_layer_decay(network, weight_decay, patterns, layer_decay=layer_decay)
    return [{**group, "lr": learning_rate * group.pop("lr_scale")} for group in groups]


def autoencoder_groups(
    network: ImageClassifier, objective: MaskedAutoencoderLoss, learning_rate: float, weight_decay: float = 0.05
) -> list[dict[str, Any]]:
    """Parameter groups of a masked autoencoder: body and decoder, each with the full learning rate."""
    decoder = {"params": list(objective.parameters()), "lr": learning_rate, "weight_decay": weight_decay}
    return [*layer_groups(network, learning_rate, 1.0, weight_decay), decoder]
