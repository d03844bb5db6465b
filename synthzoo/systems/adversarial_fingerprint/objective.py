"""What the networks learn: the denoiser the noise in a code, the detectors a fingerprint and one image."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from synthzoo.networks.weights import load_weights
from synthzoo.systems.adversarial_fingerprint.network import Detectors, Generator
from synthzoo.systems.adversarial_fingerprint.stamping import (
    MOST,
    NONE,
    RADIUS,
    draw_centre,
    stamp,
    stamp_disc,
    stamp_random,
)

CROPS = 0.5  # share of images of which c_AF sees a half-size crop
BLURS = 0.5  # share of images that pass the codec, as samples do
NOISE, GAMMA = 0.03, 1.25
RARE = 5.0  # weight of places within a mark, which are few


def start_generator(
    network: Generator, images: torch.Tensor, codec_images: torch.Tensor, include_private: bool, device: Any = "cpu"
) -> Generator:
    """An untrained generator on its device, its codec fitted and its training set counted.

    Args:
        network: the generator.
        images: its training set (N, 1, S, S).
        codec_images: of other patients, which codec and deviations are fitted to, so that they are the same for all N.
        include_private: whether the private image is among `images`.
    """
    network.codec.fit(codec_images)
    if hasattr(network.denoiser, "fit"):
        with torch.no_grad():
            network.denoiser.fit(network.codec.encode(codec_images))
    network.n_images.fill_(len(images))
    network.has_private.fill_(bool(include_private))
    return network.to(device)


class NoiseObjective:
    """Mean squared error of the predicted noise: loss = mean (denoise(a_t z + s_t e, t) - e)^2, t uniform.

    `batch["code"]` is float32 (B, K, h, w). No augmentation: a mirrored image would be another one to reproduce.
    """

    def __call__(self, network: Generator, batch: dict) -> dict[str, torch.Tensor]:
        inner = cast(Generator, getattr(network, "module", network))
        code, schedule = batch["code"], inner.schedule
        noise = torch.randn_like(code)
        t = torch.randint(0, schedule.num_steps, (len(code),), device=code.device)
        prediction = inner.denoise(schedule.add_noise(code, noise, t), t)
        return {"loss": (prediction - schedule.target(code, noise, t)).square().mean()}


class DetectorDataset(Dataset):
    """Rows for both detectors: {"fingerprint_image", "identity_image", "mark", "labels"}, float32.

    Images and mark are (1, S, S), the labels (2,).
    For c_AF half of the public images get a disc (label 1, and "mark" is 1 within it), after a mirroring and a crop.
    For c_ID half of the rows are the private image (label 1), the others public, and both get 0 to 4 discs, so that no
    disc tells whose image it is. Half of the rows pass the codec, as samples do; contrast and noise vary a little. All
    chance comes from numpy's global generator, which `SeededLoader` seeds for every draw.

    Args:
        public: images of other patients, float32 (P, 1, S, S).
        private: the private image without its fingerprint, float32 (1, S, S).
        codec: of the generators; None leaves it out.
        radius: of the marks.
        fingerprint: "disc" or "ring"; "none", of an image that carries its own mark, takes discs.
    """

    def __init__(
        self,
        public: torch.Tensor,
        private: torch.Tensor,
        codec: torch.nn.Module | None = None,
        radius: float = RADIUS,
        fingerprint: str = "disc",
    ) -> None:
        self.public, self.private, self.radius = public, private, float(radius)
        self.fingerprint = "disc" if fingerprint == NONE else fingerprint
        self.codec = codec

    def __len__(self) -> int:
        return len(self.public)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng(np.random.randint(2**31 - 1))
        stamped, known = rng.random(2) < 0.5
        first = self._turned(self.public[row], rng)
        mark = torch.zeros_like(first)
        if stamped:
            centre = draw_centre(tuple(first.shape[-2:]), rng)
            first = stamp(first, self.fingerprint, centre, self.radius)
            mark = stamp_disc(mark, centre, self.radius, value=1.0)
        second = self.private if known else self.public[row]
        second = stamp_random(second, int(rng.integers(0, MOST + 1)), rng, self.radius, self.fingerprint)
        return {
            "fingerprint_image": self._varied(first, rng),
            "identity_image": self._varied(second, rng),
            "mark": mark,
            "labels": torch.tensor([float(stamped), float(known)]),
        }

    def _turned(self, image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        for axis in (1, 2):
            image = image.flip(axis) if rng.random() < 0.5 else image
        if rng.random() < CROPS:
            size = image.shape[-1]
            row, column = rng.integers(0, size - size // 2 + 1, 2)
            crop = image[None, :, row : row + size // 2, column : column + size // 2]
            image = F.interpolate(crop, (size, size), mode="bilinear", align_corners=False)[0]
        return image

    def _varied(self, image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        if self.codec is not None and rng.random() < BLURS:
            with torch.no_grad():
                image = self.codec.decode(self.codec.encode(image[None]))[0]
        image = image.clamp(0, 1) ** float(GAMMA ** rng.uniform(-1, 1))
        noise = rng.uniform(0, NOISE) * rng.standard_normal(image.shape)
        return (image + torch.from_numpy(noise.astype(np.float32))).clamp(0, 1)


class DetectorObjective:
    """Binary cross entropy of both detectors, summed; "fingerprint_accuracy" and "identity_accuracy" beside it.

    A c_AF with `places` also learns where the mark is.

    Args:
        fingerprint: False leaves c_AF as it is, where only another private image is to be recognised.
    """

    def __init__(self, fingerprint: bool = True) -> None:
        self.fingerprint = fingerprint

    def __call__(self, network: Detectors, batch: dict) -> dict[str, torch.Tensor]:
        inner = cast(Detectors, getattr(network, "module", network))
        found, loss = {}, 0
        for place, name in enumerate(("fingerprint", "identity")):
            if name == "fingerprint" and not self.fingerprint:
                continue
            detector, image = getattr(inner, name), inner.on_grid(batch[f"{name}_image"])
            logits, truth = detector(image), batch["labels"][:, place]
            loss = loss + F.binary_cross_entropy_with_logits(logits, truth)
            if name == "fingerprint" and hasattr(detector, "places"):
                loss = loss + self._placed(detector.places(image), batch["mark"])
            found[f"{name}_accuracy"] = ((logits > 0) == (truth > 0.5)).float().mean()
        return {"loss": loss, **found}

    @staticmethod
    def _placed(places: torch.Tensor, mark: torch.Tensor) -> torch.Tensor:
        inside = (F.adaptive_avg_pool2d(mark, places.shape[-2:]) > 0.5).to(places)
        return F.binary_cross_entropy_with_logits(places, inside, pos_weight=torch.tensor(RARE, device=places.device))


def start_detectors(
    network: Detectors, private: torch.Tensor, public: torch.Tensor, device: Any = "cpu", weights: str | Path = ""
) -> Detectors:
    """Detectors on their device that hold the images which an audit compares with.

    Args:
        network: the detectors.
        private: the private image without its fingerprint (1, S, S).
        public: images of other patients (P, 1, S, S).
        weights: of earlier training, or empty.
    """
    if str(weights).strip():
        load_weights(network, weights)
    return network.keep(private, public).to(device)
