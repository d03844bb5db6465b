"""The acceptance criteria of every bundle against the figures that its evaluation stored."""

from pydoc import locate

import pytest
from bundle_runs import ROOT

from synthzoo.bundle.find import find_bundles, read_json
from synthzoo.evaluation.base import Evaluation
from synthzoo.evaluation.criteria import count, judge
from synthzoo.evaluation.report import CRITERIA, Report

BUNDLES = [path for path in find_bundles(ROOT) if (path / "docs" / "metrics.json").is_file()]


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_the_stored_verdicts_are_those_of_the_criteria(bundle):
    metrics = read_json(bundle / "docs" / "metrics.json")
    criteria = read_json(bundle / "configs" / "evaluate.json")["criteria"]
    rows = judge(criteria, metrics["figures"])
    assert criteria and all(row[-1] in ("yes", "no") for row in rows), "every criterion was measured"
    assert {key: metrics["figures"][key] for key in ("criteria_met", "criteria")} == count(rows)
    (table,) = [table for table in metrics["tables"] if table["title"] == CRITERIA]
    assert table["rows"] == rows


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_an_evaluation_is_measured_in_parts_of_the_one_base_and_ends_in_the_one_report(bundle):
    config = read_json(bundle / "configs" / "evaluate.json")
    evaluation = locate(config["evaluation"]["_target_"])
    assert issubclass(evaluation, Evaluation) and evaluation.PARTS
    assert all(callable(getattr(evaluation, part)) for part in evaluation.PARTS)
    assert locate(config["report"]["_target_"]) is Report and config["report"]["criteria"] == "@criteria"
