"""The comparison: who is trained from what, settings from validation alone, resumed and shared among processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.evaluation.report import Report
from synthzoo.io.locks import claimed
from synthzoo.systems.semi_vit import comparison as module
from synthzoo.systems.semi_vit.comparison import Comparison, Member, Plan
from synthzoo.systems.semi_vit.dataset import ClassImages
from synthzoo.systems.semi_vit.evaluation import SemiViTEvaluation
from synthzoo.systems.semi_vit.network import ImageClassifier
from synthzoo.systems.semi_vit.scores import by_class, class_metrics, paired_gain
from synthzoo.systems.semi_vit.tasks import Task, result_of, work_off

NETWORKS = {
    "vit": {
        "classes": 3,
        "body": "monai",
        "settings": {"channels": 1, "image_size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2},
    },
    "cnn": {"classes": 3, "body": "cnn", "settings": {"channels": 1, "widths": [4, 4, 8, 8]}},
}
PLAN = {"steps": 6, "semi_steps": 2, "pretraining_steps": 2, "batch_size": 4, "others": 2}


def bright(split="train", labelled_share=1.0, seed=0, count=24, **_):
    """Images whose class is their brightness."""
    chance = np.random.default_rng([seed, len(split)])
    truth = np.arange(count) % 3
    images = (60 + 70 * truth[:, None, None, None] + 20 * chance.random((count, 1, 16, 16))).astype(np.uint8)
    labels = np.where(np.arange(count) < max(3, labelled_share * count), truth, -1) if split == "train" else truth
    return ClassImages(images, labels, truth, ("dark", "grey", "light"), "brightness")


def comparison(folder, **changed):
    data = {"bright": {"train": {}, "validation": {}, "test": {}, "networks": NETWORKS, "plan": PLAN}}
    settings = {
        "data": data,
        "grid": [{"data": "bright", "shares": [0.5], "methods": ["cnn", "vit", "semi", "mae_semi"]}],
        "seeds": [0],
        "candidates": [{"threshold": 0.2, "weight": 1.0}, {"threshold": 0.9, "mixing": False, "learning_rate": 5e-4}],
        "tuning": {"data": "bright", "share": 0.5, "seed": 9},
        "folder": folder,
    }
    return Comparison(**{**settings, **changed})


def test_what_a_method_goes_on_from_comes_first(tmp_path):
    tasks = {task.name: task for task in comparison(tmp_path).tasks()}
    tried = ("bright-50-semi-s9-c0", "bright-50-semi-s9-c1")
    assert tasks["bright-50-semi-s0"].needs == ("bright-50-start-s0", *tried)
    assert tasks["bright-50-mae_semi-s0"].needs == ("bright-50-mae_start-s0", *tried)
    assert tasks["bright-50-mae_start-s0"].needs == ("bright-0-pretraining-s0",)
    assert tasks["bright-50-vit-s0"].needs == () and tasks[tried[0]].needs == ("bright-50-start-s9",)
    assert next(iter(tasks)) == "bright-50-start-s9", "others wait for the settings"


def test_a_small_comparison_trains_measures_and_does_not_train_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "class_images", bright)
    made = comparison(tmp_path)
    with pytest.raises(UserError, match="settings are not chosen yet, bright-50-semi-s9-c0 is missing"):
        made.settings()
    made.run()
    tried = [result_of(tmp_path, f"bright-50-semi-s9-c{number}") for number in range(2)]
    tried.append(result_of(tmp_path, "bright-50-start-s9"))
    assert all("test" not in one and len(one["validation"]["predicted"]) == 24 for one in tried), "test is not touched"
    best = int(np.argmax([one["validation"]["accuracy"] for one in tried[:2]]))
    assert made.chosen() == best and made.settings() == made.candidates[best]
    semi = result_of(tmp_path, "bright-50-semi-s0")
    assert set(semi) == {"test", "student", "pseudo", "seconds"} and len(semi["pseudo"]["kept"]) == 3
    assert result_of(tmp_path, "bright-0-pretraining-s0")["loss"] > 0
    assert not list((tmp_path / "checkpoints").iterdir()), "checkpoints are removed"
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    comparison(tmp_path).run()
    assert times == {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}


def test_every_method_sees_as_many_labelled_images(tmp_path, monkeypatch):
    seen = {}

    def counted(network, rows, objective, groups, epoch_length, batch_size, **_):
        seen[len(seen)] = (type(objective).__name__, epoch_length * batch_size)

        class Trainer:
            class state:
                output = {"loss": 0.0}

            def run(self):
                pass

        return Trainer()

    monkeypatch.setattr(module, "class_images", bright)
    monkeypatch.setattr(module, "stage", counted)
    made = comparison(tmp_path)
    for method in ("vit", "cnn", "start"):
        made.train(Member("bright", 0.5, method, 0))
    made.candidates = made.candidates[:1]
    made.train(Member("bright", 0.5, "semi", 0, candidate=0))
    whole, cnn, start, semi = (count for _, count in seen.values())
    assert whole == cnn == start + semi == PLAN["steps"] * PLAN["batch_size"]


def test_a_task_that_another_process_works_on_is_left_to_it(tmp_path):
    done = []
    tasks = [Task("first", lambda: done.append("first") or {}), Task("second", lambda: done.append("second") or {})]

    def other_finishes(_):
        (tmp_path / "first.json").write_text("{}")

    with claimed(tmp_path / "first.lock") as mine:
        assert mine
        with claimed(tmp_path / "first.lock") as also:
            assert not also
        work_off(tasks, tmp_path, wait=0.0, tell=other_finishes)
    assert done == ["second"]
    with pytest.raises(UserError, match="second needs third, which the comparison does not hold"):
        work_off([Task("second", dict, ("third",))], tmp_path)


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"tuning": {"data": "bright", "share": 0.5, "seed": 0}}, "tuning#seed = 0: it is reported, too"),
        ({"grid": [{"data": "bright", "shares": [0.1], "methods": ["tree"]}]}, "'tree'"),
        ({"candidates": [{"temperature": 1}]}, "candidates: \\['temperature'\\]"),
    ],
)
def test_a_comparison_that_is_not_fair_or_unknown_is_refused(tmp_path, changed, part):
    with pytest.raises(UserError, match=part):
        comparison(tmp_path, **changed)


def test_scores_are_those_of_their_formulas():
    scores = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.5, 0.4, 0.1], [0.2, 0.2, 0.6]])
    truth = np.array([0, 1, 1, 2])
    found = class_metrics(scores, truth)
    assert found["accuracy"] == 0.75 and found["top2"] == 1.0 and found["balanced"] == pytest.approx((1 + 0.5 + 1) / 3)
    expected = np.mean([abs(1 - 0.8), abs(1 - 0.6) * 1, abs(0 - 0.5), abs(1 - 0.6) * 1])
    assert found["ece"] == pytest.approx(0.25 * 0.2 + 0.5 * 0.4 + 0.25 * 0.5) and expected > 0
    assert by_class(scores, truth, 0.55) == {"kept": [1.0, 0.5, 1.0], "right": [1.0, 1.0, 1.0]}


def test_a_gain_is_shown_only_where_every_seed_has_it():
    assert paired_gain([0.6, 0.7, 0.65], [0.5, 0.58, 0.56])["verdict"] == "shown"
    assert paired_gain([0.6, 0.5, 0.65], [0.5, 0.58, 0.56])["verdict"] == "not shown"
    assert paired_gain([0.5, 0.58, 0.56], [0.6, 0.7, 0.65])["verdict"] == "loss"
    assert paired_gain([0.9], [0.1])["verdict"] == "not shown", "one seed shows nothing"


def test_a_plan_states_what_is_trained():
    assert Plan(**PLAN).steps == 6 and Plan().flips == (-1,)
    assert torch.is_tensor(ClassImages(np.zeros((1, 1, 2, 2)), [0], [0], "ab", "x").image(0))


def test_the_evaluation_reads_what_was_compared_and_reports_controls(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "class_images", bright)
    made = comparison(tmp_path / "members")
    made.run()
    network = ImageClassifier(**NETWORKS["vit"])
    report = Report(tmp_path / "metrics.json", "a command", criteria=[{"figure": "accuracy", "at_least": 0.0}])
    evaluation = SemiViTEvaluation(
        network,
        tested=bright("test"),
        labelled=bright(labelled_share=0.5),
        comparison=made,
        figure=tmp_path / "accuracy.png",
        report=report,
        work_dir=tmp_path / "work",
    )
    written = evaluation.run()
    titles = [table["title"] for table in written["tables"]]
    assert any("tried at 50% of the labels, seed 9" in title for title in titles)
    figures = written["figures"]
    assert figures["nearest_labelled_image_accuracy"] == 1.0 or figures["colours_alone_accuracy"] > 0.9
    assert figures["bright_semi_over_vit_50_gain"] == "not shown", "one seed shows nothing"
    rows = next(table["rows"] for table in written["tables"] if table["title"].startswith("bright: test"))
    assert [row[0] for row in rows][-1] == "Semi-ViT before its third stage"
