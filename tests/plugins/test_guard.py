"""No page of another origin and no foreign name reaches the server, by any route; a public one wants its token."""

import http.client
import json

import pytest
import requests
from bundle_runs import ROOT

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

APP = ROOT / "plugins" / "monailabel"
TOKEN = "0123456789abcdef"
ROUTES = [
    ("GET", "/info/"),
    ("GET", "/zoo/index"),
    ("GET", "/zoo/jobs"),
    ("GET", "/datastore/"),
    ("GET", "/datastore/image?image=scan"),
    ("DELETE", "/datastore/image?id=scan"),
    ("PUT", "/datastore/image?image=x"),
    ("POST", "/infer/none"),
    ("POST", "/activelearning/first"),
    ("POST", "/reload"),
    ("GET", "/logs/"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/"),
    ("GET", "/static/none"),
    ("OPTIONS", "/infer/none"),
    ("GET", "/nowhere"),
]


def ask(server, method, path, body=None, **headers):
    """Status, headers and text of one request; `Host` is set as given."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        host = headers.pop("Host", f"127.0.0.1:{server.port}")
        connection.putrequest(method, path, skip_host=True)
        data = b"" if body is None else body
        for key, value in {"Host": host, "Content-Length": str(len(data)), **headers}.items():
            connection.putheader(key.replace("_", "-"), value)
        connection.endheaders(data or None)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode(errors="replace")
    finally:
        connection.close()


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_page_of_another_origin_is_refused_on_every_route(server, method, path):
    foreign = [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}]
    for headers in [*foreign, {"Origin": f"http://127.0.0.1:{server.port}.evil.example"}]:
        status, answered, text = ask(server, method, path, **headers)
        assert status == 403 and "may not use this server" in text
        assert "Access-Control-Allow-Origin" not in answered


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8000", "192.0.2.7", "", "[::"]
)
def test_a_name_that_was_not_given_is_no_name_of_the_server(server, host):
    for method, path in ROUTES[:4]:
        status, _, text = ask(server, method, path, Host=host)
        assert status in (400, 403), text


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_the_loopback_and_a_page_of_the_server_itself_are_answered(server, name):
    host = f"{name}:{server.port}"
    assert ask(server, "GET", "/zoo/index", Host=host)[0] == 200
    assert ask(server, "GET", "/zoo/index", Host=host, Origin=f"http://{host}", Sec_Fetch_Site="same-origin")[0] == 200


def test_a_body_of_json_is_bounded_before_it_is_read(server):
    body = b'{"a": "' + b"x" * 1_100_000 + b'"}'
    status, _, text = ask(server, "POST", "/activelearning/first", body, Content_Type="application/json")
    assert status == 413 and "1000000" in text
    assert ask(server, "GET", "/info/")[0] == 200


DEEP = b'{"a": ' * 250 + b"1" + b"}" * 250
NOT_PLAIN = [DEEP, b"[" * 60_000, b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1e999}', b'{"a"', b"\xff"]


@pytest.mark.parametrize("body", NOT_PLAIN, ids=lambda body: body[:12].decode("latin-1"))
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/activelearning/first"), ("PUT", "/datastore/image/info?image=x")]
)
def test_json_that_could_not_be_read_again_is_refused_on_our_routes_and_stock_ones(server, method, path, body):
    status, _, text = ask(server, method, path, body, Content_Type="application/json")
    assert status == 400 and "the body" in text


@pytest.mark.parametrize("params", [DEEP.decode(), '{"a": NaN}', '{"a": [' + "1," * 60_000 + "1]}"])
def test_the_same_holds_for_the_fields_of_a_form(server, params):
    boundary = "x" * 20
    parts = f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\n\r\n{params}\r\n--{boundary}--\r\n'
    kind = f"multipart/form-data; boundary={boundary}"
    model = next(iter(server.get("/zoo/index")["models"]))
    status, _, text = ask(server, "POST", f"/infer/{model}", parts.encode(), Content_Type=kind)
    assert status == 400 and "params" in text


def test_scores_that_a_client_wrote_in_another_form_count_as_none(monkeypatch):
    monkeypatch.syspath_prepend(str(APP))
    from lib.service import CLASSES, SCORES, classes_of, scores_of

    good = {"b": {"score": 0.5}}
    for wrong in ([], "x", None, {"b": []}, {"b": {}}, {"b": {"score": "high"}}):
        assert scores_of({SCORES: wrong}) == {}
    assert scores_of({SCORES: {**good, "c": 3}}) == good and scores_of({}) == {}
    named = {"a": {"class": "boat neck"}}
    assert classes_of({CLASSES: {**named, "b": {"class": 3}, "c": []}}) == named and classes_of({CLASSES: []}) == {}


@pytest.fixture(scope="module")
def public(zoo, scans, tmp_path_factory):
    """A server that other machines may reach, with a token, a name and a page that is allowed."""
    from conftest import Server

    conf = {"public": "yes", "token": TOKEN, "hosts": "zoo.example", "origins": "https://viewer.example"}
    made = Server(zoo, tmp_path_factory.mktemp("public_studies"), tmp_path_factory.mktemp("public"), **conf)
    made.headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route[0] != "OPTIONS"])
def test_a_public_server_wants_its_token_on_every_route(public, method, path):
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Cookie": "synthzoo_token=wrong"},
    ):
        status, answered, _ = ask(public, method, path, **headers)
        assert status == 401 and answered["WWW-Authenticate"] == "Bearer"


def test_header_cookie_panel_and_stock_client_carry_the_token(public, scans, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(APP.parent / "slicer" / "SynthZoo" / "SynthZoo"))
    from monailabel.client import MONAILabelClient
    from SynthZooLib.client import ZooClient
    from SynthZooLib.errors import ZooError

    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(public, "GET", "/zoo/index", **bearer)[0] == 200
    assert ask(public, "GET", "/zoo/index", Cookie=f"a=b; synthzoo_token={TOKEN}")[0] == 200
    assert ask(public, "GET", "/zoo/index", Host="zoo.example", **bearer)[0] == 200
    assert ask(public, "GET", "/zoo/index", Origin="https://viewer.example", **bearer)[0] == 200
    assert ask(public, "GET", "/zoo/index", Origin="https://evil.example", **bearer)[0] == 403
    requests.put(
        f"{public.url}/datastore/image?image=own", files={"file": ("a.nii.gz", scans[0].read_bytes())}, headers=bearer
    ).raise_for_status()
    sample = requests.post(f"{public.url}/activelearning/first", json={}, headers=bearer, timeout=60).json()
    assert sample["id"] == "own" and "path" not in sample, "where files lie is not told to other machines"
    client = ZooClient(f"http://{TOKEN}@127.0.0.1:{public.port}")
    assert client.index() and TOKEN not in client.url
    with pytest.raises(ZooError, match="token"):
        ZooClient(public.url).index()
    stock = MONAILabelClient(public.url, str(tmp_path))
    stock._headers.update(bearer)
    assert "SynthZoo" in json.dumps(stock.info())


def test_a_public_server_without_a_token_does_not_start(monkeypatch):
    monkeypatch.syspath_prepend(str(APP))
    from lib.guard import read_guard

    from synthzoo.errors import UserError

    with pytest.raises(UserError, match="--conf token"):
        read_guard({"public": "yes"})
    with pytest.raises(UserError, match="16 or more"):
        read_guard({"token": "short"})
    assert read_guard({}) == {"public": False, "token": "", "hosts": (), "origins": ()}
