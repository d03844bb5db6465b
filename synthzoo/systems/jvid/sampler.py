"""One reverse process shared by two denoisers, an image and a video model (JVID, Reynaud et al., arXiv 2409.14149).

At each step one of them denoises the whole clip. The video model knows the joint distribution of the frames, the image
model, on frames folded into the batch, the prior of a single frame. Legitimate if both were trained on the same noise
levels, with independent noise per frame, on values of the same scale. Only the noisy clip is handed over from step to
step, so any sampler without memory serves, and one that combines estimates of several steps does not.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Collection, Iterable, Sequence

import torch
from torch.nn import functional as F

from synthzoo.diffusion.samplers import SPACINGS, ddim
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError

RULES = (
    "all_v, all_i, early(share), late(share or count), sparse(from, to, every), list(step, ...), random(share, seed)"
)


def image_steps(rule: str, steps: int) -> list[bool]:
    """Which of `steps` reverse steps, noisiest first, go to the image model.

    Args:
        rule: with x = i / (steps - 1) of step i,
            all_v none, all_i all, early(s) those with x < s, late(s) with s < 1 those with x > 1 - s, late(k) the last
            k, sparse(a, b, k) every k-th of those with a <= x <= b, list(i, j, ...) these, random(p, seed) each with
            probability p;
            joined by "+": the steps of either rule, such as "early(0.2)+late(2)".
        steps: number of reverse steps.

    Raises:
        UserError: an unknown rule, or numbers that do not fit it.
    """
    chosen: set[int] = set()
    for part in rule.replace(" ", "").split("+"):
        match = re.fullmatch(r"([a-z_]+)(?:\(([-\d.,e]*)\))?", part)
        try:
            name, numbers = match[1], [float(number) for number in (match[2] or "").split(",") if number]
            chosen |= set(_RULES[name](steps, *numbers))
        except (TypeError, KeyError, ValueError) as error:
            raise UserError(f"switch = {rule!r}: '{part}' is no rule; the known ones are {RULES}.") from error
    wrong = sorted(i for i in chosen if not 0 <= i < steps)
    if wrong:
        raise UserError(f"switch = {rule!r}: there is no step {wrong[0]}; the steps are 0 to {steps - 1}.")
    return [i in chosen for i in range(steps)]


def _place(i: int, steps: int) -> float:
    return i / max(steps - 1, 1)


def _late(steps: int, last: float) -> Iterable[int]:
    if 0 < last < 1:
        return (i for i in range(steps) if _place(i, steps) > 1 - last)
    return range(steps - _whole(last), steps)


def _early(steps: int, share: float) -> Iterable[int]:
    return (i for i in range(steps) if _place(i, steps) < share)


def _sparse(steps: int, low: float, high: float, every: float) -> Iterable[int]:
    return [i for i in range(steps) if low <= _place(i, steps) <= high][:: _whole(every)]


def _random(steps: int, share: float, seed: float = 0) -> Iterable[int]:
    draw = random.Random(_whole(seed))
    return [i for i in range(steps) if draw.random() < share]


def _whole(number: float) -> int:
    if number != int(number):
        raise ValueError(f"{number} is no integer")
    return int(number)


_RULES: dict[str, Callable[..., Iterable[int]]] = {
    "all_v": lambda steps: [],
    "all_i": lambda steps: range(steps),
    "early": _early,
    "late": _late,
    "sparse": _sparse,
    "list": lambda steps, *numbers: [_whole(number) for number in numbers],
    "random": _random,
}


def frame_by_frame(image: Callable, chunk: int | None = None) -> Callable:
    """An image denoiser as one of clips: (B, C, T, ...), t (B,) -> (B, C, T, ...), each frame on its own.

    Args:
        image: (x (N, C, ...), t (N,)) -> prediction (N, C, ...), without any layer that mixes the batch.
        chunk: frames a call at most, to bound the memory; None takes all B T at once.
    """

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        batch, frames = x.shape[0], x.shape[2]
        folded = x.transpose(1, 2).flatten(0, 1)
        times = t.repeat_interleave(frames)
        size = chunk or len(folded)
        done = [image(a, b) for a, b in zip(folded.split(size), times.split(size))]
        return torch.cat(done).unflatten(0, (batch, frames)).transpose(1, 2)

    return denoise


def low_pass(x: torch.Tensor, width: float) -> torch.Tensor:
    """Clip (B, C, T, H, W) blurred in space by a Gaussian of standard deviation `width` pixels; edges are repeated."""
    reach = max(1, math.ceil(3 * width))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device) / width) ** 2)
    kernel = kernel / kernel.sum()
    shape = x.shape
    flat = F.pad(x.reshape(-1, 1, *shape[-2:]), (reach,) * 4, mode="replicate")
    flat = F.conv2d(F.conv2d(flat, kernel.reshape(1, 1, -1, 1)), kernel.reshape(1, 1, 1, -1))
    return flat.reshape(shape)


def switching(
    video: Callable,
    image: Callable,
    schedule: NoiseSchedule,
    image_times: Collection[int],
    image_schedule: NoiseSchedule | None = None,
    blur: float | None = None,
) -> Callable:
    """The denoiser that is `image` at the timesteps `image_times` and `video` at all others.

    Args:
        video: (x (B, C, T, H, W), t (B,)) -> what `schedule` says is predicted, its conditions and guidance inside.
        image: the same for clips, frame by frame, of the kind that `image_schedule` says.
        schedule: noise levels and kind of prediction.
        image_times: timesteps.
        image_schedule: of the image model, if it predicts another kind; its levels must be the same.
        blur: None, or the width in pixels of the split at image steps: coarse structure from the video model, which
            runs there too, and detail from the image model. Ours, not the published rule.

    Raises:
        UserError: the two models were trained on different noise levels.
    """
    own = image_schedule or schedule
    if own.num_steps != schedule.num_steps or not torch.allclose(own.alpha, schedule.alpha):
        raise UserError(
            "image_schedule: its noise levels differ from those of the video model; only models trained with the same "
            "betas can share a reverse process."
        )
    image_times = frozenset(image_times)

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        time = int(t[0])
        if time not in image_times:
            return video(x, t)
        prediction = image(x, t)
        if blur is None and own.prediction == schedule.prediction:
            return prediction
        clean, noise = own.split(x, prediction, time)
        if blur is not None:
            coarse, _ = schedule.split(x, video(x, t), time)
            clean = clean + low_pass(coarse - clean, blur)
            noise = (x - float(schedule.alpha[time]) * clean) / float(schedule.sigma[time])
        return schedule.target(clean, noise, t)

    return denoise


def joint_ddim(
    video: Callable,
    image: Callable,
    noise: torch.Tensor,
    schedule: NoiseSchedule,
    switch: str = "late(2)",
    steps: int = 64,
    eta: float = 1.0,
    spacing: str = "leading",
    image_schedule: NoiseSchedule | None = None,
    blur: float | None = None,
    chunk: int | None = None,
    clip: float | None = None,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> torch.Tensor:
    """Sample clips from both models; "all_v" is `ddim` of the video model, "all_i" that of independent frames.

    Args:
        video: (x (B, C, T, H, W), t (B,)) -> prediction.
        image: (x (N, C, H, W), t (N,)) -> prediction.
        noise: (B, C, T, H, W), standard normal and independent over frames.
        switch: which steps go to the image model; see `image_steps`.
        chunk: frames that the image model sees at once; None is all.
        schedule, image_schedule, blur: as in `switching`.
        steps, eta, spacing, clip, generator, progress: as in `ddim`.

    Returns:
        (B, C, T, H, W), the sample.
    """
    times = SPACINGS[spacing](schedule, steps)
    chosen = [t for t, mine in zip(times, image_steps(switch, steps)) if mine]
    denoise = switching(video, frame_by_frame(image, chunk), schedule, chosen, image_schedule, blur)
    return ddim(denoise, noise, schedule, steps, eta, spacing, generator, progress, clip)
