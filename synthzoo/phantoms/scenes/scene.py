"""One scene: a place, none to three objects of four classes, their exact masks, and a caption that names them.

A scene is a pure function of its seed. It is painted on a grid three times as fine and averaged; a pixel belongs to the
object that covers the most of it, if objects cover half of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from synthzoo.errors import UserError
from synthzoo.phantoms.priors import integer_seed
from synthzoo.phantoms.scenes.bird import paint_bird
from synthzoo.phantoms.scenes.canvas import Layer, Pose
from synthzoo.phantoms.scenes.captions import caption_of
from synthzoo.phantoms.scenes.car import paint_car
from synthzoo.phantoms.scenes.dog import paint_dog
from synthzoo.phantoms.scenes.person import paint_person
from synthzoo.phantoms.scenes.places import PLACES, paint_place

CLASSES = ("person", "dog", "car", "bird")
PAINTERS = {"person": paint_person, "dog": paint_dog, "car": paint_car}
FINER = 3
COUNTS = (0.12, 0.46, 0.32, 0.10)  # probability of so many objects
LONGEST = {
    "person": (0.5, 0.85),
    "dog": (0.32, 0.55),
    "car": (0.42, 0.72),
    "bird": (0.26, 0.5),
}  # sides, share of the image
EXTENT = {
    "person": (0.5, 1.05),
    "dog": (1.15, 1.0),
    "car": (1.0, 0.56),
    "bird": (1.0, 0.75),
}  # width, height in own units
VISIBLE = 0.6  # share of an object that others leave uncovered
TRIES = 40


@dataclass(frozen=True)
class SceneObject:
    """An object of a scene: its class, its colour's name, its mask bool (S, S), and whether it is a flying bird."""

    kind: str
    colour: str
    mask: np.ndarray
    flying: bool = False


@dataclass(frozen=True)
class Scene:
    """A scene.

    Attributes:
        image: float32 (3, S, S) in [0, 1].
        objects: those that are seen; masks do not overlap.
        place: a key of `places.PLACES`.
        caption: what a person would write below it.
    """

    image: np.ndarray
    objects: tuple[SceneObject, ...]
    place: str
    caption: str

    def mask(self, kind: str) -> np.ndarray:
        """Where objects of a class are seen, bool (S, S)."""
        found = np.zeros(self.image.shape[1:], bool)
        for one in self.objects:
            found |= one.mask if one.kind == kind else False
        return found


def make_scene(seed: int, size: int = 96, count: int | None = None, kinds: tuple[str, ...] = CLASSES) -> Scene:
    """Paint a scene.

    Args:
        seed: an integer from 0.
        size: S, pixels of a side, 64 at least.
        count: objects; None draws none to three.
        kinds: classes that may be drawn.

    Raises:
        UserError: another seed or size, an unknown class.
    """
    seed = integer_seed("seed", seed, "a scene")
    if int(size) < 64:
        raise UserError(f"size = {size}: a scene has 64 pixels a side at least.")
    unknown = [kind for kind in kinds if kind not in CLASSES]
    if unknown or not kinds:
        raise UserError(f"kinds = {kinds!r}: classes of scenes are {', '.join(CLASSES)}.")
    rng = np.random.default_rng([20230, seed])
    light = np.array([rng.choice([-1, 1]) * rng.uniform(0.2, 0.55), -rng.uniform(0.4, 0.65), 0.7])
    light /= np.linalg.norm(light)
    fine, place = FINER * int(size), tuple(PLACES)[rng.integers(len(PLACES))]
    picture, horizon = paint_place(place, fine, light, rng)
    if rng.random() < 0.5:  # the place out of focus
        picture = ndi.gaussian_filter(picture, (fine / 260, fine / 260, 0))
    number = int(rng.choice(4, p=COUNTS)) if count is None else int(count)
    drawn = [kinds[rng.integers(len(kinds))] for _ in range(number)]
    placed = _placed(drawn, fine, horizon, light, rng)
    top = np.full((fine, fine), -1)
    for rank, (_, _, layer, flying) in enumerate(placed):
        if not flying:
            picture = _shadow(picture, layer, light)
        picture = np.where(layer.covered[..., None], layer.colour, picture)
        top[layer.covered] = rank
    image = _exposed(picture.reshape(size, FINER, size, FINER, 3).mean((1, 3)), rng)
    ranks = np.arange(len(placed))[:, None, None]
    shares = (top == ranks).reshape(len(placed), size, FINER, size, FINER).mean((2, 4))
    objects = []
    for rank, (kind, colour, _, flying) in enumerate(placed):
        mask = (shares.sum(0) >= 0.5) & (shares.argmax(0) == rank)
        objects.append(SceneObject(kind, colour, mask, flying))
    caption = caption_of([(one.kind, one.colour, one.flying) for one in objects], place, rng)
    return Scene(image, tuple(objects), place, caption)


def _placed(
    kinds: list[str], fine: int, horizon: float, light: np.ndarray, rng: np.random.Generator
) -> list[tuple[str, str, Layer, bool]]:
    """Objects from the back to the front, each of them seen well enough; one that finds no room is left out."""
    found: list[tuple[float, tuple[str, str, Layer, bool]]] = []
    for kind in kinds:
        share = rng.uniform(*LONGEST[kind]) * (1 if len(kinds) == 1 else 0.85)
        for _ in range(TRIES):
            one = _painted(kind, share, fine, horizon, light, rng)
            ranked = sorted([*found, one], key=lambda entry: entry[0])
            if _all_seen([layer for _, (_, _, layer, _) in ranked]):
                found = ranked
                break
            share *= 0.97
    return [one for _, one in found]


def _painted(
    kind: str, share: float, fine: int, horizon: float, light: np.ndarray, rng: np.random.Generator
) -> tuple[float, tuple[str, str, Layer, bool]]:
    wide, high = EXTENT[kind]
    scale = share * fine / max(wide, high)
    flying = kind == "bird" and rng.random() < 0.45
    margin = 0.5 * wide * scale + 0.02 * fine
    x = rng.uniform(margin, fine - margin) if 2 * margin < fine else fine / 2
    if flying:
        y = rng.uniform(0.55 * scale, max(0.6 * scale, 0.6 * fine))
    else:
        low = max(horizon * fine + 0.1 * fine, high * scale + 0.02 * fine)
        y = rng.uniform(min(low, 0.93 * fine), 0.97 * fine)
    lean = rng.normal(0, {"person": 0.03, "dog": 0.03, "car": 0.01, "bird": 0.08}[kind])
    layer = Layer(fine, Pose(x, y, scale, bool(rng.random() < 0.5), lean), light, rng)
    colour = paint_bird(layer, rng, flying) if kind == "bird" else PAINTERS[kind](layer, rng)
    return y + (fine if flying else 0), (kind, colour, layer, flying)


def _all_seen(layers: list[Layer]) -> bool:
    """Whether each layer is seen enough behind those that follow it."""
    above = np.zeros_like(layers[0].covered)
    for layer in layers[::-1]:
        if (layer.covered & ~above).sum() < VISIBLE * layer.covered.sum() or not layer.covered.any():
            return False
        above |= layer.covered
    return True


def _shadow(picture: np.ndarray, layer: Layer, light: np.ndarray) -> np.ndarray:
    """The picture with the shadow that an object casts: its outline, laid flat on the ground away from the light."""
    rows, columns = np.nonzero(layer.covered)
    foot, size = layer.pose.y, len(picture)
    rise = (foot - rows).clip(0)
    row = np.rint(foot - 0.12 * rise + 0.01 * size).astype(int).clip(0, size - 1)
    column = np.rint(columns - np.sign(light[0]) * 0.28 * rise).astype(int).clip(0, size - 1)
    cast = np.zeros(picture.shape[:2], np.float32)
    cast[row, column] = 1
    cast = ndi.gaussian_filter(ndi.binary_closing(cast, iterations=2).astype(np.float32), size / 120)
    return picture * (1 - 0.45 * cast.clip(0, 1))[..., None]


def _exposed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture (S, S, 3) as a camera gives it, float32 (3, S, S): exposure, tint, a little noise."""
    gain, tint = rng.uniform(0.82, 1.12), rng.normal(1, 0.025, 3)
    levels = picture * gain * tint + rng.normal(0, 0.012, picture.shape)
    return levels.clip(0, 1).astype(np.float32).transpose(2, 0, 1)
