"""Every route of the server, stock ones included: bounded bodies, and no file, thread or handle that stays."""

from __future__ import annotations

import io
import json
import pkgutil
import time
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import monailabel.endpoints
import psutil
import requests
from asking import refused
from bundle_runs import ROOT

APP = ROOT / "plugins" / "monailabel"
HIDDEN = [("PUT", "/datastore/"), ("DELETE", "/datastore/"), ("PUT", "/datastore/updatelabelinfo"), ("POST", "/reload")]
HIDDEN += [("GET", "/ohif/index.html"), ("GET", "/"), ("GET", "/favicon.ico"), ("GET", "/docs"), ("GET", "/static/x")]
HIDDEN += [("GET", "/proxy/dicom/wado/x"), ("POST", "/proxy/dicom/x"), ("GET", "/nowhere")]
QUERY = {"image": "scan_0", "label": "scan_0", "tag": "final", "id": "nobody", "limit_cases": "1", "check_sum": "x"}
HOLES = {"{model}": "phantom_mr_anomaly_map_tiny", "{strategy}": "first", "{job}": "none", "{session_id}": "none"}
SLOW = ("POST /train/", "/batch/infer/")  # begin work that goes on after the answer: tested elsewhere
LIMIT = 8_000_000  # bytes, upload_mb of the server


def routes_of(server) -> list[tuple[str, str]]:
    """Every route as (method, path), with something harmless in its holes."""
    found = [(method.upper(), path) for path, one in server.get("/openapi.json")["paths"].items() for method in one]
    for hole, value in HOLES.items():
        found = [(method, path.replace(hole, value)) for method, path in found]
    assert len(found) > 25 and not [path for _, path in found if "{" in path], found
    return [*found, *HIDDEN]


def held(server) -> dict[str, int]:
    """What the server holds on to."""
    process = psutil.Process(server.process.pid)
    temporary = Path(server.env["TMPDIR"])
    return {"threads": process.num_threads(), "handles": process.num_fds(), "files": len(list(temporary.rglob("*")))}


def walk(server) -> None:
    for method, path in routes_of(server):
        if any(slow in f"{method} {path}" for slow in SLOW) or (method, path) == ("DELETE", "/train/"):
            continue
        bodies = [{}]
        if method in ("PUT", "POST"):
            files = dict.fromkeys(("file", "label", "files"), ("a.nii.gz", b"no image"))
            bodies = [
                {},
                {"json": {}},
                {"data": {"params": "{}", "info": "{}"}},
                {"data": {"params": "["}, "files": files},
            ]
        for body in bodies:
            answer = requests.request(method, server.url + path, params=QUERY, timeout=60, **body)
            assert answer.status_code < 600


def test_a_walk_over_every_route_leaves_no_thread_no_handle_and_no_file(busy, scans):
    with open(scans[0], "rb") as file:
        url = f"{busy.url}/datastore/label?image=scan_0&tag=final"
        requests.put(url, files={"label": ("a.nii.gz", file)}, timeout=60).raise_for_status()
    walk(busy)
    time.sleep(0.5)
    before = held(busy)
    for _ in range(2):
        walk(busy)
    time.sleep(0.5)
    after = held(busy)
    assert after["files"] <= before["files"], sorted(Path(busy.env["TMPDIR"]).rglob("*"))
    assert after["handles"] <= before["handles"] + 2
    assert after["threads"] <= before["threads"] + 2, "pools may fill up, and nothing else may grow"


def test_reload_reads_the_folder_again_and_makes_no_second_app(busy, scans):
    requests.post(f"{busy.url}/reload", timeout=60).raise_for_status()
    before = held(busy)
    for _ in range(6):
        assert requests.post(f"{busy.url}/reload", timeout=60).json() == {}
    after = held(busy)
    assert after["threads"] <= before["threads"] + 1 and after["handles"] <= before["handles"] + 1
    (busy.studies / "later.nii.gz").write_bytes(scans[1].read_bytes())
    requests.post(f"{busy.url}/reload", timeout=60).raise_for_status()
    assert "later" in busy.get("/datastore/?output=all")["objects"]
    requests.delete(f"{busy.url}/datastore/image?id=later", timeout=60).raise_for_status()


def test_the_archive_is_streamed_and_whole(busy, scans):
    with open(scans[0], "rb") as file:
        url = f"{busy.url}/datastore/label?image=scan_0&tag=final"
        requests.put(url, files={"label": ("a.nii.gz", file)}, timeout=60).raise_for_status()
    before = held(busy)["files"]
    for _ in range(3):
        answer = requests.get(f"{busy.url}/datastore/dataset", timeout=60)
        assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            assert {"image/scan_0.nii.gz", "label/scan_0.nii.gz", "metadata.json"} == set(archive.namelist())
            assert archive.read("image/scan_0.nii.gz") == (busy.studies / "scan_0.nii.gz").read_bytes()
            assert "scan_0" in json.loads(archive.read("metadata.json"))["objects"]
    assert held(busy)["files"] <= before


def chunked(size: int, kind: str):
    """A body whose length no header tells."""
    head = b'--x\r\nContent-Disposition: form-data; name="info"; filename="a"\r\n\r\n' if kind == "multipart" else b""
    yield head
    for _ in range(size // 100_000):
        yield b"0" * 100_000


@pytest.mark.parametrize("form", ["multipart", "urlencoded", "text", "json", "none"])
def test_no_route_takes_a_body_beyond_the_limits(busy, form):
    kinds = {
        "multipart": "multipart/form-data; boundary=x",
        "urlencoded": "application/x-www-form-urlencoded",
        "text": "text/plain",
        "json": "application/json",
    }
    headers = {"Content-Type": kinds[form]} if form in kinds else {}
    size = LIMIT + 2_000_000 if form == "multipart" else 2_000_000
    for method, path in routes_of(busy):
        if method not in ("PUT", "POST", "DELETE") or path == "/nowhere":
            continue
        began = time.monotonic()
        try:
            answer = requests.request(
                method, busy.url + path, params=QUERY, data=chunked(size, form), headers=headers, timeout=60
            )
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            continue  # the server hung up while we were still sending
        # What reads no body of this kind may answer without it; what reads one never takes it whole.
        if method == "PUT" and form in ("multipart", "urlencoded"):
            assert answer.status_code == 413, (method, path, answer.text)
        if method == "POST" and form == "json":
            assert answer.status_code == 413, (method, path, answer.text)
        assert time.monotonic() - began < 5
    assert refused(requests.post(f"{busy.url}/infer/none", data={"params": "{}"}, timeout=60), 404)


def test_many_fields_of_a_form_are_not_held_in_memory(busy):
    fields = [(f"a{n}", (None, "0" * 900_000)) for n in range(8)]
    answer = requests.put(f"{busy.url}/datastore/image/info?image=x", files=fields * 1, timeout=60)
    assert answer.status_code in (200, 400, 404, 422, 500)
    fields = [(f"a{n}", (None, "0")) for n in range(40)]
    assert "fields" in refused(requests.put(f"{busy.url}/datastore/image/info?image=x", files=fields, timeout=60))


def test_no_stock_endpoint_runs_on_the_event_loop(monkeypatch):
    import inspect

    monkeypatch.syspath_prepend(str(APP))
    from lib.routes import REMOVED, REPLACED, STOCK
    from lib.routes.stock import kept_routes

    names = {module.name for module in pkgutil.iter_modules(monailabel.endpoints.__path__)} - {"user"}
    # The proxy is there for remote archives only, and login where users have accounts.
    assert {module.__name__.rpartition(".")[2] for module in STOCK} == names - {"proxy", "login"}
    kept = kept_routes(STOCK, {*REPLACED, *REMOVED}).routes
    assert len(kept) > 5 and not [route.path for route in kept if inspect.iscoroutinefunction(route.endpoint)]
    assert not {(method, route.path) for route in kept for method in route.methods} & {*REPLACED, *REMOVED}
