"""The table of requests of a data set: drawn by seed and subject, kept once written; label maps become derivatives."""

import json

import numpy as np
import pytest

from synthzoo.cases.requests import RequestTable, read_table
from synthzoo.errors import UserError
from synthzoo.results.finalize import FinalizeDataset
from synthzoo.results.save import SaveResult
from synthzoo.serving.generation import ConditionPrior, keep_table, request_table, subject_seed

CONDITIONS = {
    "age": {"type": "number", "minimum": 20, "maximum": 90, "unit": "years", "description": "age at the scan"},
    "sex": {"type": "string", "enum": ["F", "M"], "description": "sex"},
}


def drawn(requested, count=200, seed=3, **kwargs):
    return request_table(CONDITIONS, requested, count, kwargs.get("requests"), seed)


def test_ranges_are_filled_uniformly_and_a_longer_table_begins_with_the_shorter(tmp_path):
    text = drawn({"age": (40, 80), "sex": "F,M"}, 400)
    assert text.startswith(drawn({"age": "40,80", "sex": ["F", "M"]}, 17))
    (tmp_path / "t.tsv").write_text(text)
    rows = read_table(tmp_path / "t.tsv", CONDITIONS)
    ages = np.array([row["requested"]["age"] for row in rows])
    women = np.mean([row["requested"]["sex"] == "F" for row in rows])
    assert ages.min() >= 40 and ages.max() <= 80 and abs(ages.mean() - 60) < 4 * 40 / np.sqrt(12 * 400)
    assert abs(women - 0.5) < 4 * 0.5 / np.sqrt(400)
    assert abs(np.corrcoef(ages[:-1], ages[1:])[0, 1]) < 4 / np.sqrt(400)
    # One condition's values do not depend on which others were requested.
    (tmp_path / "t.tsv").write_text(drawn({"age": (40, 80)}, 400))
    assert [row["requested"]["age"] for row in read_table(tmp_path / "t.tsv", CONDITIONS)] == ages.tolist()


def test_two_data_sets_share_no_seed():
    seeds = {subject_seed(seed, subject) for seed in range(20) for subject in range(1, 501)}
    assert len(seeds) == 20 * 500 and max(seeds) < 2**48


def test_a_table_of_ones_own_is_completed(tmp_path):
    own = tmp_path / "own.tsv"
    own.write_text("age\tseed\n30\t5\nn/a\tn/a\n")
    lines = [line.split("\t") for line in drawn({"age": 70, "sex": "m"}, None, requests=own).splitlines()]
    assert lines[1] == ["sub-0001", "5", "30", "M"]
    assert lines[2] == ["sub-0002", str(subject_seed(3, 2)), "n/a", "M"]
    with pytest.raises(UserError, match="num_samples is 3, but .* has 2 rows"):
        drawn({}, 3, requests=own)


@pytest.mark.parametrize(
    "name, requested, sentence",
    [
        ("age", (40, 95), "age is 95 years, but must lie between 20 and 90"),
        ("age", (80, 40), "a range starts with its lower end"),
        ("age", (20, 30, 40), "age has 3 numbers"),
        ("age", "40,", "cannot leave a value out"),
        ("age", "old", "age is 'old'"),
        ("sex", ("F", "X"), "sex is 'X', but must be one of F, M"),
    ],
)
def test_a_wrong_prior_is_one_sentence(name, requested, sentence):
    with pytest.raises(UserError) as caught:
        ConditionPrior(name, requested, CONDITIONS[name])
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_another_table_in_the_same_folder_is_refused_with_its_first_line(tmp_path):
    path = tmp_path / "code" / "requests.tsv"
    keep_table(path, drawn({"age": 40}, 3))
    keep_table(path, drawn({"age": 40}, 5))
    assert len(path.read_text().splitlines()) == 6
    for other in (drawn({"age": 41}, 5), drawn({"age": 40}, 4)):
        with pytest.raises(UserError, match=r"holds other requests \(line [26] is 'sub-000[15] ") as caught:
            keep_table(path, other)
        assert "\n" not in str(caught.value) and len(path.read_text().splitlines()) == 6
    (tmp_path / "foreign" / "sub-01").mkdir(parents=True)
    with pytest.raises(UserError, match="holds subjects, but no code/requests.tsv"):
        keep_table(tmp_path / "foreign" / "code" / "requests.tsv", drawn({"age": 40}, 3))


def test_label_maps_stand_among_the_derivatives(tmp_path):
    shape = (1, 6, 5, 4)
    table = RequestTable(CONDITIONS, num_samples=2, noise_shape=shape, output_dir=tmp_path, folder="anat", bundle="b")
    save = SaveResult(table, outputs={"pred": "T1w.nii.gz", "labels": "dseg.nii.gz"}, spacing_mm=4.0)
    for item in map(table.__getitem__, range(2)):
        save({**item, "pred": item["image"], "labels": item["image"] > 0})
    FinalizeDataset(table)()
    labels = sorted(
        path.relative_to(tmp_path).as_posix() for path in (tmp_path / "derivatives").rglob("*") if path.is_file()
    )
    assert labels == [
        "derivatives/b/dataset_description.json",
        *(f"derivatives/b/sub-000{n}/anat/sub-000{n}_dseg.nii.gz" for n in (1, 2)),
    ]
    described = json.loads((tmp_path / labels[0]).read_text())
    assert described["DatasetType"] == "derivative" and described["GeneratedBy"][0]["Name"] == "b"
    assert sorted(path.name for path in (tmp_path / "sub-0001" / "anat").iterdir()) == [
        "sub-0001_T1w.json",
        "sub-0001_T1w.nii.gz",
    ]
    again = RequestTable(CONDITIONS, num_samples=2, noise_shape=shape, output_dir=tmp_path, folder="anat", bundle="b")
    assert again.skipped == 2
    with pytest.raises(UserError, match="NaN"):
        failing = RequestTable(CONDITIONS, noise_shape=shape, output_dir=tmp_path / "f", folder="anat", bundle="b")
        SaveResult(failing, outputs={"labels": "dseg.nii.gz", "pred": "T1w.nii.gz"})(
            {**failing[0], "labels": failing[0]["image"] > 0, "pred": failing[0]["image"] * float("nan")}
        )
    assert not list((tmp_path / "f").rglob("*"))
