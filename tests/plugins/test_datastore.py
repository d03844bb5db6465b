"""The datastore's table and files: damage is passed over, what is replaced is old or new, and an id is no file."""

from __future__ import annotations

import errno
import json
import logging
import math
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bundle_runs import ROOT

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

APP = ROOT / "plugins" / "monailabel"
sys.path.insert(0, str(APP))

from lib.datastore import Conflict, SafeDatastore  # noqa: E402
from lib.table import NoTable, cut_deep, fault_of, read_table, split_name  # noqa: E402

from synthzoo.errors import StorageError, UserError  # noqa: E402

TABLE = "datastore_v2.json"
DEEP = '{"a": ' * 250 + "1" + "}" * 250
ENDLESS = "[" * 100_000 + "]" * 100_000


def scan(path: Path, seed: int = 0) -> Path:
    """A small volume of noise."""
    array = np.random.default_rng(seed).random((4, 5, 6), dtype=np.float32)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return path


@pytest.fixture
def studies(tmp_path):
    """A folder of three scans; p1 has a final label, and the table says things of it."""
    folder = tmp_path / "studies"
    folder.mkdir()
    for number in (1, 2, 3):
        scan(folder / f"p{number}.nii.gz", number)
    store = SafeDatastore(str(folder))
    store.save_label("p1", str(scan(tmp_path / "label.nii.gz", 9)), "final", {"model": "m"})
    store.update_image_info("p1", {"age": 61})
    return folder


def entry(info: str = "{}", ending: str = '".nii.gz"', labels: str = "{}") -> str:
    """The text of an entry of the table."""
    return f'{{"image": {{"ext": {ending}, "info": {info}}}, "labels": {labels}}}'


def write_table(folder: Path, damaged: str, image_id: str = '"p2"') -> None:
    """A table in which the entry of p2, or another, is damaged."""
    good = entry('{"age": 61}')
    (folder / TABLE).write_text(f'{{"name": "n", "objects": {{"p1": {good}, {image_id}: {damaged}}}}}')


DAMAGED = {
    "deep": entry(DEEP),
    "deeper than a parser goes": entry(ENDLESS),
    "NaN": entry('{"a": NaN}'),
    "infinite": entry('{"a": 1e999}'),
    "an integer without end": entry('{"a": %s}' % ("1" * 5000)),
    "an integer of 400 digits": entry('{"synthzoo_scores": {"m": {"score": %s}}}' % ("1" * 400)),
    "half a character": entry('{"a": "\\ud800"}'),
    "half a character as a key": entry('{"\\ud800": 1}'),
    "null": "null",
    "a list": "[]",
    "a number": "5",
    "no image": "{}",
    "an image that is null": '{"image": null, "labels": {}}',
    "info that is a list": entry("[1]"),
    "info that is null": entry("null"),
    "an ending that is a number": entry(ending="5"),
    "an ending that climbs out": entry(ending='"/../../../etc/hostname"'),
    "an ending that is not read": entry(ending='".sh"'),
    "scores that are a list": entry('{"synthzoo_scores": []}'),
    "a score that is text": entry('{"synthzoo_scores": {"m": {"score": "high"}}}'),
    "a strategy that is text": entry('{"strategy": "first"}'),
    "a strategy's time that is text": entry('{"strategy": {"random": {"ts": "now"}}}'),
    "a sidecar that is text": entry('{"sidecar": "x"}'),
    "a sidecar of lists": entry('{"sidecar": {"settings": [1], "seed": 1}}'),
    "a seed that is text": entry('{"sidecar": {"seed": "x"}}'),
    "a threshold that is text": entry('{"sidecar": {"threshold": "x"}}'),
    "a threshold without its number": entry('{"sidecar": {"threshold": {"chosen_on": "x"}}}'),
    "a time that is text": entry('{"ts": "x"}'),
    "a flag that is text": entry('{"synthetic": "yes"}'),
    "conditions that are a list": entry('{"conditions": [1]}'),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_entry_is_named_and_passed_over_and_its_file_stays_a_study(studies, kind, caplog):
    write_table(studies, DAMAGED[kind])
    store = SafeDatastore(str(studies))
    assert sorted(store.list_images()) == ["p1", "p2", "p3"]
    assert store.get_image_info("p1")["age"] == 61 and set(store.get_image_info("p2")) == {"ts", "name"}
    json.dumps(store.json(), allow_nan=False, ensure_ascii=False).encode()
    assert any("entry 'p2'" in line and "passed over" in line for line in caplog.messages)
    (kept,) = studies.glob("datastore_v2.damaged-*.json")
    assert any(kept.name in line for line in caplog.messages)
    assert json.loads((studies / TABLE).read_text())["objects"]["p1"]["image"]["info"]["age"] == 61
    caplog.clear()
    SafeDatastore(str(studies))
    assert not [line for line in caplog.records if line.levelno >= logging.ERROR]


def test_a_threshold_may_say_what_it_was_chosen_on():
    for threshold in (0.25, None, {"value": 0.25, "chosen_on": "healthy phantoms only"}):
        assert fault_of({"sidecar": {"threshold": threshold}}) == ""
    assert "which must be a number, or an object" in fault_of({"sidecar": {"threshold": [1]}})


@pytest.mark.parametrize(
    "image_id",
    ['"../p2"', '"/etc/hostname"', '""', '"."', '".p2"', '"a/b"', '"\\ud800"', f'"{"x" * 3000}"', '"a\\u0000b"'],
)
def test_an_id_that_is_no_name_is_passed_over(studies, image_id, caplog):
    write_table(studies, entry(), image_id)
    store = SafeDatastore(str(studies))
    assert sorted(store.list_images()) == ["p1", "p2", "p3"]
    assert "entry" in caplog.text


def test_damaged_labels_and_entries_without_a_file_are_passed_over(studies, caplog):
    labels = '{"../x": {"ext": ".nii.gz", "info": {}}, "final": {"ext": ".nii.gz", "info": {"a": NaN}}, "gone": null}'
    write_table(studies, entry(labels=labels), '"gone"')
    store = SafeDatastore(str(studies))
    assert sorted(store.list_images()) == ["p1", "p2", "p3"] and "gone.nii.gz is not there" in caplog.text
    write_table(studies, entry(labels=labels))
    store.refresh()
    assert store.json()["objects"]["p2"]["labels"] == {} and set(store.get_labels_by_image_id("p1")) == {"final"}
    write_table(studies, entry(labels="[]"))
    store.refresh()
    assert "its labels are no object" in caplog.text


NO_TABLES = [
    "",
    "{",
    "null",
    "[]",
    "5",
    '"x"',
    "{}",
    '{"objects": []}',
    '{"objects": null}',
    '{"a": 1}',
    "\x00" * 100,
    ENDLESS,
]


@pytest.mark.parametrize("text", [*NO_TABLES, b"\xff\xfe"], ids=lambda text: repr(text[:12]))
def test_a_table_that_is_none_is_set_aside_with_its_name_told(studies, text, caplog):
    data = text if isinstance(text, bytes) else text.encode()
    (studies / TABLE).write_bytes(data)
    store = SafeDatastore(str(studies))
    (kept,) = studies.glob("datastore_v2.damaged-*.json")
    assert kept.read_bytes() == data and kept.name in caplog.text
    assert sorted(store.list_images()) == ["p1", "p2", "p3"] and list(store.get_labels_by_image_id("p1")) == ["final"]
    with pytest.raises(NoTable):
        read_table(data)


def test_a_table_that_breaks_while_the_server_runs_does_not_cost_what_is_known(studies):
    store = SafeDatastore(str(studies))
    (studies / TABLE).write_text("{")
    store.refresh()
    assert store.get_image_info("p1")["age"] == 61
    assert json.loads((studies / TABLE).read_text())["objects"]["p1"]["image"]["info"]["age"] == 61


def test_a_folder_in_the_place_of_the_table_is_set_aside(studies, caplog):
    (studies / TABLE).unlink()
    (studies / TABLE).mkdir()
    assert sorted(SafeDatastore(str(studies)).list_images()) == ["p1", "p2", "p3"]
    assert (studies / TABLE).is_file() and "is a folder" in caplog.text


def test_a_folder_that_cannot_be_listed_costs_no_entry(studies, monkeypatch, caplog):
    store = SafeDatastore(str(studies))
    before = (studies / TABLE).read_bytes()

    def broken(folder: Path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "iterdir", broken)
    store.refresh()
    assert "nothing is changed" in caplog.text and (studies / TABLE).read_bytes() == before
    assert sorted(store.list_images()) == ["p1", "p2", "p3"] and set(store.get_labels_by_image_id("p1")) == {"final"}


def test_what_is_cut_out_of_deep_json_is_what_is_deep():
    text = f'{{"objects": {{"a": {ENDLESS}, "b": {{"c": "]}}["}}, "d": {ENDLESS}}}}}'
    found = json.loads(cut_deep(text))["objects"]
    assert found["b"] == {"c": "]}["} and list(found) == ["a", "b", "d"]
    inner = found["a"]
    while isinstance(inner, list):
        inner = inner[0]
    assert math.isnan(inner)


# --- files ----------------------------------------------------------------------------------------------------------


@contextmanager
def full_disk(at: int):
    """No file of this process may become longer than so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_full_disk_changes_neither_a_file_nor_the_table_nor_what_is_believed(studies, tmp_path):
    store, large = SafeDatastore(str(studies)), tmp_path / "large.nii"
    large.write_bytes(scan(tmp_path / "s.nii").read_bytes() + bytes(20_000))
    before, believed = everything(studies), store.json()
    with full_disk(15_000):
        for act in (
            lambda: store.save_label("p1", str(large), "final", {}),
            lambda: store.add_image("new", str(large), {}),
            lambda: store.save_label("p1", str(scan(tmp_path / "m.nii")), "final", {"a": "x" * 20_000}),  # the table
            lambda: store.update_image_info("p1", {"a": "x" * 20_000}),
        ):
            with pytest.raises(StorageError, match="disk is full") as refused:
                act()
            assert str(tmp_path) not in str(refused.value)
            assert everything(studies) == before and store.json() == believed
        store.remove_image("p3")
    store.save_label("p1", str(large), "final", {})
    assert sorted(store.list_images()) == ["p1", "p2"]
    assert [path.name for path in (studies / "labels" / "final").iterdir()] == ["p1.nii"], "the old file goes with it"


def replace_for_ever(folder: Path, first: Path, second: Path) -> None:
    """Replace the final label of p1, until the process is killed."""
    store = SafeDatastore(str(folder))
    while True:
        for path in (first, second):
            store.save_label("p1", str(path), "final", {})


def test_a_kill_while_a_label_is_replaced_leaves_the_old_one_or_the_new_one(studies, tmp_path):
    pair = [tmp_path / "one.nii", tmp_path / "two.nii"]
    for number, path in enumerate(pair):
        array = np.random.default_rng(number).random((160, 160, 128), dtype=np.float32)
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    whole, killed_in_a_write = {path.read_bytes() for path in pair}, 0
    for turn in range(8):
        process = multiprocessing.get_context("fork").Process(target=replace_for_ever, args=(studies, *pair))
        process.start()
        time.sleep(0.15 + 0.017 * turn)
        process.kill()
        process.join()
        killed_in_a_write += bool(list(studies.rglob(".tmp*")))
        store = SafeDatastore(str(studies))
        label = Path(store.get_label_uri("p1", "final"))
        assert label.name == "p1.nii.gz" or label.read_bytes() in whole
        assert store.get_image_info("p1")["age"] == 61
        assert not list(studies.rglob(".tmp*")), "leftovers are swept at the start"
    assert killed_in_a_write


def test_an_id_is_not_a_file(studies, tmp_path):
    store = SafeDatastore(str(studies))
    assert store.add_image("a", str(scan(tmp_path / "a.nii.gz", 5)), {"age": 5}) == "a"
    store.save_label("a", str(scan(tmp_path / "label.nii.gz")), "final", {})
    for other in (scan(tmp_path / "other.nii", 6), scan(tmp_path / "other.nii.gz", 6)):
        with pytest.raises(Conflict, match="delete that one first"):
            store.add_image("a", str(other), {})
    assert store.add_image("a", str(tmp_path / "a.nii.gz"), {"sex": "F"}) == "a", "the same bytes are the same study"
    info = store.get_image_info("a")
    assert (info["age"], info["sex"]) == (5, "F") and set(store.get_labels_by_image_id("a")) == {"final"}
    store.remove_image("a")
    store.refresh()
    assert "a" not in store.list_images() and not list(studies.rglob("a.*"))
    store.add_image("a", str(tmp_path / "other.nii"), {})
    store.refresh()
    assert store.get_labels_by_image_id("a") == {} and Path(store.get_image_uri("a")).name == "a.nii"


def test_two_files_of_one_name_are_two_studies_and_none_takes_the_others_label(studies, tmp_path):
    scan(studies / "p1.nii", 7)
    store = SafeDatastore(str(studies))
    assert sorted(store.list_images()) == ["p1", "p1.nii", "p2", "p3"]
    assert store.get_labels_by_image_id("p1.nii") == {} and Path(store.get_image_uri("p1")).name == "p1.nii.gz"
    store.save_label("p1.nii", str(scan(tmp_path / "l.nii.gz")), "final", {})
    store.remove_image("p1")
    for found in (store, SafeDatastore(str(studies))):
        found.refresh()
        assert sorted(found.list_images()) == ["p1.nii", "p2", "p3"]
        assert Path(found.get_image_uri("p1.nii")).name == "p1.nii"
        assert set(found.get_labels_by_image_id("p1.nii")) == {"final"}
    with pytest.raises(Conflict):
        store.add_image("p1", str(scan(tmp_path / "x.nii", 8)), {})


def test_a_label_that_a_removed_image_left_never_belongs_to_the_next_of_its_name(studies, tmp_path):
    store = SafeDatastore(str(studies))
    (studies / "p1.nii.gz").unlink()
    store.refresh()
    store.add_image("p1", str(scan(tmp_path / "p.nii.gz", 4)), {})
    store.refresh()
    assert store.get_labels_by_image_id("p1") == {} and len(list(studies.glob("labels/final/.aside-*"))) == 1


def test_names_are_listed_as_the_library_reads_them(studies, tmp_path):
    for name in ("UPPER.NII.GZ", "Mixed.Nii.Gz", "plain.NII", "Zoë 1 (T1w).nii.gz", "-rf.nii.gz", "p2.NII.GZ"):
        shutil.copy(studies / "p1.nii.gz", studies / name) if "gz" in name.lower() else scan(studies / name)
    (studies / "one.PNG").write_bytes(b"\x89PNG")
    (studies / "text.txt").write_text("x")
    (studies / "half.nrrd").write_text("x")
    (studies / ".hidden.nii.gz").write_text("x")
    (studies / f".tmp{2**30}_p9.nii.gz").write_text("x")
    os.close(os.open(os.fsencode(studies) + b"/\xff.nii.gz", os.O_CREAT))
    (studies / "folder.nii.gz").mkdir()
    store = SafeDatastore(str(studies))
    new = {"UPPER", "Mixed", "plain", "Zoë 1 (T1w)", "-rf", "one", "p2.NII.GZ"}
    assert set(store.list_images()) == {"p1", "p2", "p3", *new}
    assert Path(store.get_image_uri("UPPER")).name == "UPPER.NII.GZ" and Path(store.get_image_uri("Mixed")).is_file()
    json.dumps(store.json(), ensure_ascii=False).encode()
    assert store.add_image("", str(studies / "UPPER.NII.GZ"), {}) == "UPPER"
    shutil.copy(studies / "UPPER.NII.GZ", tmp_path / "other.NII.GZ")
    store.add_image("other", str(tmp_path / "other.NII.GZ"), {})
    assert Path(store.get_image_uri("other")).name == "other.nii.gz"
    assert split_name("A.Nii.Gz") == ("A", ".Nii.Gz") and split_name("1.2.840") == ("1.2.840", "")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", ".x", "a\0b", "x" * 300, "\ud800", "a\\b", "a\nb"])
def test_no_id_and_no_tag_is_a_path(studies, tmp_path, name):
    store, file = SafeDatastore(str(studies)), str(scan(tmp_path / "l.nii.gz"))
    before = everything(tmp_path)
    if name:
        with pytest.raises(UserError):
            store.add_image(name, file, {})
    with pytest.raises(UserError):
        store.save_label("p1", file, name, {})
    with pytest.raises(LookupError):
        store.save_label(name, file, "final", {})
    for act in (
        store.remove_image,
        lambda name: store.remove_label("p1", name or "x"),
        lambda name: store.remove_label(name, "final"),
    ):
        with pytest.raises(LookupError):
            act(name)
    assert store.get_image_uri(name) == "" and store.get_label_uri(name, "final") == ""
    assert everything(tmp_path) == before


def test_a_read_only_folder_is_served_and_refuses_to_store(studies, tmp_path):
    (studies / TABLE).unlink()
    store = SafeDatastore(str(studies), read_only=True)
    before = everything(studies)
    assert sorted(store.list_images()) == ["p1", "p2", "p3"]
    with pytest.raises(StorageError, match="read-only"):
        store.add_image("new", str(scan(tmp_path / "n.nii.gz", 8)), {})
    with pytest.raises(StorageError, match="read-only"):
        store.update_image_info("p1", {"a": 1})
    with pytest.raises(StorageError, match="read-only"):
        store.remove_image("p1")
    assert everything(studies) == before


@contextmanager
def unprivileged(folder: Path):
    """Nobody may write into a folder and those below it, not even the superuser, who is nobody meanwhile."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65534)
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)
        for path in folders:
            path.chmod(0o755)


def test_a_folder_that_may_not_be_written_is_served_and_says_so(studies, tmp_path):
    with tempfile.TemporaryDirectory() as other:
        os.chmod(other, 0o755)
        folder = Path(shutil.copytree(studies, Path(other) / "studies"))
        (folder / TABLE).unlink()
        new = scan(Path(other) / "new.nii.gz", 8)
        before = everything(folder)
        with unprivileged(folder):
            store = SafeDatastore(str(folder))
            assert sorted(store.list_images()) == ["p1", "p2", "p3"] and set(store.get_labels_by_image_id("p1")) == {
                "final"
            }
            for act in (
                lambda: store.add_image("new", str(new), {}),
                lambda: store.save_label("p1", str(new), "final", {}),
                lambda: store.save_label("p1", str(new), "other", {}),
                lambda: store.update_image_info("p1", {"a": 1}),
                lambda: store.remove_label("p1", "final"),
                lambda: store.remove_image("p1"),
            ):
                with pytest.raises(StorageError, match="cannot be written \\(Permission denied\\)") as refused:
                    act()
                assert other not in str(refused.value)
            assert sorted(store.list_images()) == ["p1", "p2", "p3"]
        assert everything(folder) == before


def test_files_that_others_bring_and_take_are_noticed(studies, tmp_path):
    store = SafeDatastore(str(studies), auto_reload=True)

    def soon(look) -> bool:
        end = time.monotonic() + 20
        while not look() and time.monotonic() < end:
            time.sleep(0.05)
        return look()

    try:
        scan(tmp_path / "new.nii.gz")
        (tmp_path / "new.nii.gz").rename(studies / "NEW.NII.GZ")
        assert soon(lambda: "NEW" in store.list_images())
        (studies / "labels" / "mine").mkdir()
        shutil.copy(studies / "NEW.NII.GZ", studies / "labels" / "mine" / "NEW.nii.gz")
        assert soon(lambda: "mine" in store.get_labels_by_image_id("NEW")), "in a folder that was not there before"
        SafeDatastore(str(studies)).update_image_info("p1", {"age": 62})
        assert soon(lambda: store.get_image_info("p1")["age"] == 62)
        (studies / "NEW.NII.GZ").unlink()
        assert soon(lambda: "NEW" not in store.list_images())
    finally:
        store.close()


def test_a_damaged_entry_of_the_index_is_passed_over_and_a_damaged_index_is_told(tmp_path, caplog):
    from lib.service import find_folders

    index = tmp_path / "bundle_index.json"
    for name in ("good", "odd"):
        (tmp_path / "bundles" / name / "configs").mkdir(parents=True)
        (tmp_path / "bundles" / name / "configs" / "metadata.json").write_text("{}")
    for damaged in (None, 3, [], "x"):
        index.write_text(
            json.dumps({"bundles": {"bad": damaged, "good": {"outputs": ["image"]}, "odd": {"outputs": 5}}})
        )
        assert [folder.name for folder in find_folders(APP, {"index": str(index)})] == ["good", "odd"]
        assert "bundles#bad is passed over" in caplog.text
        with pytest.raises(UserError, match="has no 'bad'"):
            find_folders(APP, {"index": str(index), "models": "bad"})
    for text in ("null", "[]", "{}", '{"bundles": null}', '{"bundles": []}', "{", ENDLESS):
        index.write_text(text)
        with pytest.raises(UserError, match="bundle_index.json"):
            find_folders(APP, {"index": str(index)})
