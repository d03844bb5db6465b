"""Training on scans of one's own: `participants.tsv` beside images, or BIDS folders, and the published recipe."""

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import ROOT

from synthzoo.bundle.compose import load_config, run_bundle
from synthzoo.datasets.participants import ParticipantsDataset
from synthzoo.errors import UserError
from synthzoo.phantoms.brain.phantom import draw_params, make_brain

BUNDLE = ROOT / "bundles" / "brain_mr_synthesis_ldm"
ROWS = ["F\t63\t31.5\t1150", "1\t71\tn/a\t1010", "M\t\t22\t1300"]


def write_scans(folder, layout):
    """Three phantoms as a data set of the layout, as scanners store them: intensities in hundreds, int16."""
    key = "id" if layout == "tsv" else "participant_id"
    lines = [f"{key}\tsex\tage\tventricular\tbrain"]
    for number, cells in enumerate(ROWS):
        case = f"{1000 + number}" if layout == "tsv" else f"sub-{number}"
        lines.append(f"{case}\t{cells}")
        sample = make_brain(draw_params(number), 4.0)
        place = "images" if layout == "tsv" else f"{case}/anat"
        path = folder / place / (f"{case}.nii.gz" if layout == "tsv" else f"{case}_T1w.nii.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image((sample.image * 900).astype(np.int16), sample.anatomy.affine), path)
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    return folder


def settings(folder, scans, layout):
    """Two iterations that write into `folder` only."""
    return {
        "data_format": layout,
        "dataset_dir": str(scans),
        "epoch_length": 2,
        "batch_size": 2,
        "save_to": str(folder / "model.pt"),
        "checkpoint_dir": str(folder / "runs"),
        "log_dir": str(folder / "logs"),
    }


def test_both_stages_train_on_a_table_and_on_bids_folders(tmp_path):
    states = []
    for stage, layout in (("train_autoencoder", "tsv"), ("train_diffusion", "bids")):
        scans = write_scans(tmp_path / layout, layout)
        made = settings(tmp_path / stage, scans, layout)
        if states:
            made["weights"] = str(tmp_path / "train_autoencoder" / "model.pt")
        run_bundle(BUNDLE, [stage], made, run_id="run")
        saved = torch.load(tmp_path / stage / "runs" / "checkpoint.pt", weights_only=True)
        assert saved["iteration"] == 2
        states.append(torch.load(tmp_path / stage / "model.pt", weights_only=True))
    moved = {name for name, value in states[0].items() if not torch.equal(value, states[1][name])}
    assert any(name.startswith("denoiser.") for name in moved), "stage 2 learnt nothing"
    assert not any(name.startswith("autoencoder.") for name in moved), "stage 2 must leave the autoencoder alone"
    assert {"latent_mean", "scale_factor"} <= moved, "the statistics of these scans' latents are in the model"


def test_the_published_recipe_is_what_its_authors_code_says(tmp_path):
    scans = write_scans(tmp_path, "tsv")
    (tmp_path / "participants.tsv").write_text("id\tsex\tage\tventricular\tbrain\n1000\tF\t63\t31.5\t1150\n")
    config = load_config(BUNDLE, ["paper", "train_autoencoder", "paper_autoencoder"], {"dataset_dir": str(scans)})
    objective = config["train"]["objective"]
    weights = [objective[name] for name in ("kl_weight", "edge_weight", "perceptual_weight", "adversarial_weight")]
    assert weights == [1e-8, 0, 0.002, 0.005] and objective["perceptual"] == "squeeze"
    assert (config["max_epochs"], config["batch_size"], config["learning_rate"]) == (20, 1, 5e-5)
    assert (config["critic_rate"], config["critic_from"]) == (1e-4, 5 * 31740)
    assert config["critic"]["discriminator"]["channels"] == 96
    with pytest.raises(UserError, match=r"1000.nii.gz: the box .* 1 mm grid"):
        config.get_parsed_content("train#dataset")[0]  # a 4 mm phantom is no scan on the published grid
    config = load_config(BUNDLE, ["paper", "train_diffusion", "paper_diffusion"], {"dataset_dir": str(scans)})
    assert (config["max_epochs"], config["batch_size"], config["learning_rate"]) == (25, 4, 2.5e-5)
    assert config["train"]["trainer"]["ema_decay"] is None and config["train"]["objective"]["drop_all"] == 0
    images = config.get_parsed_content("train#dataset#dataset")
    assert isinstance(images, ParticipantsDataset) and images.shape == (160, 224, 160)
