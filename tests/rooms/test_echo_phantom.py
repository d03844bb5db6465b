"""The echo phantom holds what it says: ejection fraction, volumes, seeds, counterfactuals, splits."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from synthzoo.datasets.echo.phantoms import EchoPhantomDataset
from synthzoo.errors import UserError
from synthzoo.instruments.echo.discs import disc_volumes, ejection_fraction, measure_echo
from synthzoo.phantoms.echo.geometry import profile
from synthzoo.phantoms.echo.patient import PATIENT_PRIORS
from synthzoo.phantoms.echo.phantom import (
    counterfactual,
    draw_ef,
    draw_params,
    draw_patient,
    ejection_curve,
    extreme_frames,
    make_clip,
    make_masks,
    swept_region,
)
from synthzoo.phantoms.echo.sets import PRESETS, SPLITS, list_recall, list_videos, video_params


def test_the_ejection_fraction_is_exact_for_the_sampled_frames_of_any_video():
    rng = np.random.default_rng(0)
    for patient in range(200):
        rate, fps = rng.uniform(50, 100), float(rng.choice([9, 16, 32, 50]))
        params = draw_params(patient, int(rng.integers(9)), ef=rng.uniform(0.05, 0.9), heart_rate=rate)
        frames = int(np.ceil(60 * fps / rate)) + int(rng.integers(4))
        motion = ejection_curve(params, frames, fps)
        volumes = motion.volume_ml
        assert abs(1 - volumes.min() / volumes.max() - params.ef) < 1e-9
        ed, es = extreme_frames(params, frames, fps)
        assert abs(1 - volumes[es] / volumes[ed] - params.ef) < 1e-9
        assert volumes[ed] == pytest.approx(params.edv_ml, rel=1e-9)


def test_the_volume_is_that_of_the_solid_of_revolution():
    params = draw_params(5, ef=0.6)
    motion = ejection_curve(params, 16, 16)
    places = np.linspace(0, 1, 20_001)
    squares = profile(params.patient, places) ** 2
    area = np.sum(0.5 * (squares[1:] + squares[:-1])) / 20_000
    assert motion.volume_ml == pytest.approx(np.pi * motion.length_cm * motion.radius_cm**2 * area, rel=2e-4)
    # Muscle keeps its volume while the cavity empties.
    whole = np.pi * motion.outer_length_cm * motion.outer_radius_cm**2 * area
    assert whole - motion.volume_ml == pytest.approx(np.full(16, (whole - motion.volume_ml)[0]), rel=1e-3)
    assert 50 < params.edv_ml < 230


def test_the_same_seeds_give_the_same_bytes_and_each_seed_matters():
    def frames(*seeds, **options):
        return make_clip(draw_params(*seeds, ef=0.5, **options), 48).frames

    first = frames(3, 1, 2)
    assert np.array_equal(first, frames(3, 1, 2))
    assert first.dtype == np.uint8 and first.shape == (16, 48, 48)
    for other in (frames(4, 1, 2), frames(3, 2, 2), frames(3, 1, 3)):
        assert not np.array_equal(first, other)


def test_only_the_heart_changes_in_a_counterfactual():
    clip = make_clip(draw_params(11, 1, 1, ef=0.3), 64)
    other = counterfactual(clip, 0.7)
    assert other.ef == 0.7 and other.seeds == clip.seeds and other.volumes_ml.max() == clip.volumes_ml.max()
    region = swept_region(clip.source, 64) | swept_region(other.source, 64)
    changed = (clip.frames != other.frames).any(0)
    assert not (changed & ~region).any()
    assert changed.mean() > 0.1
    outside = ~region & (clip.frames.max(0) > 0)
    assert outside.mean() > 0.1, "the region must leave tissue to compare"
    again = counterfactual(other, 0.3)
    assert np.array_equal(again.frames, clip.frames)


def test_discs_on_the_masks_measure_the_ejection_fraction():
    requested, measured = np.linspace(0.15, 0.85, 12), []
    for patient, ef in enumerate(requested):
        params = draw_params(patient, ef=float(ef))
        found = measure_echo(make_masks(params, 112), params.patient.depth_cm / 112)
        measured.append(found["ef"])
        assert found["edv_ml"] == pytest.approx(params.edv_ml, rel=0.04)
    assert np.abs(np.array(measured) - requested).max() < 0.015


def test_discs_measure_an_ellipsoid_in_any_direction_and_no_volume_in_an_empty_mask():
    y, x = np.mgrid[:160, :160] * 0.1 - 8.0
    for angle in (0.0, 0.4, 1.3):
        along, across = x * np.sin(angle) + y * np.cos(angle), x * np.cos(angle) - y * np.sin(angle)
        mask = (along / 5) ** 2 + (across / 2.5) ** 2 <= 1
        truth = 4 / 3 * np.pi * 5 * 2.5**2
        assert disc_volumes(mask, 0.1)[0] == pytest.approx(truth, rel=0.02)
        assert disc_volumes(mask, 0.1, (np.sin(angle), np.cos(angle)))[0] == pytest.approx(truth, rel=0.02)
    empty = disc_volumes(np.zeros((2, 8, 8), bool), 0.1)
    assert list(empty) == [0, 0] and np.isnan(ejection_fraction(empty))
    with pytest.raises(UserError, match="cm_per_pixel = 0"):
        disc_volumes(mask, 0)
    with pytest.raises(UserError, match="axis"):
        disc_volumes(mask, 0.1, (0, 0))


def test_a_clip_shows_dark_blood_in_bright_muscle_within_a_sector():
    clip = make_clip(draw_params(2, ef=0.6), 96)
    assert np.all(clip.frames[:, 0, :40] == 0)
    cavity = clip.masks.all(0)
    ring = swept_region(clip.source, 96) & ~clip.masks.any(0)
    assert clip.frames[:, cavity].mean() < 0.6 * clip.frames[:, ring].mean()
    assert clip.masks[clip.ed_frame].sum() > clip.masks[clip.es_frame].sum()
    # The long axis runs from the mask's tip to its base.
    (x, y), (base_x, base_y) = clip.long_axis[clip.ed_frame]
    rows = np.flatnonzero(clip.masks[clip.ed_frame].any(1))
    assert abs(rows[0] - y) < 2.5 and abs(rows[-1] - base_y) < 6
    assert json.loads(json.dumps(clip.params))["ef"] == 0.6


def test_the_patient_is_the_same_at_another_size():
    small, large = (make_clip(draw_params(6, ef=0.5), size).frames.astype(float) for size in (32, 96))
    large = large.reshape(16, 32, 3, 32, 3).mean((2, 4))
    other = make_clip(draw_params(7, ef=0.5), 32).frames.astype(float)
    same, different = (np.corrcoef(small.ravel(), v.ravel())[0, 1] for v in (large, other))
    assert same > 0.9 > different


def test_ejection_fraction_knows_nothing_of_anatomy_unless_it_is_confounded():
    drawn = [draw_params(patient) for patient in range(400)]
    values = np.array([[p.ef, p.edv_ml, p.patient.gain_db, p.session.heart_rate] for p in drawn])
    assert np.abs(np.corrcoef(values.T)[0, 1:]).max() < 0.12
    linked = np.array([[p.ef, p.edv_ml] for p in (replace(p, confounded=True) for p in drawn)])
    assert np.corrcoef(linked.T)[0, 1] < -0.4
    ratio = draw_params(1, ef=0.3, confounded=True).edv_ml / draw_params(1, ef=0.3).edv_ml
    assert ratio == pytest.approx(np.exp(-0.8 * (0.3 - 0.55)))
    clinic = np.array([draw_ef(patient, 0, "clinic") for patient in range(400)])
    assert 0.5 < np.median(clinic) < 0.62 and clinic.min() >= 0.08 and clinic.max() <= 0.85


def test_shrinking_draws_patients_together_until_they_are_one():
    patients = [[draw_patient(seed, shrink) for seed in range(60)] for shrink in (1.0, 0.5)]
    for name in PATIENT_PRIORS:
        wide, narrow = (np.std([getattr(patient, name) for patient in drawn]) for drawn in patients)
        assert narrow == pytest.approx(0.5 * wide, rel=1e-6)
    one, two = (replace(draw_patient(seed, 0.0), seed=0) for seed in (1, 2))
    assert one == two


def test_no_patient_is_in_two_splits():
    for preset, chosen in PRESETS.items():
        videos = {split: list_videos(preset, split) for split in SPLITS}
        patients = {split: {video.patient for video in found} for split, found in videos.items()}
        for split, found in videos.items():
            assert len(patients[split]) == chosen.patients[split]
            assert len(found) == len(set(found)) == chosen.patients[split] * chosen.videos
        assert not patients["TRAIN"] & patients["VAL"]
        assert not (patients["TRAIN"] | patients["VAL"]) & patients["TEST"]
    lengths = {video.frames for video in list_videos("echonet", "VAL")}
    assert min(lengths) >= 100 and max(lengths) <= 250 and len(lengths) > 50


def test_the_recall_set_holds_the_requested_share_of_training_patients_in_new_videos():
    train = list_videos("tiny", "TRAIN")
    videos, patients = list_recall("tiny", 0.25, videos=2)
    assert len(patients) == 100 and len(videos) == 200
    assert {video.patient for video in videos} == set(patients.tolist()) <= {video.patient for video in train}
    assert not {(f.patient, f.session) for f in videos} & {(f.patient, f.session) for f in train}
    more = list_recall("tiny", 0.5)[1]
    assert set(patients.tolist()) < set(more.tolist())
    assert list_recall("tiny", 0.0)[0] == []


def test_wrong_values_are_named_with_a_remedy():
    with pytest.raises(UserError, match="4.8 frames a beat.*needs 5; give fps of at least 8.3"):
        make_clip(draw_params(1, heart_rate=100), 32, fps=8)
    with pytest.raises(UserError, match="frames = 10: a whole beat at 60 a minute and fps = 16 takes 16"):
        make_clip(draw_params(1, heart_rate=60), 32, frames=10)
    with pytest.raises(UserError, match="ef = 55: .*0.05 to 0.9; did you mean 0.55"):
        make_clip(draw_params(1, ef=55), 32)
    with pytest.raises(UserError, match="size = 8"):
        make_clip(draw_params(1), 8)
    with pytest.raises(UserError, match="patient = -1"):
        draw_params(-1)
    with pytest.raises(UserError, match="noise = 0.5"):
        draw_params(1, noise=0.5)
    with pytest.raises(UserError, match="shrink = 2"):
        draw_patient(1, 2)
    with pytest.raises(UserError, match="'train': .*TRAIN, VAL, TEST"):
        list_videos("tiny", "train")
    with pytest.raises(UserError, match="preset = 'huge': .*tiny, small, echonet"):
        EchoPhantomDataset("huge")
    with pytest.raises(UserError, match="ef_prior = 'normal'"):
        EchoPhantomDataset("tiny", ef_prior="normal")
    with pytest.raises(UserError, match="frames = 8"):
        EchoPhantomDataset("tiny", frames=8)
    with pytest.raises(UserError, match="videos is empty"):
        EchoPhantomDataset("tiny", videos=[])
    with pytest.raises(UserError, match="ef = 1"):
        EchoPhantomDataset("tiny", patients=1, ef=[1.0])
    with pytest.raises(UserError, match="takes 2 numbers"):
        EchoPhantomDataset("tiny", patients=2, ef=[0.5])


def test_rows_come_from_the_cache_as_they_were_made(tmp_path):
    made = EchoPhantomDataset("tiny", "VAL", patients=3, cache_dir=tmp_path, masks=True)
    rows = [made[row] for row in range(3)]
    video = rows[1]["video"]
    assert video.shape == (1, 16, 32, 32) and video.min() == 0 and 0.5 < video.max() <= 1
    assert rows[1]["patient"] == SPLITS["VAL"][0] + 1
    clip = make_clip(video_params(list_videos("tiny", "VAL")[1]), 32)
    assert np.array_equal((video[0].numpy() * 255).round().astype(np.uint8), clip.frames)
    assert np.array_equal(rows[1]["mask"][0].numpy() > 0, clip.masks)
    assert float(rows[1]["ef"]) == pytest.approx(clip.ef) and rows[1]["es_frame"] == clip.es_frame
    assert float(rows[1]["edv_ml"]) == pytest.approx(clip.volumes_ml.max())

    kept = pickle.loads(pickle.dumps(EchoPhantomDataset("tiny", "VAL", patients=3, cache_dir=tmp_path)))
    kept.clip = None  # a second set of the same videos reads them
    assert all(np.array_equal(kept[row]["video"], rows[row]["video"]) for row in range(3))
    assert len(list(tmp_path.iterdir())) == 1
    requested = EchoPhantomDataset("tiny", "VAL", patients=3, ef=[0.2, 0.3, 0.4], cache_dir=tmp_path)
    assert float(requested[2]["ef"]) == pytest.approx(0.4) and len(list(tmp_path.iterdir())) == 2


def test_videos_of_unequal_length_share_one_cache(tmp_path):
    videos = EchoPhantomDataset("echonet", "TEST", patients=2, size=16, cache_dir=tmp_path)
    lengths = [videos[row]["video"].shape[1] for row in (1, 0)]
    assert lengths == [videos.videos[1].frames, videos.videos[0].frames]
    assert lengths[0] != lengths[1]
    assert np.array_equal(videos.frames(1), videos.clip(1).frames)
    assert EchoPhantomDataset("echonet", "TEST", patients=1, frames=64, size=16)[0]["video"].shape == (1, 64, 16, 16)
