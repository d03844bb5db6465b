"""Counterfactual clips from a deep twin network (D'ARTAGNAN, Reynaud et al., MICCAI 2022, arXiv 2206.01651).

    Y = f(X, Z, U),   Y* = f*(X*, Z, U)

Z is the clip (the patient), X its ejection fraction (EF), X* the one requested, and U a noise that both worlds share. A
frame discriminator and a frozen regressor of the EF judge Y*, for which no truth exists. `PAPER` holds the published
settings; our defaults share one branch (so that X* = X gives Y* = Y), scale channels by the EF, and normalise by group.
Where the answer is a motion, Z comes with its X: Y* = Z moved by (X* - X) m(X*, X* - X, Z, U), and so Y = Z.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.systems.dartagnan.blocks import ClipStem, FactorisedBlock, norm_layer, start_weights
from synthzoo.systems.dartagnan.motion import move_tissue

ANSWERS = ("video", "motion")
REACH = 0.3  # share of the side that tissue may move for a unit of EF
NOISE = 0.25  # standard deviation of U around 1


class TwinBranch(nn.Module):
    """One world: (EF, clip, noise) -> clip.

    Args:
        width: channels at full size; twice as many at half the size.
        stem_width: channels inside the stem.
        stem_kernel: of the stem over space.
        norm: "batch" or "group".
        plane: the EF is a constant channel before the clip, as published, instead of scaling the channels.
        answer: "video", as published, paints the new clip; "motion" says how far the tissue of each frame moves for
            each unit of EF between the video's own and the requested one, at half the size, and moves that of the clip:
            it can change what the heart does and nothing else, and leaves a video with its own EF as it is.
    """

    def __init__(
        self,
        width: int = 32,
        stem_width: int = 128,
        stem_kernel: int = 7,
        norm: str = "group",
        plane: bool = False,
        answer: str = "video",
    ) -> None:
        super().__init__()
        if answer not in ANSWERS:
            raise UserError(f"network_def#generator#answer = {answer!r}: the known ones are {', '.join(ANSWERS)}.")
        self.answer, moves = answer, answer == "motion"
        size = 0 if plane else 2 * width
        self.width = width
        heard = 2 if moves else 1
        self.ef = None if plane else nn.Sequential(nn.Linear(heard, size), nn.SiLU(), nn.Linear(size, size), nn.SiLU())

        def blocks(inner: int, outer: int) -> nn.ModuleList:
            pair = (
                FactorisedBlock(inner, outer, norm, condition=size),
                FactorisedBlock(outer, outer, norm, condition=size),
            )
            return nn.ModuleList(pair)

        self.stem = ClipStem(2 if plane else 1, stem_width, width, norm, stem_kernel, stride=2 if moves else 1)
        self.fine = blocks(width, width)
        self.coarse = nn.ModuleList([*blocks(width, 2 * width), *blocks(2 * width, 2 * width)])
        self.noisy = blocks(2 * width, 2 * width)
        self.last = blocks(2 * width, width)
        self.out = nn.Conv3d(width, 2 if moves else 1, 3, padding=1, padding_mode="reflect")
        start_weights(self)
        if moves:  # starts with tissue nearly at rest
            nn.init.normal_(self.out.weight, std=1e-3)

    def forward(
        self, ef: torch.Tensor, clip: torch.Tensor, noise: torch.Tensor, own: torch.Tensor | None = None
    ) -> torch.Tensor:
        """EF (B,), clip (B, 1, T, H, W) in [0, 1], noise of `TwinGenerator.draw_noise` -> clip in [0, 1].

        Args:
            own: EF of the clip (B,); of a branch of motions alone.
        """
        if self.answer == "motion" and torch.equal(ef, own):
            return clip  # what `move_tissue` would give, without its rounding and its cost
        return self.render(clip, self.decide(ef, clip, noise, own))

    def render(self, clip: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """The new clip in [0, 1] of the old one and of what `decide` found."""
        return move_tissue(clip, found) if self.answer == "motion" else torch.sigmoid(found)

    def decide(
        self, ef: torch.Tensor, clip: torch.Tensor, noise: torch.Tensor, own: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As `forward`, before the answer: logits (B, 1, T, H, W), or shifts in pixels (B, 2, T, H, W)."""
        ef = ef.to(clip)
        conditions = [ef] if self.answer == "video" else [ef, ef - own.to(clip)]
        vector = None if self.ef is None else self.ef(2 * torch.stack(conditions, 1) - 1)
        plane = ef.reshape(-1, 1, 1, 1, 1).expand_as(clip)
        x = self.stem(torch.cat([plane, clip], 1) if self.ef is None else clip)
        x = through(self.fine, x, vector)
        x = through(self.coarse, F.max_pool3d(x, 2), vector)
        x = through(self.noisy, x * noise, vector)
        x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
        x = self.out(through(self.last, x, vector))
        if self.answer == "video":
            return x
        x = F.interpolate(x.float(), scale_factor=(1, 2, 2), mode="trilinear", align_corners=False)
        return REACH * clip.shape[-1] * conditions[1].float().reshape(-1, 1, 1, 1, 1) * torch.tanh(x)


class TwinGenerator(nn.Module):
    """Two worlds that share patient and noise.

    Args:
        shared: one branch for both worlds; otherwise each has its own weights.
        width, stem_width, stem_kernel, norm, plane, answer: see `TwinBranch`.
    """

    def __init__(
        self,
        shared: bool = True,
        width: int = 32,
        stem_width: int = 128,
        stem_kernel: int = 7,
        norm: str = "group",
        plane: bool = False,
        answer: str = "video",
    ) -> None:
        super().__init__()
        settings = (width, stem_width, stem_kernel, norm, plane, answer)
        self.factual = TwinBranch(*settings)
        # A shared branch is stored once, so the second name is not a module of its own.
        self.other = None if shared else TwinBranch(*settings)
        self.width, self.shrinks = width, (2, 4, 4) if answer == "motion" else (2, 2, 2)

    @property
    def counterfactual(self) -> TwinBranch:
        """The branch of the requested-for world."""
        return self.factual if self.other is None else self.other

    def draw_noise(self, clip: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """U of clips (B, 1, T, H, W): about 1 with standard deviation .25, in (0, 2), drawn on the CPU.

        Returns:
            (B, 2 width, T / 2, H / 2, W / 2), for motions (B, 2 width, T / 2, H / 4, W / 4).

        Raises:
            UserError: a clip whose frames, height or width cannot be divided so.
        """
        batch, _, *size = clip.shape
        if any(n % by for n, by in zip(size, self.shrinks)):
            more = "" if max(self.shrinks) == 2 else ", the sides multiples of 4"
            raise UserError(f"clip of {size[0]} frames of {size[1]} x {size[2]}: all three numbers must be even{more}.")
        shape = (batch, 2 * self.width, *(n // by for n, by in zip(size, self.shrinks)))
        return (1 + torch.fmod(NOISE * torch.randn(shape, generator=generator), 1)).to(clip)

    def forward(
        self, clip: torch.Tensor, ef: torch.Tensor, requested: torch.Tensor, noise: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Factual and counterfactual clip, each (B, 1, T, H, W) in [0, 1].

        Args:
            clip: (B, 1, T, H, W) in [0, 1].
            ef, requested: factual and requested-for EF (B,), fractions.
            noise: see `draw_noise`; None draws it. Ones leave it out.
        """
        noise = self.draw_noise(clip) if noise is None else noise
        return self.factual(ef, clip, noise, ef), self.counterfactual(requested, clip, noise, ef)


class ScaleBlock(nn.Module):
    """The mean of three convolutions of sizes 3, 5 and 7 and of the input itself; half the size if requested."""

    def __init__(self, in_channels: int, width: int, norm: str, halve: bool) -> None:
        super().__init__()
        self.paths = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(in_channels, width, kernel, padding=kernel // 2, bias=False),
                norm_layer(norm, width, 2),
                nn.ReLU(inplace=True),
            )
            for kernel in (3, 5, 7)
        )
        self.width = width
        self.pool = nn.MaxPool2d(3, 2, 1) if halve else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, width, H / 2, W / 2); the mean of other than `width` channels goes to all outputs."""
        plain = x if x.shape[1] == self.width else x.mean(1, keepdim=True)
        return sum((self.pool(path(x)) for path in self.paths), self.pool(plain)) / 4


class FrameDiscriminator(nn.Module):
    """Scores frames at several scales: (B, 1, T, H, W) -> (B, T), large where they look real.

    The published score of a clip is the sigmoid of the mean over its frames.

    Args:
        width: channels of every block.
        halvings: blocks that halve; one more follows that does not.
        norm: "batch" or "group".
        changes: a frame is seen with how it differs from the one before (the first: from the second); the published
            discriminator sees it alone.
    """

    def __init__(self, width: int = 32, halvings: int = 4, norm: str = "group", changes: bool = False) -> None:
        super().__init__()
        self.changes, first = changes, 2 if changes else 1
        self.blocks = nn.Sequential(
            *(ScaleBlock(width if n else first, width, norm, n < halvings) for n in range(halvings + 1))
        )

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        """Clip (B, 1, T, H, W) -> scores (B, T)."""
        if self.changes:
            change = clip.diff(dim=2)
            clip = torch.cat([clip, torch.cat([change[:, :, :1], change], 2)], 1)
        frames = clip.transpose(1, 2).flatten(0, 1)
        return self.blocks(frames).mean((1, 2, 3)).unflatten(0, (clip.shape[0], clip.shape[2]))


class EFExpert(nn.Module):
    """Reads the EF off a clip: (B, 1, T, H, W) in [0, 1] -> (B,), a fraction.

    Args:
        width: channels of the first stage; each further one doubles them and halves time and space.
        stages: of two blocks each.
        stem_kernel: of the stem over space, which halves the size.
        norm: "batch" or "group".
        start: the answer before training, the mean EF of the data.
    """

    def __init__(
        self, width: int = 32, stages: int = 4, stem_kernel: int = 7, norm: str = "group", start: float = 0.556
    ) -> None:
        super().__init__()
        self.frozen = False
        self.stem = ClipStem(1, width // 2, width, norm, stem_kernel, stride=2)
        blocks: list[nn.Module] = []
        for stage in range(stages):
            inner, outer = width * 2 ** max(stage - 1, 0), width * 2**stage
            blocks += [FactorisedBlock(inner, outer, norm, 2 if stage else 1), FactorisedBlock(outer, outer, norm)]
        self.blocks = nn.ModuleList(blocks)
        self.out = nn.Linear(width * 2 ** (stages - 1), 1)
        start_weights(self)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.constant_(self.out.bias, start)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        """Clip (B, 1, T, H, W) in [0, 1] -> EF (B,)."""
        return self.out(through(self.blocks, self.stem(clip), None).mean((2, 3, 4)))[:, 0]

    def freeze(self) -> EFExpert:
        """Stop learning for good: no gradient for the weights, and running statistics kept, also while others train."""
        self.frozen = True
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> EFExpert:
        """As of any module, but a frozen one stays in eval mode."""
        return super().train(mode and not self.frozen)


def through(blocks: nn.ModuleList, x: torch.Tensor, vector: torch.Tensor | None) -> torch.Tensor:
    """x through blocks that all hear the vector."""
    for block in blocks:
        x = block(x, vector)
    return x


# 64 frames of 112 x 112; the code's own default width is 128.
PAPER = {
    "generator": {"shared": False, "width": 32, "stem_width": 128, "stem_kernel": 7, "norm": "batch", "plane": True},
    "discriminator": {"width": 32, "halvings": 4, "norm": "batch"},
    "expert": {"width": 32, "stages": 4, "norm": "batch"},
}
SMALL = {
    "generator": {"shared": True, "width": 8, "stem_width": 16, "stem_kernel": 3},
    "discriminator": {"width": 8, "halvings": 3},
    "expert": {"width": 16, "stages": 3, "stem_kernel": 3},
}
