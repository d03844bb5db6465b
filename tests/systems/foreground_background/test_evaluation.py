"""The evaluation of concept masks, all its parts and its picture, with a network that is small and random."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from small_concept_model import small_concepts

from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.evaluation.report import Report
from synthzoo.systems.foreground_background.evaluation import ConceptEvaluation
from synthzoo.systems.foreground_background.inferer import ConceptInferer


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A function: folder of the results, further settings -> the evaluation of a small network."""
    folder, network = tmp_path_factory.mktemp("scenes"), small_concepts()
    network.schedule, other = NoiseSchedule(1000), small_concepts()  # of which the published timesteps are
    with torch.no_grad():
        other.segmenter.final_conv.bias.fill_(20.0)  # all of it is every concept
    torch.save(other.state_dict(), folder / "supervised.pt")

    def make(out, **more):
        inferer = ConceptInferer("dog", "auto", "all", (1, 41), steps=2)
        rows = {"data_format": "scenes", "size": 64, "cache_dir": folder}
        sizes = {"validation": 2, "test": 4, "profile": 1}
        report = Report(out / "metrics.json", "the command")
        segmenters = {"supervised": str(folder / "supervised.pt")}
        shared = {"network": network, "report": report, "work_dir": out / "work", "inferer": inferer, "rows": rows}
        return ConceptEvaluation(
            **{**shared, **sizes, "segmenters": segmenters, "figure": out / "concepts.png", **more}
        )

    return make


def test_every_mask_stands_beside_baselines_that_know_no_word(made, tmp_path):
    written = made(tmp_path).run()
    assert json.loads((tmp_path / "metrics.json").read_text()) == written
    figures = written["figures"]
    for name in ("weak", "refined", "trained", "supervised", "blob", "saliency"):
        assert 0 <= figures[f"iou_{name}"] <= 1, name
    # A segmenter that says yes everywhere has the share of the concept as its IoU, at whatever threshold.
    assert figures["iou_supervised"] == pytest.approx(figures["share_of_concept"], abs=2e-3)
    assert figures["object_probability_before"] > 0.9
    assert figures["outside_error_removed"] == pytest.approx(figures["outside_error_autoencoder"], rel=0.1)
    assert figures["seconds_weak"] > figures["seconds_trained"] and "seconds_per_sample_cpu" in figures
    assert all(np.isfinite(value) for value in figures.values())
    with Image.open(tmp_path / "concepts.png") as picture:
        assert min(picture.size) > 300


def test_what_is_measured_is_not_measured_again(made, tmp_path):
    evaluation = made(tmp_path, parts=["autoencoder"], figure=None)
    first = evaluation.run()
    stamps = {path: path.stat().st_mtime_ns for path in evaluation.folder.rglob("*.json")}
    assert made(tmp_path, parts=["autoencoder"], figure=None).run() == first
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_images_that_name_no_concept_are_told(made, tmp_path):
    evaluation = made(tmp_path, test=1)
    evaluation.concepts = ["lighthouse"]
    with pytest.raises(UserError, match="no test image names one of lighthouse"):
        evaluation.run()
