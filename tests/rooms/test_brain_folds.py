"""Folds, leaves and vessels drawn again keep what a tissue map promises."""

import numpy as np
import pytest

from synthzoo.phantoms.brain.folds import (
    CEREBELLUM,
    CORTEX,
    CSF,
    DEEP,
    VENTRICLE,
    WHITE,
    refold,
    refoliate,
    sulcal_vessels,
)

SHAPE = (80, 96)


@pytest.fixture
def maps():
    """A disc of white matter under cortex, a ventricle and deep grey in its middle, a cerebellum at one end."""
    y, x = np.meshgrid(*(np.arange(n) - n / 2 for n in SHAPE), indexing="ij")
    radius = np.hypot(y, x)
    out = np.zeros((11, *SHAPE), np.float32)
    out[VENTRICLE], out[DEEP] = radius < 5, (radius >= 5) & (radius < 9)
    out[WHITE], out[CORTEX] = (radius >= 9) & (radius < 30), (radius >= 30) & (radius < 33)
    out[CSF] = (radius >= 33) & (radius < 35)
    out[CEREBELLUM] = (radius < 35) & (x < -22)
    return out


@pytest.mark.parametrize("change", [refold, refoliate])
def test_shares_stay_shares_and_what_lies_deep_is_left_alone(maps, change):
    for seed in range(12):
        out = change(maps, np.random.RandomState(seed))
        assert out.dtype == np.float32 and out[:5].min() >= -1e-5 and out[:5].max() <= 1 + 1e-5
        np.testing.assert_allclose(out[:5].sum(0), maps[:5].sum(0), atol=1e-5)
        for row in (DEEP, VENTRICLE, *range(5, 11)):
            assert np.array_equal(out[row], maps[row])
        assert np.array_equal(out, change(maps, np.random.RandomState(seed)))
    assert not np.array_equal(out, maps)


def test_folds_leave_white_matter_between_their_cortex(maps):
    shares = []
    for seed in range(40):
        out = refold(maps, np.random.RandomState(seed))
        changed = np.abs(out - maps)[:4].max(0) > 0.5
        if changed.sum() > 200:
            around = out[:, changed | (out[CORTEX] > 0.5)]
            shares.append(around[CORTEX].mean())
    assert len(shares) > 10
    assert 0.2 < np.mean(shares) < 0.85


def test_vessels_lie_in_or_beside_fluid(maps):
    found = np.mean([sulcal_vessels(maps, np.random.RandomState(seed)) for seed in range(10)], 0)
    y, x = np.nonzero(found > 0.01)
    radius = np.hypot(y - SHAPE[0] / 2, x - SHAPE[1] / 2)
    assert found.max() <= 1 and radius.min() > 30 and len(radius) > 50
