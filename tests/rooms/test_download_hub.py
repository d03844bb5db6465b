"""A release in a Hugging Face repository: huggingface_hub itself fetches it, from a server with the hub's addresses.

The real hub is a network away; what stands here answers `/<owner>/<repo>/resolve/<revision>/<file>` as the hub does
(an entity tag and a commit in the headers), so that the client's own code runs.
"""

import hashlib
import http.server
import importlib.util
import re
from pathlib import Path

import pytest

from synthzoo import UserError
from synthzoo.bundle.download import download

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("bundle_samples", ROOT / "tests" / "bundle_samples.py")
samples = importlib.util.module_from_spec(spec)
spec.loader.exec_module(samples)
NAME = "phantom_mr_synthesis_tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.SimpleHTTPRequestHandler):
    def translate_path(self, path):
        found = re.match(rf"/someone/zoo/resolve/(?:main|v1|{COMMIT})/(.+)", path)
        return str(Path(self.directory) / (found[1] if found else "absent"))

    def end_headers(self):
        path = Path(self.translate_path(self.path))
        if path.is_file():
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(path.read_bytes()).hexdigest()}"')
        else:
            self.send_header("X-Error-Code", "EntryNotFound" if self.path.startswith("/someone/") else "RepoNotFound")
        super().end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with samples.served_release(tmp_path_factory.mktemp("hub"), Hub) as (_, url):
        yield url


@pytest.fixture(autouse=True)
def this_hub(hub, monkeypatch):
    """The client talks to the server here; elsewhere in the suite it is kept offline."""
    monkeypatch.setenv("HF_ENDPOINT", hub)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def test_a_bundle_comes_from_a_hub_repository_verified(tmp_path):
    for source in ("hf:someone/zoo", "hf:someone/zoo@v1"):
        folder = download(NAME, source, tmp_path / source[-2:])
        assert (folder / "configs" / "metadata.json").is_file()
        assert not list(folder.parent.glob(".*")), "nothing temporary is left"


@pytest.mark.parametrize("source", ["hf:someone/zoo@other", "hf:nobody/nothing"])
def test_an_unknown_repository_or_revision_is_one_sentence(tmp_path, source):
    with pytest.raises(UserError) as caught:
        download(NAME, source, tmp_path)
    assert source.split("@")[0] in str(caught.value) and "\n" not in str(caught.value)
