"""Options that name an image: a word, a path on the command line, and on a server the id of a study, nothing else."""

from __future__ import annotations

import hashlib

import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import requests
from asking import ask, refused
from small_image_bundles import FINER

from synthzoo.bundle.keys import check_key, is_path, typed_value
from synthzoo.errors import UserError
from synthzoo.serving.options import option_of

RULE = {
    "type": "string",
    "maxLength": 200,
    "format": "image",
    "examples": ["T1w", "FLAIR"],
    "description": "what it shall look like",
}


@pytest.mark.parametrize("value", ["/etc/hostname", "../scan_0.nii.gz", "a/b", "a\\b", "..", "~/scan.nii.gz"])
def test_a_path_is_no_value_of_a_server_s_option(value):
    with pytest.raises(UserError, match="a server takes no path") as caught:
        option_of("style", RULE, "T1w", False).check(value)
    assert "one of T1w, FLAIR, or the id of an image of the datastore" in str(caught.value)


def test_words_ids_and_nothing_are_taken():
    option = option_of("style", RULE, "T1w", False)
    assert [option.check(value) for value in ("FLAIR", "scan_0", "")] == ["FLAIR", "scan_0", "T1w"]
    assert option.describe()["format"] == "image" and option.describe()["examples"] == ["T1w", "FLAIR"]


def test_on_the_command_line_it_is_a_path_of_any_length():
    metadata = {"synthzoo": {"options": {"style": RULE}}}
    check_key("style", "folder/" * 60 + "scan.nii.gz", metadata, "T1w")
    assert is_path("style") and typed_value("style", "2024_01") == "2024_01" and typed_value("style", "T1w") == "T1w"


def test_the_server_reads_the_study_that_is_named_and_no_file(server, client, scans):
    _, params = client.infer(FINER, "scan_0", {"like": "scan_1", "store": False})
    digest = hashlib.sha256(scans[1].read_bytes()).hexdigest()
    assert params["studies"][0]["sidecar"]["settings"]["like"] == {"name": scans[1].name, "sha256": digest}
    _, params = client.infer(FINER, "scan_0", {"like": "bright", "store": False})
    assert params["studies"][0]["sidecar"]["settings"]["like"] == "bright"
    for value in ("scan_9", scans[1].name, "scan_1.nii.gz/"):
        said = refused(ask(server, FINER, {"like": value}, "scan_0"))
        assert "must be one of plain, bright, or the id of an image of the datastore" in said, said
    assert "takes no path" in refused(ask(server, FINER, {"like": str(scans[1])}, "scan_0"))


def test_a_batch_that_names_a_study_is_done_once(server):
    params = {"like": "scan_1", "max_batch_size": 1}
    for done, skipped in ((1, 0), (0, 1)):
        url = f"{server.url}/batch/infer/{FINER}?run_sync=true"
        task = requests.post(url, json=params, timeout=200).json()
        assert (task["done"], task["skipped"]) == (done, skipped), task
