"""Sets of echo phantoms: presets of size and length, splits by patient, and the set whose recall is chosen.

Patients are split, never videos: each split has its own range of patient seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthzoo.errors import UserError
from synthzoo.phantoms.echo.patient import EF_PRIORS
from synthzoo.phantoms.echo.phantom import EchoParams, draw_params

SPLITS = {"TRAIN": (0, 100_000), "VAL": (100_000, 200_000), "TEST": (200_000, 300_000)}
AGAIN = 1_000  # first session and noise of videos that are rendered again of a known patient
LENGTH, CHOICE = 106, 107  # salts


@dataclass(frozen=True)
class Preset:
    """Preset of a set: size and length of its videos, and their number.

    Attributes:
        size: side of the square image in pixels.
        fps: frames a second.
        frames: fewest and most frames of a video; the number is drawn for each video.
        patients: for each split.
        videos: for each patient, each of its own session and noise.
    """

    size: int
    fps: float
    frames: tuple[int, int]
    patients: dict[str, int]
    videos: int = 1


PRESETS = {
    "tiny": Preset(32, 16.0, (16, 16), {"TRAIN": 400, "VAL": 64, "TEST": 64}),
    "small": Preset(64, 16.0, (16, 16), {"TRAIN": 1500, "VAL": 200, "TEST": 200}, videos=2),
    "echonet": Preset(112, 50.0, (100, 250), {"TRAIN": 7465, "VAL": 1288, "TEST": 1277}),
}


@dataclass(frozen=True)
class Video:
    """Identity of a video: seeds, split and number of frames."""

    patient: int
    session: int
    noise: int
    split: str
    frames: int


def preset_of(name: str) -> Preset:
    """The preset of that name; UserError names the choices."""
    if name not in PRESETS:
        raise UserError(f"preset = {name!r}: an echo phantom has the presets {', '.join(PRESETS)}.")
    return PRESETS[name]


def list_videos(preset: str, split: str, patients: int | None = None, first: int = 0) -> list[Video]:
    """The videos of one split, patient by patient.

    Args:
        preset: "tiny", "small" or "echonet".
        split: "TRAIN", "VAL" or "TEST".
        patients: how many; None takes the preset's number.
        first: number of the first patient within the split.

    Raises:
        UserError: an unknown name, or more patients than the split's range of seeds holds.
    """
    chosen = preset_of(preset)
    if split not in SPLITS:
        raise UserError(f"split = {split!r}: an echo phantom has the splits {', '.join(SPLITS)}.")
    start, end = SPLITS[split]
    count = chosen.patients[split] if patients is None else patients
    if count < 1 or first < 0 or first + count > end - start:
        raise UserError(f"patients = {count}: the split {split} holds 1 to {end - start - first} from {first} on.")
    seeds = range(start + first, start + first + count)
    return [_video(chosen, seed, visit, visit, split) for seed in seeds for visit in range(chosen.videos)]


def list_recall(
    preset: str, share: float, videos: int = 1, patients: int | None = None, seed: int = 0
) -> tuple[list[Video], np.ndarray]:
    """A set that stands for a generator which reproduces a known share of its training patients.

    Args:
        share: of the TRAIN patients that appear, 0 to 1; the number is rounded.
        videos: videos of each of them; their sessions and noise are in no split.
        patients: how many patients TRAIN has; None takes the preset's number.
        seed: of the choice of patients.

    Returns:
        The videos, and the seeds of the chosen patients, int64, ascending: recall is their share of TRAIN.
    """
    if not 0 <= share <= 1:
        raise UserError(f"share = {share:g}: the share of patients that appear is from 0 to 1.")
    chosen = preset_of(preset)
    count = chosen.patients["TRAIN"] if patients is None else patients
    rng = np.random.default_rng([CHOICE, seed])
    # One order of the patients for all shares, so that a larger share holds a smaller one.
    seeds = np.sort(SPLITS["TRAIN"][0] + rng.permutation(count)[: round(share * count)])
    found = [_video(chosen, int(s), AGAIN + n, AGAIN + n, "TRAIN") for s in seeds for n in range(videos)]
    return found, seeds


def video_params(video: Video, ef_prior: str = "uniform", shrink: float = 1.0, confounded: bool = False) -> EchoParams:
    """The parameters of one video of a set; see `echo.draw_params`."""
    if ef_prior not in EF_PRIORS:
        raise UserError(f"ef_prior = {ef_prior!r}: an echo phantom has the priors {', '.join(EF_PRIORS)}.")
    return draw_params(
        video.patient, video.session, video.noise, ef_prior=ef_prior, shrink=shrink, confounded=confounded
    )


def _video(preset: Preset, patient: int, session: int, noise: int, split: str) -> Video:
    low, high = preset.frames
    frames = low
    if low < high:
        frames = int(np.random.default_rng([LENGTH, patient, session]).integers(low, high + 1))
    return Video(patient, session, noise, split, frames)
