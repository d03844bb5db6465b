"""The server over a damaged table, foreign sessions, a full disk and names of any kind: a status and a sentence."""

from __future__ import annotations

import json
import re
import resource
import uuid
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import nibabel as nib
import requests
from asking import ask, refused

MAP, SYNTHESIS = "phantom_mr_anomaly_map_tiny", "brain_mr_synthesis_ldm"
DEEP = '{"a": ' * 250 + "1" + "}" * 250


@pytest.fixture(scope="module")
def stored(zoo, scans, tmp_path_factory):
    """A server over a table in which scan_0 is damaged, with foreign folders among its sessions."""
    from conftest import Server

    studies, folder = tmp_path_factory.mktemp("studies"), tmp_path_factory.mktemp("server")
    for number, scan in enumerate(scans):
        (studies / f"scan_{number}{'.NII.GZ' if number == 2 else '.nii.gz'}").write_bytes(scan.read_bytes())
    entries = [f'"scan_0": {{"image": {{"ext": ".nii.gz", "info": {DEEP}}}, "labels": {{}}}}']
    entries += ['"scan_1": {"image": {"ext": ".nii.gz", "info": {"age": 50, "synthzoo_scores": []}}, "labels": {}}']
    entries += ['"../x": {"image": {"ext": "", "info": {}}, "labels": {}}', '"none": null']
    (studies / "datastore_v2.json").write_text(
        f'{{"name": "n", "description": "", "objects": {{{", ".join(entries)}}}}}'
    )
    (folder / "versions" / MAP / "0001").mkdir(parents=True)
    for place in (studies, studies / "labels" / "final", folder / "versions" / MAP / "0001", folder / "sessions"):
        place.mkdir(parents=True, exist_ok=True)
        (place / f".tmp{2**30}_scan_9.nii.gz").write_bytes(b"half")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONAI_LABEL_SESSION_PATH", str(folder / "sessions"))
        made = Server(zoo, studies, folder)
        try:
            made.start()
            yield made
        finally:
            made.stop()


def put(
    server, path: str, content: bytes = b"", name: str = "a.nii.gz", field: str = "file", **data
) -> requests.Response:
    return requests.put(f"{server.url}{path}", files={field: (name, content)}, data=data, timeout=60)


def volume(seed: int = 0, ending: str = ".nii.gz", shape=(8, 9, 10)) -> bytes:
    """A small volume of noise as a file."""
    import gzip

    array = np.random.default_rng(seed).random(shape, dtype=np.float32)
    data = nib.Nifti1Image(array, np.eye(4)).to_bytes()
    return gzip.compress(data, 1, mtime=0) if ending == ".nii.gz" else data


def test_a_server_over_a_damaged_table_starts_lists_and_names_what_it_passed_over(stored, scans):
    objects = stored.get("/datastore/?output=all")["objects"]
    assert {"scan_0", "scan_1", "scan_2"} <= set(objects)
    log = (stored.folder / "server.log").read_text()
    for name in ("scan_0", "scan_1", "../x", "none"):
        assert f"entry '{name}'" in log
    (kept,) = stored.studies.glob("datastore_v2.damaged-*.json")
    assert kept.name in log and not [*stored.studies.rglob(".tmp*"), *stored.folder.rglob(".tmp*")]
    for strategy in ("random", "first", "random"):
        answer = requests.post(f"{stored.url}/activelearning/{strategy}", json={}, timeout=60)
        assert answer.status_code == 200 and answer.json()["id"] in objects
    assert "no unlabelled image has a score" in refused(
        requests.post(f"{stored.url}/activelearning/most_anomalous_first", json={}, timeout=60)
    )
    assert ask(stored, MAP, image="scan_2").status_code == 200, "UPPER.NII.GZ is read"


BAD_INFO = {
    "deep": DEEP,
    "NaN": '{"a": NaN}',
    "half a character": '{"a": "\\ud800"}',
    "scores": '{"synthzoo_scores": []}',
    "a score": '{"synthzoo_scores": {"m": {"score": "high"}}}',
    "a sidecar": '{"sidecar": "x"}',
    "a strategy": '{"strategy": {"first": 1}}',
    "a list": "[1]",
    "large": json.dumps({"a": "x" * 200_000}),
}


@pytest.mark.parametrize("kind", BAD_INFO)
def test_what_could_not_be_read_again_is_not_stored_by_any_route(stored, kind):
    bad = BAD_INFO[kind]
    before = (stored.studies / "datastore_v2.json").read_bytes()
    for path, field in (("image/info?image=scan_1", "info"), ("label/info?label=scan_1&tag=final", "info")):
        refused(requests.put(f"{stored.url}/datastore/{path}", data={field: bad}, timeout=60))
    refused(put(stored, "/datastore/image?image=bad", volume(), params=bad))
    refused(put(stored, "/datastore/label?image=scan_1", volume(), field="label", params=bad))
    assert (stored.studies / "datastore_v2.json").read_bytes() == before


def test_an_id_stands_for_one_image_until_it_is_removed(stored):
    assert put(stored, "/datastore/image?image=p1", volume(1)).json() == {"image": "p1"}
    assert put(stored, "/datastore/label?image=p1", volume(2), field="label").json() == {"image": "p1", "label": "p1"}
    assert put(stored, "/datastore/image?image=p1", volume(1)).status_code == 200, "the same bytes"
    for ending in (".nii", ".nii.gz"):
        sentence = refused(put(stored, "/datastore/image?image=p1", volume(3, ending), f"a{ending}"), 409)
        assert "delete that one first" in sentence
    objects = stored.get("/datastore/?output=all")["objects"]
    assert list(objects["p1"]["labels"]) == ["final"]
    assert requests.delete(f"{stored.url}/datastore/image?id=p1", timeout=60).status_code == 200
    assert "p1" not in stored.get("/datastore/?output=all")["objects"] and not list(stored.studies.rglob("p1.*"))
    assert put(stored, "/datastore/image?image=p1", volume(3, ".nii"), "a.nii").status_code == 200
    assert stored.get("/datastore/?output=all")["objects"]["p1"]["labels"] == {}
    requests.delete(f"{stored.url}/datastore/image?id=p1", timeout=60).raise_for_status()


def test_a_study_that_is_made_again_with_other_bytes_replaces_nothing(stored):
    def make() -> str:
        answer = ask(stored, SYNTHESIS, {"seed": 5, "steps": 1}, image="&output=json")
        return answer.json()["studies"][0]["id"]

    first = make()
    (path,) = stored.studies.glob(f"{first}.*")
    path.write_bytes(volume(6))
    assert make().startswith(f"{first}_") and path.read_bytes() == volume(6)


ODD = [
    "x" * 3000,
    "..",
    "../x",
    "/etc/hostname",
    "a\0b",
    "ä",
    "%2e%2e",
    "a b\n",
    "$(id)",
    "-",
    "\ud83d",
]


@pytest.mark.parametrize("name", ODD, ids=lambda name: ascii(name)[:20])
def test_odd_names_get_a_sentence_and_no_traceback(stored, name):
    before = sorted(path.name for path in stored.studies.rglob("*"))
    name = name.encode("utf-8", "surrogatepass")
    ask_for = {
        404: [
            ("DELETE", "/datastore/image", {"id": name}),
            ("DELETE", "/datastore/label", {"id": name, "tag": "final"}),
            ("DELETE", "/datastore/label", {"id": "scan_0", "tag": name}),
            ("GET", "/datastore/image", {"image": name}),
            ("GET", "/datastore/image/info", {"image": name}),
            ("GET", "/datastore/label", {"label": "scan_0", "tag": name}),
            ("GET", "/datastore/label/info", {"label": name, "tag": "final"}),
            ("PUT", "/datastore/image/info", {"image": name}),
            ("PUT", "/datastore/label/info", {"label": "scan_0", "tag": name}),
            ("POST", f"/infer/{MAP}", {"session_id": name}),
            ("POST", f"/infer/{MAP}", {"image": name}),
        ]
    }
    for status, calls in ask_for.items():
        for method, path, query in calls:
            answer = requests.request(method, f"{stored.url}{path}", params=query, data={"params": "{}"}, timeout=60)
            assert len(refused(answer, status)) < 300
    for path in ("/datastore/image", "/datastore/label"):
        key = "image" if path.endswith("image") else "tag"
        query = {"image": "scan_0", key: name}
        files = {"file" if key == "image" else "label": ("a.nii.gz", volume())}
        assert len(refused(requests.put(f"{stored.url}{path}", params=query, files=files, timeout=60))) < 300
    for path in ("session", "model", "model/info", "zoo/example", "zoo/jobs"):
        address = requests.Request("GET", f"{stored.url}/{path}/").prepare().url + requests.utils.quote(name, safe="")
        answer = requests.get(address, timeout=60)
        assert answer.status_code in (404, 405) or name == b"..", (path, answer.text)  # requests resolves it
        assert "Traceback" not in answer.text and str(stored.folder) not in answer.text
    assert sorted(path.name for path in stored.studies.rglob("*")) == before


FILES = ["x" * 3000 + ".nii.gz", "../../a.nii.gz", "C" + ":\\a.nii.gz", "ä\r\n.nii.gz", ".nii.gz", "A.Nii.Gz"]


@pytest.mark.parametrize("name", FILES, ids=lambda name: ascii(name)[-20:])
def test_the_name_of_an_upload_is_harmless(stored, name):
    data = volume(7)
    image = put(stored, "/datastore/image", data, name).json()["image"]
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", image), image
    requests.delete(f"{stored.url}/datastore/image", params={"id": image}, timeout=60).raise_for_status()
    made = put(stored, "/session/", data, name, field="files").json()
    assert "/" not in made["session_info"]["image"] and made["session_info"]["path"] == ""
    assert requests.delete(f"{stored.url}/session/{made['session_id']}", timeout=60).status_code == 200


# --- sessions -------------------------------------------------------------------------------------------------------


def in_session(server, session: str) -> requests.Response:
    """A map of the image of a session."""
    asked = {"session_id": session}
    return requests.post(f"{server.url}/infer/{MAP}", params=asked, data={"params": "{}"}, timeout=60)


def test_an_id_of_a_session_is_no_path_and_nothing_in_a_folder_says_what_is_read(stored, scans, tmp_path):
    store = stored.folder / "sessions"
    planted = [tmp_path / "outside", store / str(uuid.uuid4()), store / "x"]
    for where in planted:
        where.mkdir(parents=True)
        for image in (str(scans[0]), "/nowhere/at/all"):
            (where / "meta.info").write_text(json.dumps({"name": "x", "path": "/", "image": image, "expiry": 1}))
            for form in (str(where), where.name, f"../{where.name}", f"{store}/../{where.name}", f"{where.name}/."):
                assert "no session" in refused(in_session(stored, form), 404)
                address = f"{stored.url}/session/{requests.utils.quote(form, safe='')}"
                for method in ("GET", "DELETE"):
                    answer = requests.request(method, address, timeout=60)
                    assert answer.status_code == 404, (form, answer.text)
    assert all((where / "meta.info").is_file() for where in planted), "what was not made here stays"


def test_a_session_reads_its_own_upload_whatever_its_files_say(stored, scans):
    content = scans[0].read_bytes()
    made = put(stored, "/session/", content, "meta.info.nii.gz", field="files").json()["session_id"]
    folder = stored.folder / "sessions" / made
    lie = {"name": "x", "image": "/etc/hostname", "path": "/", "create_ts": "x", "last_access_ts": [], "expiry": -1}
    for text in (json.dumps(lie), "", "[]", DEEP, "\x00"):
        (folder / "meta.info").write_text(text)
        answer = in_session(stored, made)
        assert answer.status_code == 200, answer.text
        found = stored.get(f"/session/{made}")
        assert found["image"] == "meta.info.nii.gz" and found["name"] == made
    answer = requests.get(f"{stored.url}/session/{made}?image=true", timeout=60)
    assert answer.content == content
    requests.delete(f"{stored.url}/session/{made}", timeout=60).raise_for_status()
    assert not folder.exists()


# --- disk and pages -------------------------------------------------------------------------------------------------


@contextmanager
def full_disk(server, at: int):
    """No file of the server may become longer than so many bytes."""
    before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (at, before[1]))
    try:
        yield
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_with_507_and_the_old_label_is_whole(stored):
    old, large = volume(1), volume(2, shape=(100, 100, 100))
    put(stored, "/datastore/label?image=scan_1&tag=final", old, field="label").raise_for_status()
    listed = stored.get("/datastore/?output=all")
    with full_disk(stored, 2_000_000):
        for path, field in (
            ("/datastore/label?image=scan_1&tag=final", "label"),
            ("/datastore/image?image=new", "file"),
            ("/session/", "files"),
        ):
            assert "disk is full" in refused(put(stored, path, large, field=field), 507)
        assert stored.get("/datastore/?output=all") == listed
    label = requests.get(f"{stored.url}/datastore/label?label=scan_1&tag=final", timeout=60)
    assert label.content == old and not list(stored.studies.rglob(".tmp*"))
    assert put(stored, "/datastore/label?image=scan_1&tag=final", large, field="label").status_code == 200


def test_pages_load_nothing_from_elsewhere_and_tell_no_path(stored):
    paths = [str(stored.studies), str(stored.folder), str(stored.app), "/tmp/", "/usr/", "/home/"]
    asked = ("/", "/docs", "/logs/", "/logs/?refresh=1")
    pages = {page: requests.get(f"{stored.url}{page}", timeout=60) for page in asked}
    for page, answer in pages.items():
        assert answer.status_code == 200 and "<script" not in answer.text, page
        assert not re.search(r"(src|href)\s*=\s*['\"]?(https?:)?//", answer.text), page
    assert "/infer/{model}" in pages["/"].text and "datastore_v2.json" in pages["/logs/"].text
    texts = [answer.text for answer in pages.values()]
    shown = ("/logs/?text=true&lines=0", "/datastore/image/info?image=scan_1", "/datastore/?output=train", "/info/")
    for page in (*shown, "/zoo/index", "/datastore/?output=all", "/datastore/label/info?label=scan_1&tag=final"):
        answer = requests.get(f"{stored.url}{page}", timeout=60)
        assert answer.status_code == 200, page
        texts.append(answer.text)
    for text in texts:
        assert not [path for path in paths if path in text], next(
            line for line in text.splitlines() if any(path in line for path in paths)
        )
    assert stored.get("/datastore/?output=train") == [{"image": "scan_1.nii.gz", "label": "labels/final/scan_1.nii.gz"}]
    for gone in ("/ohif/", "/proxy/dicom/x"):
        assert requests.get(f"{stored.url}{gone}", timeout=60).status_code == 404
    assert requests.get(f"{stored.url}/logs/gpu", timeout=60).status_code in (200, 404)


def test_a_sentence_calls_a_stored_file_by_its_name(stored):
    put(stored, "/datastore/image?image=flat", volume(9, shape=(8, 9, 1))).raise_for_status()
    assert refused(ask(stored, MAP, image="flat")).startswith("image flat.nii.gz is 2D")
    assert refused(ask(stored, MAP, files={"file": ("a.nii.gz", volume(9, shape=(8, 9)))})).startswith(
        "image a.nii.gz is"
    )
    assert requests.put(f"{stored.url}/datastore/image?image=x", timeout=60).status_code == 422
    assert "body.file" in refused(requests.put(f"{stored.url}/datastore/image?image=x", timeout=60), 422)


def test_a_stored_image_is_downloaded_as_it_was_sent_and_checked_by_its_sum(stored):
    import hashlib

    data = volume(8)
    put(stored, "/datastore/image?image=sum", data).raise_for_status()
    assert requests.get(f"{stored.url}/datastore/image?image=sum", timeout=60).content == data
    digest = hashlib.sha256(data).hexdigest()
    for said, status in ((digest, 200), (f"SHA256:{digest}", 200), ("MD5:00", 404), ("00", 404), ("CRC:00", 400)):
        answer = requests.head(f"{stored.url}/datastore/image?image=sum&check_sum={said}", timeout=60)
        assert answer.status_code == status, said
