"""Balanced requests: each pathology, combination and size class comes equally often, by seed and subject alone."""

from collections import Counter
from itertools import combinations

import pytest

from synthzoo.cases.requests import read_table
from synthzoo.errors import UserError
from synthzoo.serving.generation import request_table
from synthzoo.serving.priors import BalancedPrior, ConditionPrior

ML = {"type": "number", "minimum": 0, "maximum": 60, "unit": "mL", "description": "volume"}
CONDITIONS = {
    "age": {"type": "number", "minimum": 20, "maximum": 90, "unit": "years", "description": "age at the scan"},
    "sex": {"type": "string", "enum": ["F", "M"], "description": "sex"},
    **dict.fromkeys(("WMH_ml", "stroke_ml", "core_ml", "oedema_ml"), ML),
    "count": {"type": "integer", "minimum": 0, "maximum": 9, "description": "number of lesions"},
    "spread": {"type": "number", "description": "without a range"},
    "phrase": {"type": "string", "maxLength": 50, "description": "free text"},
}
PATHOLOGIES = ("WMH_ml", "stroke_ml", "core_ml")
RANGES = {"WMH_ml": "1,31", "stroke_ml": "2,32", "core_ml": (5, 35)}


def rows_of(tmp_path, balance, requested, count, seed=3, **kwargs):
    text = request_table(CONDITIONS, requested, count, None, seed, balance, **kwargs)
    (tmp_path / "t.tsv").write_text(text)
    return [row["requested"] for row in read_table(tmp_path / "t.tsv", CONDITIONS)]


def size_class(name, value, classes=3):
    low, high = ConditionPrior(name, RANGES[name], CONDITIONS[name]).values
    return min(int((value - low) / (high - low) * classes), classes - 1)


def test_each_pathology_combination_and_size_class_comes_equally_often(tmp_path):
    blocks = 6  # of 8 combinations: each combination meets each of 3 classes of each of its pathologies twice
    rows = rows_of(tmp_path, ",".join(PATHOLOGIES), {**RANGES, "age": "40,80"}, 8 * blocks)
    present = [tuple(name for name in PATHOLOGIES if row[name] > 0) for row in rows]
    every = {found for size in range(4) for found in combinations(PATHOLOGIES, size)}
    assert Counter(present) == dict.fromkeys(every, blocks)
    classes = Counter((found, name, size_class(name, row[name])) for found, row in zip(present, rows) for name in found)
    wanted = [(found, name, number) for found in every for name in found for number in range(3)]
    assert classes == dict.fromkeys(wanted, blocks // 3)
    for name in PATHOLOGIES:
        low, high = ConditionPrior(name, RANGES[name], CONDITIONS[name]).values
        assert all(row[name] == 0 or low <= row[name] <= high for row in rows)
        assert len({row[name] for row in rows if row[name]}) == 4 * blocks, "sizes are drawn within their class"
    ages = [row["age"] for row in rows]
    assert min(ages) >= 40 and max(ages) <= 80 and all(row["sex"] is None for row in rows)


def test_every_even_number_of_subjects_has_each_pathology_in_half_of_them(tmp_path):
    rows = rows_of(tmp_path, ",".join(PATHOLOGIES), RANGES, 60)
    for count in range(2, 61, 2):
        for name in PATHOLOGIES:
            assert sum(row[name] > 0 for row in rows[:count]) == count // 2


def test_a_balanced_table_depends_on_seed_and_subject_alone():
    def table(count, seed=3):
        return request_table(CONDITIONS, RANGES, count, None, seed, ",".join(PATHOLOGIES))

    assert table(40).startswith(table(13)) and table(40) == table(40) and table(40) != table(40, seed=4)
    orders = set()
    for seed in range(10):
        prior = BalancedPrior(",".join(PATHOLOGIES), RANGES, CONDITIONS)
        orders.add(tuple(tuple(prior.sample(seed, n)[name] > 0 for name in PATHOLOGIES) for n in range(1, 9)))
    assert len(orders) > 5, "combinations come in an order of their seed"


def test_sums_are_present_together_and_lists_have_each_value_equally_often(tmp_path):
    rows = rows_of(tmp_path, "WMH_ml,core_ml+oedema_ml,sex,count", {"oedema_ml": 12, "count": "1,3"}, 2 * 2 * 2 * 2 * 3)
    seen = Counter((row["WMH_ml"] > 0, row["core_ml"] > 0, row["sex"], row["count"] > 0) for row in rows)
    assert len(seen) == 16 and set(seen.values()) == {3}
    assert all((row["core_ml"] > 0) == (row["oedema_ml"] > 0) for row in rows)
    assert {row["oedema_ml"] for row in rows} == {0, 12}
    assert Counter(row["count"] for row in rows) == {0: 24, 1: 8, 2: 8, 3: 8}
    # No range given: that of the property, from a tenth of its upper end, since 0 is absent.
    found = [row["WMH_ml"] for row in rows if row["WMH_ml"]]
    assert min(found) >= 6 and max(found) <= 60 and sum(value < 24 for value in found) == 8


def test_what_cannot_be_absent_is_balanced_by_its_classes(tmp_path):
    rows = rows_of(tmp_path, "age,sex", {"age": "40,80"}, 24, size_classes=4)
    assert Counter((int((row["age"] - 40) / 10), row["sex"]) for row in rows) == dict.fromkeys(
        [(number, sex) for number in range(4) for sex in "FM"], 3
    )


def test_ranges_of_integers_and_booleans_give_values_of_their_type(tmp_path):
    drawn = [ConditionPrior("count", "2,4", CONDITIONS["count"]).sample(1, n) for n in range(60)]
    assert set(drawn) == {2, 3, 4} and all(type(value) is int for value in drawn)
    either = ConditionPrior("lesion", "true,false", {"type": "boolean", "description": "whether there is one"})
    assert {either.sample(1, n) for n in range(20)} == {True, False}


@pytest.mark.parametrize(
    "balance, requested, sentence",
    [
        ("WMH", {}, "--balance names the unknown condition 'WMH': the known ones are age, sex, WMH_ml"),
        ("WMH_ml,,sex", {}, "unknown condition ''"),
        ("WMH_ml,sex,WMH_ml", {}, "WMH_ml stands there twice"),
        ("WMH_ml+age", {}, "age cannot be 0, so it is never absent: put a comma before it"),
        ("spread", {}, "spread, which has no range of its own: give one, as --spread low,high"),
        ("phrase", {}, "phrase, which is free text"),
        ("WMH_ml", {"WMH_ml": 0}, "which is 0, so that it is never present"),
        ("WMH_ml", {"WMH_ml": "10,70"}, "WMH_ml is 70 mL, but must lie between 0 and 60"),
    ],
)
def test_a_wrong_balance_is_one_sentence(balance, requested, sentence):
    with pytest.raises(UserError) as caught:
        request_table(CONDITIONS, requested, 8, None, 0, balance)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_too_many_combinations_and_a_table_of_ones_own_are_refused(tmp_path):
    many = {f"c{n}": ML for n in range(13)}
    with pytest.raises(UserError, match="8192 combinations, but at most 4096 can be drawn"):
        BalancedPrior(",".join(many), {}, many)
    (tmp_path / "own.tsv").write_text("age\n30\n")
    with pytest.raises(UserError, match="--balance draws requests and --requests states them"):
        request_table(CONDITIONS, {}, None, tmp_path / "own.tsv", 0, "sex")
