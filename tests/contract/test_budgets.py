"""What the collection may weigh: a clone and a download stay small with every bundle that joins."""

from __future__ import annotations

import pytest
from bundle_runs import ROOT

from synthzoo.bundle.find import find_bundles

MIB = 2**20
ALL_MIB, ONE_MIB, NONE_ABOVE_MIB = 112, 8, 16
LARGER = {"brain_mr_synthesis_ldm": 14.5, "echo_us_cine_synthesis_ldm": 13, "brain_mr_synthesis_spade3d": 9}  # MiB
BUNDLES = find_bundles(ROOT)


def size_mib(bundle) -> float:
    """MiB of all weights of a bundle, as they are stored."""
    return sum(path.stat().st_size for path in (bundle / "models").rglob("*") if path.is_file()) / MIB


def test_the_weights_of_all_bundles_stay_within_their_budget():
    total = sum(map(size_mib, BUNDLES))
    print(f"weights of all bundles: {total:.1f} MiB of {ALL_MIB}")
    assert total <= ALL_MIB


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_the_weights_of_a_bundle_stay_within_its_budget(bundle):
    limit = LARGER.get(bundle.name, ONE_MIB)
    assert limit <= NONE_ABOVE_MIB
    assert size_mib(bundle) <= limit, f"models/ holds more than {limit} MiB: store half precision, or a smaller network"


@pytest.mark.parametrize("name", LARGER)
def test_what_may_be_larger_needs_it(name):
    assert size_mib(ROOT / "bundles" / name) > ONE_MIB, f"{name} fits {ONE_MIB} MiB: take it out of LARGER"
