"""brain_mr_synthesis_spade3d with small untrained networks: requests and label maps become volumes; stages train."""

from __future__ import annotations

import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from synthzoo.bundle.compose import load_config
from synthzoo.cases.examples import write_example
from synthzoo.errors import find_user_error
from synthzoo.phantoms.brain.label_maps import CLASSES, VALUES
from synthzoo.phantoms.brain.pool import GRID
from synthzoo.systems.brainspade3d.evaluation import lesion_levels, slice_similarity

BUNDLE = Path(__file__).parents[3] / "bundles" / "brain_mr_synthesis_spade3d"
SMALL = {
    "network_def#autoencoder#autoencoder#channels": [8, 8, 8],
    "network_def#denoiser#unet#channels": [16, 16],
    "network_def#denoiser#gaussian#modes": 2,
    "network_def#denoiser#unet#num_head_channels": [0, 16],
    "network_def#painter#channels": [8, 8],
    "network_def#painter#head_channels": 4,
    "network_def#painter#hidden": 4,
    "network_def#painter#style_channels": [4, 4, 4, 4],
    "network": "$@network_def.to(@device).eval()",
    "steps": 1,
}


def run(folder: Path, **overrides) -> Path:
    settings = {**SMALL, "output_dir": str(folder), "handlers#0#preview": 0, "weights": "", **overrides}
    config = load_config(BUNDLE, [], settings)
    torch.manual_seed(0)
    config.get_parsed_content("run", eval_expr=True)
    return folder


def test_a_request_becomes_a_volume_in_each_style_and_its_label_map(tmp_path):
    case = run(tmp_path / "out", WMH_ml=10, stroke_ml=0, more_styles=["FLAIR"]) / "sub-0001"
    labels = nib.load(case / "sub-0001_dseg.nii.gz")
    for name in ("T1w", "FLAIR"):
        image = nib.load(case / f"sub-0001_{name}.nii.gz")
        assert image.shape == GRID and np.allclose(image.affine, labels.affine)
    assert set(np.unique(np.asarray(labels.dataobj)).tolist()) <= set(VALUES.values())
    said = json.loads((case / "sub-0001_T1w.json").read_text())
    assert said["requested"]["stroke_ml"] == 0 and said["requested"]["core_ml"] is None
    assert set(said["measured"]) == {f"{name}_ml" for name in CLASSES[1:]}
    assert said["sampler"]["more_styles"] == ["FLAIR"]
    with pytest.raises(RuntimeError) as told:  # the same case under another contrast's name
        run(tmp_path / "out", WMH_ml=10, stroke_ml=0, style="T2w")
    assert "was made from another request" in str(find_user_error(told.value))


def test_a_label_map_of_ones_own_is_painted_where_it_lies(tmp_path):
    path = write_example("brain_labels", tmp_path)
    (case,) = (place for place in run(tmp_path / "out", images=str(path)).iterdir() if place.name.startswith("example"))
    painted = nib.load(next(case.glob("*_dseg.nii.gz")))
    given = nib.load(path)
    middles = [(i.affine @ [*np.argwhere(np.asarray(i.dataobj) > 0).mean(0), 1])[:3] for i in (painted, given)]
    assert np.allclose(*middles, atol=1.0)


@pytest.mark.parametrize("stage", ["labels_autoencoder", "images"])
def test_a_stage_takes_a_step_on_patches(stage, tmp_path):
    size = [16, 16, 16]
    rows = "torch.rand(11, *@patch).softmax(0)"
    styles = "'image': torch.rand(1, *@patch), 'style': torch.rand(1, 96, 80), 'other_style': torch.rand(1, 96, 80)"
    overrides = {
        **SMALL,
        "patch": size,
        "amp": False,  # networks this narrow have wrong gradients in bfloat16 on some processors
        "epoch_length": 2,
        "batch_size": 1,
        "train#dataset": f"$[{{'labels': {rows}, {styles}}}]",
        "train#trainer#progress": False,
        "critic#discriminators": [
            {
                "_target_": "PatchDiscriminator",
                "spatial_dims": 3,
                "channels": 4,
                "in_channels": 12,
                "num_layers_d": 1,
                "norm": "INSTANCE",
            }
        ],
        **dict.fromkeys(("checkpoint_dir", "save_to", "log_dir")),
    }
    if stage != "images":
        overrides.pop("critic#discriminators")
    trainer = load_config(BUNDLE, ["train_labels_autoencoder", f"train_{stage}"], overrides).get_parsed_content(
        "train#trainer"
    )
    trainer.run()
    assert all(math.isfinite(value) for value in trainer.state.output.values())


# --- what the evaluation counts --------------------------------------------------------------------------------------


def test_neighbouring_slices_of_a_smooth_volume_are_more_alike():
    rng = np.random.default_rng(0)
    plane = rng.random((32, 32, 1))
    smooth = np.repeat(plane, 6, 2)[None]
    assert slice_similarity(smooth) == pytest.approx(1, abs=1e-3)
    assert slice_similarity(rng.random((1, 32, 32, 6))) < 0.3


def test_half_of_the_slices_go_through_lesions_where_there_are_so_many():
    numbers = np.full((30, 30, 40), CLASSES.index("WM"))
    numbers[10:14, 10:14, 5:15] = CLASSES.index("stroke")
    levels = lesion_levels(numbers, 8, np.random.default_rng(0))
    assert len(set(levels)) == 8 and sum(5 <= level < 15 for level in levels) >= 4
    assert len(lesion_levels(np.full((30, 30, 40), CLASSES.index("WM")), 8, np.random.default_rng(0))) == 8
