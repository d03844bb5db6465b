"""A server holds many bundles in one process: the order of loading changes no voxel, nothing leaks."""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
import pytest
import torch
from bundle_runs import ROOT, quick, volumes

from synthzoo.bundle.compose import load_workflow
from synthzoo.bundle.find import find_bundles


@pytest.fixture(scope="module")
def bundles(skeleton, tmp_path_factory):
    """All bundles, the skeleton, and a second skeleton with other weights."""
    other = tmp_path_factory.mktemp("other") / skeleton.name
    shutil.copytree(skeleton, other)
    state = torch.load(other / "models" / "model.pt", weights_only=True)
    torch.save({name: value * 1.5 for name, value in state.items()}, other / "models" / "model.pt")
    return [skeleton, other, *find_bundles(ROOT)]


def process_state() -> dict:
    """What a bundle must leave as it was; MONAI itself adds bundle folders to sys.path, where ours hold no module."""
    return {
        "cwd": os.getcwd(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "hook": sys.excepthook,
    }


def run_all(bundles, phantom_nifti, folder) -> dict:
    """Load all bundles first, then run each in that order; the voxels that they wrote, by bundle and file."""
    workflows = []
    for bundle in bundles:
        out = folder / bundle.parent.parent.name / bundle.name
        workflow = load_workflow(bundle, overrides=quick(bundle, phantom_nifti, out))
        workflow.initialize()
        workflows.append((bundle, out, workflow))
    made = {}
    for bundle, out, workflow in workflows:
        workflow.run()
        workflow.finalize()
        made[bundle] = volumes(out)
    return made


@pytest.fixture(scope="module")
def forwards(bundles, phantom_nifti, tmp_path_factory):
    """What all bundles write one after the other, and the state of the process before."""
    before = process_state()
    return before, run_all(bundles, phantom_nifti, tmp_path_factory.mktemp("forwards"))


def test_the_order_of_loading_changes_nothing(bundles, forwards, phantom_nifti, tmp_path):
    before, forwards = forwards
    assert process_state() == before
    backwards = run_all(bundles[::-1], phantom_nifti, tmp_path)
    assert process_state() == before
    for bundle in bundles:
        assert forwards[bundle]
        assert forwards[bundle].keys() == backwards[bundle].keys()
        for name, voxels in forwards[bundle].items():
            assert np.allclose(voxels, backwards[bundle][name], atol=1e-5), f"{bundle.name}: {name} differs"
    one, other = (next(iter(forwards[bundle].values())) for bundle in bundles[:2])
    assert not np.allclose(one, other), "two bundles of one network with different weights gave the same image"


def test_no_module_comes_from_a_bundle(bundles, forwards):
    inside = [
        name
        for name, module in sys.modules.items()
        if (file := getattr(module, "__file__", None)) and any(file.startswith(str(bundle)) for bundle in bundles)
    ]
    assert inside == [] and "scripts" not in sys.modules
