"""A real MONAI Label server with the zoo's app over small bundles, and the real client."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from bundle_runs import ROOT

sys.path.insert(0, str(Path(__file__).parent))
LONGEST_START_S = 280
APP = ROOT / "plugins" / "monailabel"


class Server:
    """`monailabel start_server` as a process of its own, on a free port of the loopback.

    Args:
        index: of the bundles.
        studies: folder of the datastore.
        folder: for its log and its fine-tuned weights.
    """

    def __init__(self, index: Path, studies: Path, folder: Path, **conf: str):
        self.studies, self.folder = studies, folder
        self.conf = {"index": str(index), "models_dir": str(folder / "versions"), "memory_gb": "4", **conf}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(APP)]
        command += ["--studies", str(self.studies), "--port", str(self.port)]
        for key, value in self.conf.items():
            command += ["--conf", key, value]
        scripts = str(Path(sys.executable).parent)
        env = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        with open(self.folder / "server.log", "a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=self.folder)
        end = time.monotonic() + LONGEST_START_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                self.get("/info/")
                return
            except OSError:
                time.sleep(0.3)
        raise AssertionError(f"the server did not start:\n{(self.folder / 'server.log').read_text()[-3000:]}")

    def get(self, path: str):
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()


@pytest.fixture(scope="session")
def zoo(tmp_path_factory) -> Path:
    """bundle_index.json of small bundles."""
    from small_zoo import make_small_zoo

    return make_small_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="session")
def scans(tmp_path_factory) -> list[Path]:
    """Three phantom scans, the last one with a lesion."""
    from small_zoo import write_scans

    return write_scans(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="session")
def server(zoo, scans, tmp_path_factory):
    """The server over a datastore of the three scans."""
    pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")
    import shutil

    studies = tmp_path_factory.mktemp("studies")
    for scan in scans:
        shutil.copy(scan, studies)
    made = Server(zoo, studies, tmp_path_factory.mktemp("server"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def client(server, tmp_path_factory):
    """MONAI Label's own client."""
    from monailabel.client import MONAILabelClient

    return MONAILabelClient(server.url, str(tmp_path_factory.mktemp("client")))
