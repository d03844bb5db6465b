"""What the translation of contrasts claims, with the shipped weights; and its published scale."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from synthzoo.bundle.compose import load_config, run_bundle
from synthzoo.phantoms.brain.label_pool import subject_volume
from synthzoo.systems.monai_generative.translation_phantoms import painted, source_scan, target_scan
from synthzoo.systems.monai_generative.translation_scores import fidelity

NAME = "brain_mr_translation_controlnet"
UNSEEN = 299_900  # a seed of no pool


@pytest.fixture(scope="module")
def bundle(root):
    return root / "bundles" / NAME


@pytest.fixture(scope="module")
def brain():
    """FLAIR and T1w of an unseen brain (X, Y, Z)."""
    maps, age = subject_volume(UNSEEN)
    rng = np.random.default_rng(0)
    scans = [source_scan("FLAIR", rng, age), target_scan("T1w", rng, age)]
    return [painted(maps, scan, rng) for scan in scans]


def slices(volume: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.moveaxis(volume, -1, 0)[(truth > 0).sum((0, 1)) > 300]


def test_flair_in_another_geometry_becomes_t1w_on_its_own_grid(bundle, brain, tmp_path):
    flair, t1w = brain
    turn = np.array([[0, 0, -2.0, 70], [2.0, 0, 0, -90], [0, -2.0, 0, 80], [0, 0, 0, 1]])
    given = np.ascontiguousarray(np.transpose(flair, (1, 2, 0))[:, ::-1, ::-1])
    nib.save(nib.Nifti1Image(given * 700, turn), tmp_path / "head.nii.gz")
    run_bundle(bundle, overrides={"images": str(tmp_path / "head.nii.gz"), "output_dir": str(tmp_path / "out")})
    out = nib.load(tmp_path / "out" / "head" / "head_T1w.nii.gz")
    assert np.allclose(out.affine, turn) and out.shape == given.shape
    found = np.transpose(out.get_fdata(dtype=np.float32)[:, ::-1, ::-1], (2, 0, 1))
    scores = [fidelity(slices(one, t1w), slices(t1w, t1w)) for one in (found, flair)]
    print(scores)
    assert scores[0]["psnr"] > scores[1]["psnr"] + 1 and scores[0]["ssim"] > scores[1]["ssim"]


def test_a_seed_changes_a_translation_less_than_a_patient_does(bundle, brain):
    network = load_config(bundle).get_parsed_content("network")
    found = []
    for seed in (0, 1):
        inferer = load_config(bundle, overrides={"seed": seed, "steps": 4}).get_parsed_content("inferer")
        middle = torch.from_numpy(np.ascontiguousarray(slices(brain[0], brain[1])[20:24].transpose(0, 2, 1)[:, ::-1]))
        with torch.no_grad():
            found.append(inferer.translate(middle[:, None], network)[:, 0].numpy())
    moved, apart = np.abs(found[0] - found[1]).mean(), np.abs(found[0] - found[0][::-1]).mean()
    print(moved, apart)
    assert moved < apart


# Those of the authors' configs are 264 and 118 with cross-attention to a prompt, which is left out here.
@pytest.mark.parametrize("part, millions", [("unet", 171.0), ("controlnet", 72.5)])
def test_the_published_scale_has_the_parameters_of_its_blocks(bundle, part, millions):
    with torch.device("meta"):
        network = load_config(bundle, ["paper"]).get_parsed_content("network_def")
    count = sum(parameter.numel() for parameter in getattr(network, part).parameters()) / 1e6
    print(count)
    assert count == pytest.approx(millions, rel=0.03)
