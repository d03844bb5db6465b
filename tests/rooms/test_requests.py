"""Requests: each wrong one gives one sentence; a right one gives the same noise however it is shared out."""

import json
import math

import pytest
import torch

from synthzoo.cases.requests import RequestTable
from synthzoo.errors import UserError
from synthzoo.results.finalize import FinalizeDataset
from synthzoo.results.save import SaveResult

CONDITIONS = {
    "age": {"type": "number", "minimum": 20, "maximum": 90, "unit": "years", "description": "age at the scan"},
    "sex": {"type": "string", "enum": ["F", "M"], "description": "sex"},
}


def table(values=None, **kwargs):
    return RequestTable(CONDITIONS, values, noise_shape=(1, 4, 4, 4), **kwargs)


@pytest.mark.parametrize(
    "values, kwargs, sentence",
    [
        ({"height": 3}, {}, "unknown condition 'height': the known ones are age, sex"),
        ({"age": 120}, {}, "age is 120 years, but must lie between 20 and 90 years"),
        ({"age": "old"}, {}, "age is 'old', but must be a number from 20 to 90 years"),
        ({"age": True}, {}, "must be a number"),
        ({"sex": "X"}, {}, "sex is 'X', but must be one of F, M"),
        ({"age": "$__import__('os')"}, {}, "looks like a program"),
        ({"age": [30, 40]}, {"num_samples": 3}, "age has 2 values, but there are 3 samples"),
        ({}, {"num_samples": 0}, "num_samples is 0"),
        ({}, {"num_samples": 1.5}, "num_samples is 1.5"),
        ({}, {"seed": -1}, "seed is -1"),
        ({}, {"seed": "x"}, "seed is 'x'"),
        ({}, {"seed": 2.0**53}, "integer in digits"),  # may stand for its neighbour
    ],
)
def test_a_wrong_value_gives_one_sentence(values, kwargs, sentence):
    with pytest.raises(UserError) as caught:
        table(values, **kwargs)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("age\tsex\n30\tF\n95\tM\n", "line 3: age is 95 years"),
        ("age\tsex\n30\tF\n40\n", "line 3: has 1 cells, but the header names 2 columns"),
        ("age\tsex\n30\tF\nold\tM\n", "line 3: age is 'old'"),
        ("age\theight\n30\t2\n", "line 1: unknown condition 'height'"),
        ("measured_age\n30\n", "line 1: misses every column"),
        ("age,age\n30,30\n", "column 'age' stands twice"),
        ("age\n", "has a header but no rows"),
        ("", "is empty"),
        ("age,seed\n30,-4\n", "line 2: seed is -4"),
        ("age,participant_id\n30,../../x\n", "line 2: participant_id is '../../x'"),
        ("age,participant_id\n30,sub-1\n31,sub-1\n", "sub-1 stands twice"),
        ("age\n$(rm)\n", "line 2: age is '$(rm)', which looks like a program"),
    ],
)
def test_a_wrong_table_is_named_by_file_and_line(text, sentence, tmp_path):
    path = tmp_path / "requests.tsv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        table(requests=str(path))
    assert sentence in str(caught.value) and str(path) in str(caught.value)


def test_a_table_that_is_absent_or_binary_gives_one_sentence(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        table(requests=str(tmp_path / "no.tsv"))
    (tmp_path / "binary.tsv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        table(requests=str(tmp_path / "binary.tsv"))


def test_values_lists_and_left_out_conditions_reach_the_rows():
    rows = table({"age": [30, None], "sex": "m"}, num_samples=2, seed=7)
    assert [row["case"] for row in (rows[0], rows[1])] == ["sub-0001", "sub-0002"]
    assert rows[0]["conditions"].tolist() == [30.0, 1.0] and math.isnan(rows[1]["conditions"][0])
    assert rows.request(1)["seed"] == 8 and rows.request(1)["requested"] == {"age": None, "sex": "M"}


def test_processes_share_all_rows_and_each_row_keeps_its_noise(monkeypatch):
    whole = {item["case"]: item["image"] for item in map(table(num_samples=7, seed=3).__getitem__, range(7))}
    found = {}
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        part = table(num_samples=7, seed=3, block=2)
        for index in range(len(part)):
            assert part[index]["case"] not in found
            found[part[index]["case"]] = part[index]["image"]
    assert found.keys() == whole.keys() and all(torch.equal(found[case], whole[case]) for case in whole)


def test_a_rerun_skips_what_is_complete_and_refuses_another_request(tmp_path):
    rows = table({"age": 40}, num_samples=3, output_dir=tmp_path)
    save = SaveResult(rows, spacing_mm=4.0)
    for index in (0, 2):
        save({**rows[index], "pred": rows[index]["image"].sigmoid()})
    again = table({"age": 40}, num_samples=3, output_dir=tmp_path)
    assert len(again) == 1 and again[0]["case"] == "sub-0002" and again.skipped == 2
    FinalizeDataset(again)()
    assert len((tmp_path / "participants.tsv").read_text().splitlines()) == 3
    assert json.loads((tmp_path / "sub-0001" / "sub-0001_T1w.json").read_text())["requested"]["age"] == 40
    with pytest.raises(UserError, match="was made from another request"):
        table({"age": 50}, num_samples=3, output_dir=tmp_path)
    assert len(table({"age": 50}, num_samples=3, output_dir=tmp_path, overwrite=True)) == 3
