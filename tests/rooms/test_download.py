"""A release on a real web server: our download verifies, stock MONAI reads the same zips."""

import http.server
import importlib.util
import json
import os
import shutil
import subprocess
import sys
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


def put_zip(release, content: bytes):
    """Replace the zip and make the index agree with it, as a hostile or careless publisher would."""
    import hashlib

    path = release / f"{NAME}_v0.1.0.zip"
    path.unlink()
    path.write_bytes(content)
    index = json.loads((release / INDEX).read_text())
    index["bundles"][NAME]["zip"]["sha256"] = hashlib.sha256(content).hexdigest()
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
