"""Rows of two contrasts, of phantoms and of a published table, and the figures of a translation."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from small_translator import ball_maps, small_translator

from synthzoo.datasets.latents import LatentRadiographs
from synthzoo.datasets.loader import SeededLoader
from synthzoo.errors import UserError
from synthzoo.evaluation.report import Report
from synthzoo.phantoms.brain.label_maps import CLASSES
from synthzoo.systems.monai_generative.translation_dataset import ContrastPairs, fitted, training_contrasts
from synthzoo.systems.monai_generative.translation_evaluation import TranslationEvaluation, lesion_figures
from synthzoo.systems.monai_generative.translation_inferer import TranslationInferer
from synthzoo.systems.monai_generative.translation_phantoms import SOURCES, TARGETS
from synthzoo.systems.monai_generative.translation_scores import (
    IntensityTable,
    fidelity,
    lesion_contrasts,
    roughness,
)

SLICE = (96, 80)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pools")


@pytest.fixture(scope="module")
def pairs(folder):
    return ContrastPairs(1, 4, "validation", cache_dir=folder)


@pytest.fixture(scope="module")
def table(folder):
    """A data set of two subjects, one without T2w."""
    rng, lines = np.random.default_rng(0), ["T1w\tT1Gd\tT2w\tFLAIR"]
    for subject, names in {"one": ("T1w", "T2w", "FLAIR"), "two": ("T1w", "FLAIR")}.items():
        cells = dict.fromkeys(SOURCES, "none")
        for name in names:
            volume = np.pad(rng.uniform(100, 900, (8, 10, 8)).astype(np.float32), 2)
            cells[name] = f"{subject}_{name}.nii.gz"
            nib.save(nib.Nifti1Image(volume, np.diag([2.0, 2.0, 2.0, 1.0])), folder / cells[name])
        lines.append("\t".join(cells.values()))
    (folder / "train.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_row_has_one_target_for_ever_and_another_source_each_time(pairs):
    assert len(pairs) == 4 * len(TARGETS) and pairs.owners == [0] * len(pairs)
    np.random.seed(0)
    rows = [pairs[row] for row in (5, 5, 6)]
    assert torch.equal(rows[0]["image"], rows[1]["image"]) and not torch.equal(rows[0]["source"], rows[1]["source"])
    for row in rows:
        assert row["image"].shape == row["source"].shape == (1, *SLICE)
        assert row["image"].min() >= 0 and row["image"].max() <= 1
        assert torch.equal(row["image"] > 0, row["source"] > 0), "one anatomy"
        assert (
            row["source_contrast"] == len(SOURCES) or SOURCES[row["source_contrast"]] != TARGETS[row["target_contrast"]]
        )


def test_a_batch_is_the_same_for_a_seed(pairs):
    one, two = (next(iter(SeededLoader(pairs, 3, seed=4))) for _ in range(2))
    assert torch.equal(one["source"], two["source"]) and one["target_contrast"].dtype == torch.int64


def test_rows_without_a_source_have_the_same_targets(pairs, folder):
    alone = ContrastPairs(1, 4, "validation", cache_dir=folder, paired=False)
    assert set(alone[5]) == {"image", "target_contrast", "row"} and torch.equal(alone[5]["image"], pairs[5]["image"])


def test_fixed_rows_stay_and_are_named(pairs, folder):
    fixed = ContrastPairs(1, 4, "validation", cache_dir=folder, fixed=True)
    assert torch.equal(fixed[2]["source"], fixed[2]["source"]) and fixed[2]["source_contrast"] < len(SOURCES)
    assert np.array_equal(fixed.target(0, "T1w"), pairs.target(0, "T1w"))


def test_latents_of_targets_are_kept_while_sources_change(pairs):
    network = small_translator(latent=(3, 24, 20))
    latents = LatentRadiographs(network, pairs)
    assert bool(network.fitted) and latents.latents.std() == pytest.approx(1, abs=0.1)
    np.random.seed(0)
    rows = [latents[1] for _ in range(2)]
    assert torch.equal(rows[0]["latents"], rows[1]["latents"]) and not torch.equal(rows[0]["source"], rows[1]["source"])


def test_a_published_table_gives_the_same_rows(table):
    rows = training_contrasts("published", table, slices=3, image_size=(16, 16))
    assert len(rows) == 3 * (3 + 2)
    alone = training_contrasts("published", table, slices=3, image_size=(16, 16), paired=False)
    assert set(alone[4]) == {"image", "target_contrast", "row"} and torch.equal(alone[4]["image"], rows[4]["image"])
    row = rows[4]  # at half the height
    assert row["image"].shape == row["source"].shape == (1, 16, 16) and 0 < row["image"].max() <= 1
    assert SOURCES[row["source_contrast"]] != TARGETS[row["target_contrast"]]
    assert fitted(np.ones((4, 10)), (6, 6)).sum() == 24


@pytest.mark.parametrize(
    "settings, word",
    [
        ({"data_format": "nifti"}, "data_format"),
        ({"data_format": "published"}, "dataset_dir"),
        ({"data_format": "published", "dataset_dir": "TABLE", "targets": ["T1Gd"]}, "targets"),
        ({"data_format": "published", "dataset_dir": "TABLE", "split": "test"}, "test.tsv"),
    ],
)
def test_a_wrong_data_set_is_named(settings, word, table):
    given = {name: table if value == "TABLE" else value for name, value in settings.items()}
    with pytest.raises(UserError, match=word):
        training_contrasts(**given)


def test_a_subject_of_one_contrast_is_named_with_its_line(tmp_path):
    (tmp_path / "train.tsv").write_text("T1w\tT1Gd\tT2w\tFLAIR\nnone\tnone\tnone\tnone\n")
    with pytest.raises(UserError, match="line 2"):
        training_contrasts("published", tmp_path)


def test_scores_know_the_perfect_and_the_rough():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.2, 0.8, (2, 16, 16)).astype(np.float32)
    truth[:, :4] = 0
    perfect, off = fidelity(truth, truth), fidelity(truth + 0.1 * (truth > 0), truth)
    assert perfect["mae"] == 0 and perfect["ssim"] == pytest.approx(1, abs=1e-4)
    assert off["psnr"] == pytest.approx(20, abs=0.1) and off["mae"] == pytest.approx(0.1, abs=1e-4)
    assert perfect["sharpness"] == 1 > fidelity(0.5 * truth + 0.2 * (truth > 0), truth)["sharpness"]
    inverted = IntensityTable(truth, (1 - truth) * (truth > 0))(truth)
    assert np.abs(inverted - (1 - truth))[truth > 0].mean() < 0.02 and not inverted[truth == 0].any()
    smooth = np.repeat(truth[0][..., None], 5, -1)
    assert roughness(smooth, smooth) == 0 < roughness(rng.random(smooth.shape), smooth)


def test_a_lesions_contrast_is_that_to_white_matter():
    maps = ball_maps((32, 32, 20))[..., 12].astype(np.float32) / 255
    image = 0.8 * maps[CLASSES.index("WM")] + 0.3 * maps[CLASSES.index("WMH")]
    found = lesion_contrasts(image, maps, ("WMH", "stroke"))
    assert found[0] == pytest.approx(-0.5, abs=1e-5) and np.isnan(found[1])


def test_invented_and_lost_lesions_are_counted():
    truth = np.array([[-0.4], [-0.5], [-0.3], [-0.4], [0.0], [0.01]])
    occult = np.array([[False]] * 4 + [[True]] * 2)
    copied = lesion_figures(truth, truth, occult)
    assert copied["kept"] == 1 and copied["occult"] == 2 and copied["occult_seen"] == 0 and copied["slope"] == 1
    inventing = lesion_figures(truth, np.full(truth.shape, -0.4), occult)
    assert inventing["occult_seen"] == 1 and inventing["kept"] == 1
    assert lesion_figures(truth, np.full(truth.shape, 0.4), occult)["kept"] == 0


def test_the_evaluation_reports_every_part_beside_its_controls(folder, tmp_path):
    network = small_translator(latent=(3, 24, 20), grid=(80, 96, 80), extractor=(8, 16, 32, 48))
    evaluation = TranslationEvaluation(
        network=network,
        report=Report(tmp_path / "metrics.json"),
        work_dir=tmp_path,
        inferer=TranslationInferer(steps=1),
        count=3,
        subjects=1,
        slices=4,
        volumes=1,
        cache_dir=folder,
        figure=tmp_path / "evaluation.png",
    )
    figures = evaluation.run()["figures"]
    assert (tmp_path / "evaluation.png").is_file()
    assert {"autoencoder_psnr", "gain_over_copy_lowest", "volume_roughness", "flair_t1w_over_unet_db"} <= set(figures)
    assert {"steps_chosen", "flair_t1w_over_alone_db", "flair_t1w_mean_over_unet_db"} <= set(figures)
    again = evaluation.run()["figures"]
    assert again == figures, "what is done is not measured again"
