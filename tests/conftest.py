"""What all tests share: the folders, one phantom scan, small quick runs of every bundle, and a web server."""

from __future__ import annotations

import functools
import http.server
import os
import re
import threading
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: `make test` runs a process a core

import numpy as np
import pytest
from bundle_runs import BUNDLE_NAMES, ROOT, SKELETON_NAMES, quick


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


COSTLY = ("released", "busy", "server", "client", "new_server")  # fixtures of the session that start a server
FIRST = ("server", "released", "new_server", "tests/plugins", "bundle", "tests/contract")  # the long shards begin


@functools.cache
def server_of(path: str) -> str | None:
    """The fixture of `COSTLY` that the tests of a file take."""
    text = (ROOT / path).read_text()
    taken = [name for name in COSTLY if re.search(rf"^def \w+\([^)]*\b{name}\b", text, re.M)]
    return {"client": "server"}.get(taken[0], taken[0]) if taken else None


def shard_of(nodeid: str) -> str:
    """The name of what one process runs: a bundle's contract, the tests of one server, or a file."""
    path, _, test = nodeid.partition("::")
    if path.startswith("tests/contract"):
        return next((f"bundle {name}" for name in BUNDLE_NAMES if f"[{name}" in test), path)
    return server_of(path) or path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Whole shards to the processes of `pytest -n`, in the order in which they were collected."""
    from xdist.scheduler import LoadScopeScheduling

    class Shards(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return shard_of(nodeid)

    config.option.loadscopereorder = False
    return Shards(config, log)


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes; `make test-all` runs it"))
    if hasattr(config, "workerinput"):  # a process of `pytest -n`
        begin = dict(zip(FIRST, range(len(FIRST))))
        shards = {item: shard_of(item.nodeid) for item in items}
        items.sort(key=lambda item: min((begin[name] for name in FIRST if shards[item].startswith(name)), default=9))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def phantom():
    """A healthy T1w brain at 4 mm with its truth."""
    from synthzoo.phantoms.brain.phantom import draw_params, make_brain

    return make_brain(draw_params(7), 4.0)


@pytest.fixture(scope="session")
def phantom_nifti(phantom, tmp_path_factory) -> Path:
    """The phantom as a scanner might store it: other axis order, an oblique affine, intensities in hundreds."""
    import nibabel as nib

    turn = np.deg2rad(7.0)
    oblique = np.eye(4)
    oblique[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    image = nib.Nifti1Image(phantom.image * 800, oblique @ phantom.anatomy.affine)
    axes = nib.orientations.axcodes2ornt("PSL")
    image = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), axes))
    image.header.set_xyzt_units("mm", "sec")
    path = tmp_path_factory.mktemp("scan") / "patient.nii.gz"
    nib.save(image, path)
    return path


@pytest.fixture
def serve():
    """`serve(folder)` gives the address of a plain web server for that folder, on the loopback, until the test ends."""
    servers = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    def start(folder) -> str:
        handler = functools.partial(Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def skeletons(tmp_path_factory):
    """`skeletons(task)` gives what `new_bundle` writes, with untrained weights, once per task and session.

    Whoever adds a bundle starts inside the contract.
    """
    import torch

    from synthzoo.bundle.compose import load_config
    from synthzoo.bundle.new import new_bundle
    from synthzoo.bundle.skeletons import SKELETONS

    @functools.cache
    def make(task: str) -> Path:
        where = "echo_us" if SKELETONS[task].source == "videos" else "brain_mr"
        bundle = new_bundle(f"{where}_{task}_skeleton", task, tmp_path_factory.mktemp("skeleton"))
        torch.manual_seed(0)
        torch.save(load_config(bundle).get_parsed_content("network_def").state_dict(), bundle / "models" / "model.pt")
        return bundle

    return make


@pytest.fixture(scope="session")
def skeleton(skeletons) -> Path:
    """The skeleton that makes images from nothing."""
    return skeletons("synthesis")


@pytest.fixture(scope="session")
def bundle(request) -> Path:
    """One bundle after the other; test modules parametrise it with `BUNDLE_NAMES`."""
    if request.param in SKELETON_NAMES:
        return request.getfixturevalue("skeletons")(SKELETON_NAMES[request.param])
    return ROOT / "bundles" / request.param


@pytest.fixture(scope="session")
def quick_run(phantom_nifti, tmp_path_factory):
    """`quick_run(bundle)` gives the folder that one quick inference wrote; it runs once per bundle and session."""
    from synthzoo.bundle.compose import run_bundle

    @functools.cache
    def run(bundle: Path) -> Path:
        folder = tmp_path_factory.mktemp(bundle.name)
        run_bundle(bundle, overrides=quick(bundle, phantom_nifti, folder))
        return folder

    return run
