"""Videos beside diffusers' own pipeline with the same network: the same videos, and the time of both."""

import importlib.util

import pytest
from small_video_model import small_video_model

from synthzoo.evaluation.video_benchmark import measure_videos
from synthzoo.systems.jvid.inferer import JointVideoInferer


@pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="needs diffusers")
def test_diffusers_pipeline_and_our_sampler_make_the_same_videos():
    found = measure_videos(small_video_model(filtered=False), JointVideoInferer("late(1)", steps=4), 5, 2, 1)
    assert found["difference"] < 1e-3
    assert [row["frames_per_second"] > 0 for row in found["rows"].values()] == [True] * 3
