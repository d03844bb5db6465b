"""Measures of videos against answers that are known beforehand."""

import numpy as np
import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.instruments.echo import fidelity as vf
from synthzoo.phantoms.echo.phantom import counterfactual, draw_params, make_clip, swept_region


def videos_of(patients, size=32, **given):
    clips = [make_clip(draw_params(patient, **given), size) for patient in patients]
    return torch.from_numpy(np.stack([clip.frames for clip in clips]).astype(np.float32) / 255)[:, None], clips


@pytest.fixture(scope="module")
def pair():
    """A video at EF 0.25, the true video of the same heart at 0.70, and their clips."""
    clip = make_clip(draw_params(210_007, ef=0.25), 64)
    other = counterfactual(clip, 0.70)
    videos = [torch.from_numpy(c.frames.astype(np.float32) / 255)[None, None] for c in (clip, other)]
    return videos, (clip, other)


def test_frames_show_a_blur_and_clips_a_heart_that_stands_still():
    real, other = videos_of(range(210_000, 210_024))[0], videos_of(range(210_100, 210_124))[0]
    blurred = torch.nn.functional.avg_pool3d(other, (1, 5, 5), 1, (0, 2, 2))
    still = other[:, :, :1].expand_as(other)
    for kind, wrong, number in (("frames", blurred, 96), ("clips", still, 24)):
        found = vf.frechet(wrong, real, other)[kind]
        assert found["fid"] > 1.3 * found["fid_real"] > 0 and found["n"] == number
    assert vf.frechet(real, real, other)["frames"]["fid"] == pytest.approx(0, abs=1e-2)


def test_roi_ssim_sees_the_heart_where_the_whole_frame_does_not(pair):
    (video, other), (clip, _) = pair
    region = vf.dilated_cavity(clip.masks[clip.ed_frame][None], clip.cm_per_pixel)
    assert vf.roi_ssim(video, video, region) == pytest.approx(1)
    inside, whole = vf.roi_ssim(video, other, region), vf.roi_ssim(video, other)
    assert inside < whole - 0.03 and whole > 0.7
    assert vf.roi_ssim(video, other, np.ones((1, 64, 64), bool)) == pytest.approx(whole)


def test_a_dilated_cavity_grows_by_one_centimetre():
    mask = np.zeros((1, 21, 21), bool)
    mask[0, 10, 10] = True
    grown = vf.dilated_cavity(mask, 0.5)[0]
    assert grown.sum() == 13 and grown[10, 8] and not grown[10, 7]  # a disc of radius 2
    assert not vf.dilated_cavity(np.zeros((1, 8, 8), bool), 0.5).any()


def test_the_area_curve_tells_the_true_video_from_a_copy_of_the_input(pair):
    (video, other), (_, true) = pair
    assert vf.area_curve_error(other, other) == pytest.approx(0)
    copied, right = (
        vf.area_curve_error(video, true.masks.mean((1, 2))[None]),
        vf.area_curve_error(other, true.masks.mean((1, 2))[None]),
    )
    assert right < 0.1 < copied


def test_motion_and_flicker_of_known_videos():
    steps = torch.arange(8).float()
    even = (0.1 * steps)[None, None, :, None, None].expand(1, 1, 8, 16, 16)
    assert vf.motion_energy(even) == pytest.approx(0.1) and vf.flicker(even, None) == pytest.approx(0, abs=1e-6)
    blinking = (steps % 2)[None, None, :, None, None].expand(1, 1, 8, 16, 16).clone()
    blinking[..., 8:] = 0
    left = np.zeros((1, 16, 16), bool)
    left[..., :8] = True
    assert vf.flicker(blinking, left) == pytest.approx(2) and vf.flicker(blinking, ~left) == pytest.approx(0)
    assert vf.flicker(blinking, None) == pytest.approx(1) and vf.motion_energy(blinking, left) == pytest.approx(1)


def test_the_quiet_region_is_lit_and_hardly_touches_the_heart(pair):
    (video, _), (clip, _) = pair
    quiet = vf.still_region(video)[0]
    assert quiet.sum() > 200 and not (quiet & clip.masks.any(0)).any()
    assert (clip.frames.max(0) > 0)[quiet].all()
    assert vf.flicker(video, ~swept_region(clip.source, 64)[None]) > 0


def test_features_have_their_stated_shapes():
    videos = videos_of([210_000, 210_001])[0]
    assert vf.frame_features(videos, every=5).shape == (8, 72) and vf.clip_features(videos).shape == (2, 192)


def test_wrong_shapes_are_refused(pair):
    video = pair[0][0]
    with pytest.raises(UserError, match="SSIM compares videos of one shape"):
        vf.roi_ssim(video, video[..., :32, :32])
    with pytest.raises(UserError, match="these videos take"):
        vf.roi_ssim(video, video, np.ones((1, 8, 8)))
    with pytest.raises(UserError, match="region: is empty"):
        vf.roi_ssim(video, video, np.zeros((1, 64, 64)))
    with pytest.raises(UserError, match="give the same videos"):
        vf.area_curve_error(video, np.ones((1, 9)))
    with pytest.raises(UserError, match="these videos take"):
        vf.flicker(video, np.ones((2, 64, 64)))
