"""Acceptance criteria as data, the report that counts them, and an evaluation that goes on where it stopped."""

import json

import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.criteria import judge
from synthzoo.evaluation.report import CRITERIA, Report

FIGURES = {"r2": 0.5, "other": 0.2, "verdict": "no copying seen", "lost": None}


@pytest.mark.parametrize(
    ("criterion", "text", "met"),
    [
        ({"at_least": 0.5}, "at least 0.5", "yes"),
        ({"at_least": 0.51}, "at least 0.51", "no"),
        ({"at_most": 0.5}, "at most 0.5", "yes"),
        ({"above": 0.5}, "above 0.5", "no"),
        ({"below": 0.5}, "below 0.5", "no"),
        ({"between": [0.4, 0.5]}, "0.4 to 0.5", "yes"),
        ({"between": [0.6, 1]}, "0.6 to 1", "no"),
        ({"above": {"figure": "other"}}, "above 0.2", "yes"),
        ({"above": {"figure": "other", "times": 3}}, "above 0.6", "no"),
        ({"above": {"figure": "absent"}}, "above not measured", "not measured"),
        ({"figure": "lost", "at_least": 0}, "at least 0", "not measured"),
        ({"figure": "absent", "at_least": 0}, "at least 0", "not measured"),
        ({"figure": "verdict", "other_than": "copies"}, "other than copies", "yes"),
        ({"figure": "verdict", "other_than": "no copying seen"}, "other than no copying seen", "no"),
    ],
)
def test_a_criterion_is_judged_by_its_comparison(criterion, text, met):
    ((label, requested, _, verdict),) = judge([{"figure": "r2", **criterion}], FIGURES)
    assert (label, requested, verdict) == (criterion.get("figure", "r2"), text, met)


@pytest.mark.parametrize(
    ("criterion", "words"),
    [
        ({"at_least": 1}, "needs 'figure'"),
        ({"figure": "r2"}, "takes 'figure', 'label' and one of 'at_least'"),
        ({"figure": "r2", "at_least": 1, "at_most": 2}, "takes 'figure', 'label' and one of"),
        ({"figure": "r2", "atleast": 1}, "has figure, atleast"),
        ({"figure": "r2", "at_least": "0.5"}, "at_least is '0.5'"),
        ({"figure": "r2", "at_least": True}, "at_least is True"),
        ({"figure": "r2", "between": [1]}, "'between' two numbers"),
        ({"figure": "r2", "other_than": 3}, "'other_than' takes a text"),
    ],
)
def test_a_criterion_of_another_form_is_refused_before_anything_is_measured(criterion, words):
    with pytest.raises(UserError, match="criteria") as error:
        Report("metrics.json", criteria=[criterion])
    assert words in str(error.value)


def test_the_report_counts_what_is_met_and_what_was_not_measured_is_not(tmp_path):
    criteria = [{"figure": "r2", "at_least": 0.5, "label": "R2"}, {"figure": "absent", "at_most": 1}]
    written = Report(tmp_path / "metrics.json", "a command", criteria).write([], FIGURES)
    assert written == json.loads((tmp_path / "metrics.json").read_text())
    assert (written["figures"]["criteria_met"], written["figures"]["criteria"]) == (1, 2)
    assert written["tables"][0]["title"] == "Acceptance criteria"
    assert written["tables"][0]["rows"][0] == ["R2", "at least 0.5", 0.5, "yes"]


class Counting(Evaluation):
    """Two parts that share a tensor; the second fails as long as `broken` is set."""

    PARTS = ("one", "two")
    measured: list = []
    broken = True

    def shared(self):
        def make():
            self.measured.append("tensor")
            return {"values": torch.ones(3)}

        return self.cached("values", make)["values"]

    def one(self):
        self.measured.append("one")
        found = Found(figures={"sum": float(self.shared().sum())})
        found.add("Sums", ["sum"], [[3.0]])
        return found

    def two(self):
        self.measured.append("two")
        if self.broken:
            raise KeyboardInterrupt
        return Found(figures={"mean": float(self.shared().mean())})


def test_a_killed_evaluation_goes_on_where_it_stopped_and_other_settings_start_again(tmp_path):
    def evaluation(**settings):
        shared = {"report": Report(tmp_path / "metrics.json"), "work_dir": tmp_path / "work"}
        return Counting(torch.nn.Linear(2, 2, dtype=torch.float64).requires_grad_(False), settings=settings, **shared)

    torch.manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        evaluation(count=1).run()
    assert not (tmp_path / "metrics.json").exists()
    Counting.broken = False
    torch.manual_seed(0)
    written = evaluation(count=1).run()
    assert Counting.measured == ["one", "tensor", "two", "two"], "the first part and the tensor were kept"
    assert written["figures"] == {"sum": 3.0, "mean": 1.0}
    torch.manual_seed(0)
    evaluation(count=2).run()
    assert Counting.measured[4:] == ["one", "tensor", "two"]
    with pytest.raises(UserError, match=r"parts = \['three'\]: the evaluation knows one, two"):
        Counting(torch.nn.Linear(1, 1), Report("m.json"), tmp_path, {}, parts=["three"])


class Growing(Counting):
    """The evaluation above with a part that an older metrics file does not have."""

    PARTS = ("one", "two", "three")
    measured: list = []
    broken = False

    def three(self):
        found = Found(figures={"sum": 4.0, "new": 5.0})
        found.add("Sums", ["sum"], [[4.0]])
        found.add("New", ["new"], [[5.0]])
        return found


def test_a_new_part_alone_joins_the_figures_of_the_same_network_and_replaces_none_of_another(tmp_path, capsys):
    criteria = [{"figure": "new", "at_least": 5.0}, {"figure": "mean", "at_least": 2.0}]

    def run(folder, parts=None, **settings):
        torch.manual_seed(0)
        network = torch.nn.Linear(2, 2, dtype=torch.float64).requires_grad_(False)
        shared = {"report": Report(tmp_path / "metrics.json", criteria=criteria), "work_dir": tmp_path / folder}
        return Growing(network, settings=settings, parts=parts, **shared).run()

    old = run("a", ["one", "two"], count=1)
    assert old["figures"] == {"sum": 3.0, "mean": 1.0, "criteria_met": 0, "criteria": 2}
    new = run("elsewhere", ["three"], count=1)
    assert new["figures"] == {"sum": 4.0, "mean": 1.0, "new": 5.0, "criteria_met": 1, "criteria": 2}
    assert [table["title"] for table in new["tables"]] == [CRITERIA, "Sums", "New"]
    assert new["tables"][1]["rows"] == [[4.0]] and new["evaluation"] == old["evaluation"]
    assert run("a", count=1)["figures"] == new["figures"], "the whole evaluation says the same"
    assert "left out" not in capsys.readouterr().out
    other = run("b", ["three"], count=2)
    assert set(other["figures"]) == {"sum", "new", "criteria_met", "criteria"}
    assert "left out" in capsys.readouterr().out
