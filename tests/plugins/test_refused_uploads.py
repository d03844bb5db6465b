"""What a server is sent that unpacks to much: refused with a sentence, soon, and nothing of it stays in memory."""

from __future__ import annotations

import gzip
import struct
import threading
import time
import zlib

import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import nibabel as nib
import numpy as np
import psutil
import requests
from asking import ask, refused

MAP = "phantom_mr_anomaly_map_tiny"
MB = 1_000_000
MOST_VOXELS = 20_000_000  # SYNTHZOO_MAX_VOXELS of the server
GROWTH_MB, PEAK_MB, LONGEST_S = 100, 450, 15


def volume_of_zeros(voxels: int, follow: int = 0) -> bytes:
    """A volume of one value, which holds no anatomy, and further bytes behind it; packed, it is small."""
    side = 250
    values = np.zeros((side, side, voxels // side**2), np.uint8)
    return gzip.compress(nib.Nifti1Image(values, np.eye(4)).to_bytes() + bytes(follow), 1)


def header_alone(**changes) -> bytes:
    """A header that claims something else, and zeros behind it."""
    raw = bytearray(nib.Nifti1Image(np.zeros((8, 8, 8), np.uint8), np.eye(4)).to_bytes()[:352])
    for at, content in changes.values():
        raw[at : at + len(content)] = content
    return gzip.compress(bytes(raw) + bytes(400 * MB), 1)


def picture(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(200 * MB), 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def memory(server) -> float:
    return psutil.Process(server.process.pid).memory_info().rss / MB


@pytest.fixture(scope="module")
def bombs() -> dict[str, tuple[str, bytes]]:
    """Name and content of each, none larger than the server takes."""
    size = struct.pack("<8h", 3, 1024, 1024, 1000, 1, 1, 1, 1)
    made = {
        "constant": ("a.nii.gz", volume_of_zeros(MOST_VOXELS)),
        "too many voxels": ("a.nii.gz", header_alone(size=(40, size))),
        "begins late": ("a.nii.gz", header_alone(offset=(108, struct.pack("<f", 3e11)))),
        "goes on": ("a.nii.gz", volume_of_zeros(MOST_VOXELS, 400 * MB)),
        "members": ("a.nii.gz", gzip.compress(bytes(300)) + gzip.compress(b"", mtime=0) * 300_000),
        "picture": ("a.png", picture(60_000, 60_000)),
    }
    assert max(len(content) for _, content in made.values()) < 8 * MB
    return made


def test_ten_refused_uploads_leave_the_memory_as_it_was(busy, bombs):
    name, content = bombs["constant"]
    send = lambda: refused(ask(busy, MAP, files={"file": (name, content)}))  # noqa: E731
    for _ in range(4):  # every thread that reads files keeps some memory of its own, once
        send()
    before, peaks, done = memory(busy), [], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peaks.append(memory(busy))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(10):
            began = time.monotonic()
            assert "constant" in send()
            assert time.monotonic() - began < LONGEST_S
    finally:
        done.set()
        watcher.join()
    assert memory(busy) - before < GROWTH_MB
    assert max(peaks) - before < PEAK_MB, "20 million voxels are 80 MB as float32"


@pytest.mark.parametrize("kind", ["too many voxels", "begins late", "goes on", "members", "picture"])
def test_a_bomb_is_refused_soon_by_every_route_that_takes_a_file(busy, bombs, kind):
    file, before = bombs[kind], memory(busy)
    for method, path, field in (
        ("POST", f"/infer/{MAP}", "file"),
        ("POST", f"/zoo/run/{MAP}", "file"),
        ("PUT", "/datastore/image?image=bomb", "file"),
        ("PUT", "/datastore/label?image=scan_0&tag=bomb", "label"),
        ("PUT", "/session/", "files"),
    ):
        began = time.monotonic()
        answer = requests.request(method, busy.url + path, files={field: file}, data={"params": "{}"}, timeout=120)
        if kind == "goes on" and "label" in path:
            assert answer.status_code == 200, "a label map may hold one value, and what lies behind it is not read"
        else:
            refused(answer)
        assert time.monotonic() - began < LONGEST_S
    assert "bomb" not in busy.get("/datastore/?output=all")["objects"]
    assert memory(busy) - before < GROWTH_MB
