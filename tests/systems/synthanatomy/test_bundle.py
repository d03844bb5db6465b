"""What SynthAnatomy claims, with the shipped weights: sub-populations of brains differ as requested."""

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind

from synthzoo.bundle.compose import load_config
from synthzoo.instruments.brain.volumes import measure_brains

GROUP = 6


@pytest.fixture(scope="module")
def sampled(root):
    """Volumes of small (12 mL), then of large ventricles (80 mL), from the same noise; all else is the same."""
    config = load_config(root / "bundles" / "brain_mr_synthesis_autoregressive")
    config["inferer"]["progress"] = False
    network, inferer = (config.get_parsed_content(part) for part in ("network", "inferer"))
    noise = torch.randn(GROUP, *network.latent_shape, generator=torch.Generator().manual_seed(0))
    request = torch.tensor([[55.0, 0.0, small, 1250.0] for small in (12.0, 80.0) for _ in range(GROUP)])
    return inferer(noise.repeat(2, 1, 1, 1, 1), network, conditions=request)[:, 0].numpy()


def test_small_and_large_ventricles_are_two_populations(sampled):
    found = measure_brains(sampled, 2.0)["ventricle_ml"]
    small, large = found[:GROUP], found[GROUP:]
    print(np.round(found, 1))
    assert ttest_ind(large, small, equal_var=False).pvalue < 0.001
    assert small.mean() < 30 and large.mean() > 50


def test_its_volumes_differ_from_each_other(sampled):
    pairs = np.abs(sampled[:GROUP, None] - sampled[None, :GROUP]).mean((2, 3, 4))
    assert pairs[np.triu_indices(GROUP, 1)].min() > 0.005
