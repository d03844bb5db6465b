"""A real MONAI Label server with the zoo's app over small bundles, and the real client."""

from __future__ import annotations

import collections
import contextlib
import functools
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest
import torch
from bundle_runs import ROOT

sys.path.insert(0, str(Path(__file__).parent))
LONGEST_START_S = 280
APP = ROOT / "plugins" / "monailabel"
RELEASED = ("brain_mr_synthesis_ldm", "brain_mr_anomaly_map_manytasks")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """A test marked `needs_slicer("part", ...)` is skipped before its fixtures start if a part is not there."""
    from slicer_python import lacking

    marker = item.get_closest_marker("needs_slicer")
    if marker and (missing := lacking(*marker.args)):
        pytest.skip(missing)


def pytest_terminal_summary(terminalreporter):
    """Says in a line how many tests were left out for want of Slicer's libraries, and what brings them."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "needs_slicer" in report.keywords]
    reasons = collections.Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} tests with Slicer's own libraries were left out. {reason}", yellow=True)


class Server:
    """`monailabel start_server` as a process of its own, on a free port of the loopback.

    Args:
        index: of the bundles; None where the app has none.
        studies: folder of the datastore.
        folder: for its log and its fine-tuned weights.
        app: folder of the app.
    """

    def __init__(self, index: Path | None, studies: Path, folder: Path, app: Path = APP, **conf: str):
        self.studies, self.folder, self.app = studies, folder, app
        ours = {"index": str(index), "models_dir": str(folder / "versions"), "memory_gb": "4"}
        self.conf = {**(ours if index else {}), **conf}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None
        self.headers: dict[str, str] = {}
        self.env: dict[str, str] = {}

    def __enter__(self) -> Server:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(self.app)]
        command += ["--studies", str(self.studies), "--port", str(self.port)]
        command += [] if self.app == APP else ["--host", "127.0.0.1"]  # ours chooses the loopback itself
        for key, value in self.conf.items():
            command += ["--conf", key, value]
        scripts = str(Path(sys.executable).parent)
        env = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        env["BUNDLE_DOWNLOAD_SRC"] = "local"  # MONAI Label's own app then looks for bundles in its folder only
        env |= self.env
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
        request = urllib.request.Request(self.url + path, headers=self.headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
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
def new_server(zoo, scans, tmp_path_factory):
    """`with new_server() as server`: one over a fresh datastore of the three scans."""
    pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

    @contextlib.contextmanager
    def start():
        studies = tmp_path_factory.mktemp("studies")
        for scan in scans:
            shutil.copy(scan, studies)
        made = Server(zoo, studies, tmp_path_factory.mktemp("server"))
        try:
            made.start()
            yield made
        finally:
            made.stop()

    return start


@pytest.fixture(scope="session")
def server(new_server):
    """The server that most tests share; what they leave in its datastore stays there."""
    with new_server() as made:
        yield made


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    """Folder and address of a packed release of the bundles, on a plain web server."""
    from synthzoo.bundle.pack import package_bundles

    folder = tmp_path_factory.mktemp("release")
    wheel = folder / "synthzoo-0.1.0-py3-none-any.whl"  # building the real one takes long and is tested elsewhere
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(ROOT / "synthzoo" / "errors.py", "synthzoo/errors.py")
    package_bundles(ROOT, folder / "dist", names=list(RELEASED), wheel=wheel)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder / "dist"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder / "dist", f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def released(release, scans, tmp_path_factory):
    """The server over bundles that it downloads from a release, with two requests at once, little memory and 8 MB."""
    pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")
    studies, folder = tmp_path_factory.mktemp("released_studies"), tmp_path_factory.mktemp("released")
    shutil.copy(scans[2], studies)
    limits = {"memory_gb": "1.5", "parallel": "2", "upload_mb": "8"}
    made = Server(folder / "bundle_index.json", studies, folder, zoo=release[1], **limits)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def busy(zoo, scans, tmp_path_factory):
    """A server with narrow limits, one scan, and a folder of its own for temporary files."""
    pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")
    studies, temporary = tmp_path_factory.mktemp("busy_studies"), tmp_path_factory.mktemp("busy_temporary")
    shutil.copy(scans[0], studies)
    limits = {"queue_max": "6", "cost_max": "1", "upload_mb": "8"}
    made = Server(zoo, studies, tmp_path_factory.mktemp("busy"), **limits)
    made.env = {"TMPDIR": str(temporary), "SYNTHZOO_MAX_VOXELS": str(20_000_000)}
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def command_run(tmp_path_factory):
    """`command_run(bundle, scan or None, option=value ...)`: what the bundle's command writes; once per request."""
    from monai.bundle import run as run_bundle

    @functools.cache
    def run(bundle: Path, scan: Path | None = None, **options) -> Path:
        folder = tmp_path_factory.mktemp(bundle.name)
        images = {} if scan is None else {"images": str(scan)}
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as the servers
        try:
            config = str(bundle / "configs" / "inference.json")
            run_bundle(config_file=config, bundle_root=str(bundle), output_dir=str(folder), **images, **options)
        finally:
            torch.set_num_threads(threads)
        return folder

    return run


@pytest.fixture(scope="module")
def client_over(tmp_path_factory):
    """`client_over(name, make, **studies)`: MONAI Label's client of a server over one bundle and studies by their id.

    `make(folder)` makes the bundle in `folder / name`; a study is the word and the seed of an example.
    """
    from monailabel.client import MONAILabelClient

    from synthzoo.bundle.index import entry
    from synthzoo.cases.examples import write_example
    from synthzoo.io.files import write_json

    with contextlib.ExitStack() as started:

        def start(name, make, **studies):
            zoo, stored = tmp_path_factory.mktemp("zoo_of_one"), tmp_path_factory.mktemp("studies_of_one")
            bundle = make(zoo / "bundles")
            write_json(zoo / "bundle_index.json", {"format": 1, "base_url": "", "bundles": {name: entry(bundle)}})
            for study, (word, seed) in studies.items():
                example = write_example(word, tmp_path_factory.mktemp("example"), seed)
                shutil.move(example, stored / f"{study}.nii.gz")
            server = Server(zoo / "bundle_index.json", stored, tmp_path_factory.mktemp("server_of_one"))
            return MONAILabelClient(started.enter_context(server).url, str(tmp_path_factory.mktemp("client_of_one")))

        yield start


@pytest.fixture(scope="session")
def client(server, tmp_path_factory):
    """MONAI Label's own client."""
    from monailabel.client import MONAILabelClient

    return MONAILabelClient(server.url, str(tmp_path_factory.mktemp("client")))
