"""The weights with which a training begins are a function of the bundle's seed alone."""

import hashlib

import pytest
import torch
from bundle_runs import ROOT

from synthzoo.bundle.compose import load_workflow
from synthzoo.bundle.find import find_bundles

BUNDLES = find_bundles(ROOT)


def first_weights(bundle, seed: int) -> str:
    torch.seed()  # whatever state the process is in
    workflow = load_workflow(bundle, overrides={"seed": seed})
    workflow.initialize()
    network = workflow.parser.get_parsed_content("network_def")
    return hashlib.sha256(b"".join(one.detach().numpy().tobytes() for one in network.parameters())).hexdigest()


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_one_seed_gives_one_network_and_another_seed_another(bundle):
    assert first_weights(bundle, 3) == first_weights(bundle, 3) != first_weights(bundle, 4)
