"""Findings added to stored line integrals: exact against a projection that had them from the start."""

import numpy as np
import pytest

from synthzoo.datasets.chest.phantoms import ChestPhantomDataset
from synthzoo.errors import UserError
from synthzoo.phantoms.chest.added import PLACED, AddedSettings, add_findings
from synthzoo.phantoms.chest.findings import Finding, draw_findings
from synthzoo.phantoms.chest.phantom import chest_study
from synthzoo.phantoms.chest.pool import load_pool
from synthzoo.phantoms.chest.truth import tight_box

POOL = {"patients": 8, "studies": 1, "size": 32, "findings": "draw"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pool")


@pytest.fixture(scope="module")
def pool(folder):
    return load_pool(folder=folder, **POOL)


@pytest.mark.parametrize("row", range(5))
def test_an_added_finding_is_what_a_new_projection_shows(pool, row):
    record = pool.records[row]
    who = record["patient"], record["study"]
    added = [Finding("nodule", size_mm=14, seed=row + 5), Finding("consolidation", size_mm=30, seed=row + 9)]
    mu, truths = add_findings(pool, row, added)
    whole = chest_study(*who, [*draw_findings(*who), *added], size=32)
    assert np.abs(mu - whole.projection.mu).max() < 3e-3  # what half precision keeps of a stored line integral
    assert np.abs(mu - np.asarray(pool.mu[row], np.float32)).max() > 0.02
    last = {found.kind: found for found in whole.findings if found.kind in PLACED}
    assert {found.kind for found in truths} == set(last)
    for found in truths:
        same = last[found.kind]
        assert np.array_equal(found.mask, same.mask) and found.box == same.box
        assert (found.side, found.zone, found.severity) == (same.side, same.zone, same.severity)
        assert found.volume_ml == pytest.approx(same.volume_ml, rel=0.2)  # from pixels of 12 mm; 1 % from 3 mm


def test_a_pool_with_added_findings_is_a_function_of_its_seeds(pool, folder, tmp_path):
    settings = {**POOL, "copies": 3, "counts": (0, 0.5, 0.5)}
    rows = load_pool(AddedSettings(), folder, **settings)
    assert len(rows) == 3 * len(pool.indices("TRAIN"))
    load_pool(folder=tmp_path, **POOL)
    again = load_pool(AddedSettings(), tmp_path, **settings)
    assert again.records == rows.records and np.array_equal(again.mu, rows.mu)
    known = {(record["patient"], record["study"]): record for record in pool.records}
    for number, record in enumerate(rows.records):
        before = known[record["patient"], record["study"]]["findings"]
        kinds = [found["kind"] for found in record["findings"]]
        assert kinds[: len(before)] == [found["kind"] for found in before] and len(kinds) == len(set(kinds))
        masks = rows.masks(number)
        for found in record["findings"][len(before) :]:
            assert found["kind"] in PLACED and tuple(found["box"]) == tight_box(masks[found["kind"]])
            assert found["kind"].removesuffix("e") in found["phrase"] or "nodul" in found["phrase"]
            assert found["phrase"].split()[-1].lower().rstrip(".") in record["report"].lower()
    copies = [[found["box"] for found in record["findings"]] for record in rows.records[:3]]
    assert copies[0] != copies[1] != copies[2]


def test_a_data_set_reads_added_findings(folder):
    rows = ChestPhantomDataset("TRAIN", cache_dir=folder, masks=True, added={"copies": 2, "counts": [0, 1, 0]}, **POOL)
    assert len(rows) == 12
    row = rows[0]
    assert row["labels"][:2].sum() >= 1 and row["mask"].shape == (9, 32, 32)


def test_other_kinds_and_wrong_settings_are_refused(pool):
    with pytest.raises(UserError, match="nodule and consolidation can be added"):
        add_findings(pool, 0, [Finding("effusion")])
    with pytest.raises(UserError, match="copies = 0"):
        AddedSettings(copies=0)
    with pytest.raises(UserError, match="three shares"):
        AddedSettings(counts=(0.5, 0.6, 0.1))
