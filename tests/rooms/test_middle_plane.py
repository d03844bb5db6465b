"""The head's middle plane: a known tilt is found again, with a lesion on one side, and the mirror is a channel."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import nilearn.datasets
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation

from synthzoo.systems.many_tasks.network import ManyTasksEnsemble
from synthzoo.transforms.head_grid import ToHeadGridd

TEMPLATE = Path(nilearn.datasets.__file__).parent / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


def test_a_tilted_head_with_a_lesion_stands_upright_on_the_head_grid_within_a_degree():
    scan = nib.load(TEMPLATE)
    head = scan.get_fdata(dtype=np.float32)[::2, ::2, ::2].copy()
    head[22:40, 50:70, 45:60] *= 0.2  # on one side alone
    affine = scan.affine @ np.diag([2, 2, 2, 1])
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_euler("zy", [9, -7], degrees=True).as_matrix()
    tilt[0, 3] = 6
    grid = ToHeadGridd("image", upright=True)({"image": MetaTensor(torch.from_numpy(head)[None], affine=tilt @ affine)})
    found = np.asarray(grid["image"].affine)
    yaw, roll, _ = Rotation.from_matrix(found[:3, :3] / 2).as_euler("zyx", degrees=True)
    assert yaw == pytest.approx(9, abs=1) and roll == pytest.approx(-7, abs=1)
    middle = np.linalg.inv(tilt) @ found @ [55.5, 63.5, 55.5, 1]
    assert middle[0] == pytest.approx(0, abs=2)


def test_members_see_the_other_hemisphere_but_not_in_sagittal_slices():
    torch.manual_seed(0)
    network = ManyTasksEnsemble((16, 24, 16), (2, 4), fourier_features=2, mirror=True).eval()
    assert network.in_channels == 1 + 7 + 1
    slices = torch.randn(3, 1, 16, 24)
    index = torch.tensor([4, 5, 6])
    axial = network.with_positions(slices, 2, index)
    torch.testing.assert_close(axial[:, -1], slices[:, 0].flip(1))
    sagittal = network.with_positions(torch.randn(3, 1, 24, 16), 0, index)
    assert (sagittal[:, -1] == 0).all()
    with torch.no_grad():
        assert network(torch.randn(1, 1, 16, 24, 16)).shape == (1, 1, 16, 24, 16)
