"""A release on a real web server: our download verifies, stock MONAI reads the same zips."""

import http.server
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import warnings
import zipfile
from pathlib import Path

import pytest

from synthzoo import UserError
from synthzoo.bundle.download import download
from synthzoo.bundle.index import INDEX
from synthzoo.bundle.pack import package_bundles

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("bundle_samples", ROOT / "tests" / "bundle_samples.py")
samples = importlib.util.module_from_spec(spec)
spec.loader.exec_module(samples)
NAME = "phantom_mr_synthesis_tiny"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Folder and address of a packed release."""
    with samples.served_release(tmp_path_factory.mktemp("release"), Quiet) as found:
        yield found


@pytest.fixture
def own_release(release, tmp_path):
    """A copy of the release folder that a test may spoil."""
    return shutil.copytree(release[0], tmp_path / "dist")


def nothing_is_left(folder):
    return not Path(folder).exists() or not any(Path(folder).iterdir())


def test_download_over_http_and_from_a_folder_gives_the_same_files(release, tmp_path, capsys):
    folder, url = release
    one = download(NAME, url, tmp_path / "one")
    two = download(NAME, folder, tmp_path / "two")
    three = download(NAME, folder.as_uri(), tmp_path / "three")
    files = sorted(path.relative_to(one).as_posix() for path in one.rglob("*") if path.is_file())
    assert "models/model.safetensors" in files and any(name.startswith("wheels/") for name in files)
    for other in (two, three):
        assert all((one / name).read_bytes() == (other / name).read_bytes() for name in files)
    download(NAME, url, tmp_path / "one")
    assert "already here" in capsys.readouterr().out


def test_unknown_names_and_unreachable_places_are_one_sentence(release, tmp_path):
    _, url = release
    with pytest.raises(UserError, match=NAME):
        download("brain_mr_synthesis_none", url, tmp_path / "x")
    with pytest.raises(UserError, match="cannot be reached"):
        download(NAME, "http://127.0.0.1:9", tmp_path / "x")
    with pytest.raises(UserError, match="404"):
        download(NAME, f"{url}/nowhere", tmp_path / "x")
    with pytest.raises(UserError, match="no folder"):
        download(NAME, tmp_path / "nowhere", tmp_path / "x")
    assert nothing_is_left(tmp_path / "x")


def test_another_hash_is_refused_before_unpacking(own_release, tmp_path):
    path = own_release / f"{NAME}_v0.1.0.zip"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(UserError, match="sha256"):
        download(NAME, own_release, tmp_path / "x")
    assert nothing_is_left(tmp_path / "x")


def put_zip(release, content: bytes, unpacked_bytes: int | None = None):
    """Replace the zip and make the index agree with it, as a hostile or careless publisher would."""
    import hashlib

    path = release / f"{NAME}_v0.1.0.zip"
    path.unlink()
    path.write_bytes(content)
    index = json.loads((release / INDEX).read_text())
    packed = index["bundles"][NAME]["zip"]
    packed |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    if unpacked_bytes is not None:
        packed["unpacked_bytes"] = unpacked_bytes
    (release / INDEX).write_text(json.dumps(index))


def test_a_damaged_zip_is_one_sentence(own_release, tmp_path):
    put_zip(own_release, (own_release / f"{NAME}.zip").read_bytes()[:-200])
    with pytest.raises(UserError, match="damaged"):
        download(NAME, own_release, tmp_path / "x")
    assert nothing_is_left(tmp_path / "x")


@pytest.mark.parametrize("member", ["../evil.txt", f"{NAME}/../../evil.txt", "/tmp/evil.txt", "other/evil.txt"])
def test_a_member_outside_the_target_is_refused(own_release, tmp_path, member):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{NAME}/configs/metadata.json", "{}")
        archive.writestr(member, "evil")
    put_zip(own_release, path.read_bytes())
    with pytest.raises(UserError, match="member"):
        download(NAME, own_release, tmp_path / "x")
    assert nothing_is_left(tmp_path / "x") and not (tmp_path / "evil.txt").exists()


def test_a_newer_version_replaces_the_older_and_changed_files_are_kept(release, tmp_path):
    here = download(NAME, release[0], tmp_path / "x")
    samples.change(here, "seed", 5)
    with pytest.raises(UserError, match="--force"):
        download(NAME, release[0], tmp_path / "x")
    download(NAME, release[0], tmp_path / "x", force=True)
    samples.write_bundle(tmp_path / "zoo", version="0.10.0")
    package_bundles(tmp_path / "zoo", tmp_path / "new", wheel=next(release[0].parent.glob("*.whl")))
    download(NAME, tmp_path / "new", tmp_path / "x")
    assert '"0.10.0"' in (here / "configs" / "metadata.json").read_text()
    assert [path.name for path in (tmp_path / "x").iterdir()] == [NAME]


def test_a_full_disk_is_one_sentence(release, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(UserError, match="MB needed"):
        download(NAME, release[0], tmp_path / "x")


def command(*words, cwd):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=200
    )
    return done.returncode, done.stdout + done.stderr


STOCK = """
import sys
from monai.bundle import download
name, url, folder, arguments, target = sys.argv[1:]
download(name=name, url=url + f"/{name}.zip", bundle_dir=target + "/by_url")
download(args_file=arguments, bundle_dir=target + "/by_args")
download(name=name, url=folder + f"/{name}.zip", bundle_dir=target + "/by_folder")
"""


def test_stock_monai_downloads_the_same_zip_and_runs_it_from_anywhere(release, tmp_path):
    folder, url = release
    code, text = command(
        *("-m", "monai.bundle", "download", "--name", NAME),
        *("--url", f"{url}/{NAME}.zip", "--bundle_dir", tmp_path / "cli"),
        cwd=tmp_path,
    )  # fmt: skip
    assert code == 0, text
    arguments = folder / f"{NAME}.download.json"
    code, text = command("-c", STOCK, NAME, url, folder.as_uri(), arguments, tmp_path, cwd=tmp_path)
    assert code == 0, text
    bundle = tmp_path / "by_args" / NAME
    for other in ("by_url", "by_folder", "cli"):
        assert (tmp_path / other / NAME / "models" / "model.pt").read_bytes() == (
            bundle / "models/model.pt"
        ).read_bytes()
    config = bundle / "configs" / "inference.json"
    run = ("-m", "monai.bundle", "run", "--config_file", config, "--bundle_root", bundle)
    code, text = command(*run, cwd="/")
    assert code == 0 and "mean" in text, text


def written(tmp_path, *members: tuple[str, str], encrypted: bool = False) -> bytes:
    """A zip of these members beside a metadata.json."""
    path = tmp_path / "made.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        for name, text in [(f"{NAME}/configs/metadata.json", "{}"), *members]:
            archive.writestr(name, text)
    data = bytearray(path.read_bytes())
    if encrypted:
        for at in [n for n in range(len(data)) if data[n : n + 4] in (b"PK\x03\x04", b"PK\x01\x02")]:
            data[at + (6 if data[at + 2] == 3 else 8)] |= 1
    return bytes(data)


SPOILT = {
    "twice": [(f"{NAME}/a.txt", "1"), (f"{NAME}/a.txt", "2")],
    "other case": [(f"{NAME}/a.txt", "1"), (f"{NAME}/A.txt", "2")],
    "a file below a file": [(f"{NAME}/a", "1"), (f"{NAME}/a/b", "2")],
    "a long name": [(f"{NAME}/{'a' * 300}", "1")],
    "a control character": [(f"{NAME}/a\nb", "1")],
    "too many bytes": [(f"{NAME}/zeros", "0" * 300_000)],
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_zip_that_is_no_bundle_is_one_sentence_and_leaves_nothing(own_release, tmp_path, kind):
    put_zip(own_release, written(tmp_path, *SPOILT[kind]), 1000)
    with pytest.raises(UserError):
        download(NAME, own_release, tmp_path / "x")
    assert nothing_is_left(tmp_path / "x")


def test_an_encrypted_zip_and_one_of_another_size_are_refused(own_release, tmp_path):
    put_zip(own_release, written(tmp_path, (f"{NAME}/a", "1"), encrypted=True))
    with pytest.raises(UserError, match="encrypted"):
        download(NAME, own_release, tmp_path / "x")
    index = json.loads((own_release / INDEX).read_text())
    index["bundles"][NAME]["zip"]["bytes"] = 100
    (own_release / INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match="larger than the 100 bytes"):
        download(NAME, own_release, tmp_path / "x")
    assert nothing_is_left(tmp_path / "x")


ENTRIES = [None, 3, {}, {"name": NAME}, {"name": NAME, "version": 1, "files": {}}]
ZIPS = [
    {"bytes": "1", "unpacked_bytes": 1, "sha256": "0" * 64},
    {"bytes": -1, "unpacked_bytes": 1, "sha256": "0" * 64},
    {"bytes": 1, "unpacked_bytes": 1, "sha256": 5},
    {"bytes": 1, "unpacked_bytes": 1, "sha256": "0" * 64, "file": 7},
    {"bytes": 1},
    [],
]
ENTRIES += [{"name": NAME, "version": "1", "files": {}, "zip": value} for value in ZIPS]


@pytest.mark.parametrize("item", ENTRIES, ids=str)
def test_a_damaged_entry_of_the_index_is_named(own_release, tmp_path, item):
    index = json.loads((own_release / INDEX).read_text())
    index["bundles"][NAME] = item
    (own_release / INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match=f"bundles#{NAME}"):
        download(NAME, own_release, tmp_path / "x")
    assert nothing_is_left(tmp_path / "x")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"bundles": []}', "\xff", "[" * 100_000, '{"bundles": NaN}'])
def test_what_is_no_index_is_said(own_release, tmp_path, text):
    (own_release / INDEX).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="not an index"):
        download(NAME, own_release, tmp_path / "x")


@pytest.mark.parametrize("name", ["a" * 3000, "..", "a/../../b", "", "a\0b", "\udcff"])
def test_a_name_that_is_no_bundles_is_one_sentence(own_release, tmp_path, name):
    with pytest.raises(UserError):
        download(name, own_release, tmp_path / "x")


def test_a_place_that_cannot_be_written_is_one_sentence(own_release, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="bundle_dir"):
        download(NAME, own_release, tmp_path / "file")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="link"):
        download(NAME, own_release, tmp_path / "x")


class Odd(http.server.BaseHTTPRequestHandler):
    """Answers as a broken or hostile server does, by the first word of the path."""

    def do_GET(self):
        kind = self.path.split("/")[1]
        if kind in ("ftp", "file"):
            self.send_response(302)
            self.send_header("Location", f"{kind}://127.0.0.1/x")
            self.end_headers()
        elif kind == "length":
            self.send_response(200)
            self.send_header("Content-Length", "many")
            self.end_headers()
            self.wfile.write(b"{}")
        elif kind == "short":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"{}")
        else:
            self.wfile.write(b"no HTTP at all\r\n\r\n")

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("kind", ["ftp", "file", "length", "short", "garbage"])
def test_an_odd_server_is_one_sentence(tmp_path, kind):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(UserError):
            download(NAME, f"http://127.0.0.1:{server.server_port}/{kind}", tmp_path / "x")
    finally:
        server.shutdown()
    assert nothing_is_left(tmp_path / "x")
