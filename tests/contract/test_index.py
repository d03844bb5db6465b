"""What is generated from the bundles' files is fresh: index, cards, README."""

from bundle_runs import ROOT

from synthzoo.bundle.index import build_index


def test_the_index_is_fresh():
    assert build_index(ROOT, check=True) == [], "run `make index`"
