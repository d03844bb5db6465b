"""Films beside diffusers' own pipeline with the same network: the same films, and the time of both."""

import importlib.util

import pytest
from small_cine import small_cine

from synthzoo.evaluation.video_benchmark import measure_films
from synthzoo.systems.jvid.inferer import JointCineInferer


@pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="needs diffusers")
def test_diffusers_pipeline_and_our_sampler_make_the_same_films():
    found = measure_films(small_cine(filtered=False), JointCineInferer("late(1)", steps=4), 5, 2, 1)
    assert found["difference"] < 1e-3
    assert [row["frames_per_second"] > 0 for row in found["rows"].values()] == [True] * 3
