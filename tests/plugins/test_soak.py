"""Thirty-two clients for three minutes, a full disk and a kill among them: no wrong, mixed or lost answer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import resource

import psutil
import requests
from conftest import Server
from soaking import Soak

CLIENTS, LENGTH_S = 32, 180
FULL_AT_S, FULL_S, KILLED_AT_S = 40, 15, 90
DISK_MB = 200


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own, or None where nobody may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(place)]
    mounted = sys.platform == "linux" and subprocess.run(mount, capture_output=True).returncode == 0
    yield place if mounted else None
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def full(server: Server, disk: Path | None):
    """The disk is full; where there is none of our own, no file of the server may grow beyond a few bytes."""
    if disk is None:
        before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (64, before[1]))
        yield
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
        return
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        while True:
            os.write(file.fileno(), bytes(1 << 12))
    yield
    filler.unlink()


def watch(server: Server, highest: list[int], ended: threading.Event) -> None:
    """Keep the server's highest memory in bytes."""
    while not ended.wait(1):
        with suppress(psutil.Error, AttributeError):
            highest.append(psutil.Process(server.process.pid).memory_info().rss)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_answer_of_a_crowd_is_wrong_mixed_or_lost_over_a_full_disk_and_a_kill(zoo, scans, disk, tmp_path):
    root = disk or tmp_path
    studies, temporary = root / "studies", root / "tmp"
    studies.mkdir()
    temporary.mkdir()
    for scan in scans:
        shutil.copy(scan, studies)
    server = Server(zoo, studies, tmp_path)
    server.env = {"TMPDIR": str(temporary)}
    server.start()
    soak, memory = Soak(server, [scan.name.removesuffix(".nii.gz") for scan in scans]), []
    try:
        soak.learn()
        threading.Thread(target=watch, args=(server, memory, soak.ended), daemon=True).start()
        crowd = [threading.Thread(target=soak.client, args=(number,), daemon=True) for number in range(CLIENTS)]
        began = time.monotonic()
        for client in crowd:
            client.start()
        time.sleep(FULL_AT_S)
        soak.full.set()
        with full(server, disk):
            time.sleep(FULL_S)
        time.sleep(5)  # what was asked while the disk was full has its answer
        soak.full.clear()
        time.sleep(max(0.0, began + KILLED_AT_S - time.monotonic()))
        soak.down.set()
        before = len(soak.stored)
        server.kill()
        killed = time.monotonic()
        server.start()
        restart_s = time.monotonic() - killed
        time.sleep(2)
        soak.down.clear()
        time.sleep(max(0.0, began + LENGTH_S + restart_s - time.monotonic()))
        soak.ended.set()
        for client in crowd:
            client.join(150)
        assert not any(client.is_alive() for client in crowd), "a client waits for an answer that never comes"
        soak.ended.clear()
        files = soak.expect_all_stored()
        assert requests.get(f"{server.url}/info/", timeout=60).status_code == 200
        left = sorted(path.name for path in [*temporary.glob("synthzoo_*"), *studies.rglob(".tmp*")])
    finally:
        soak.ended.set()
        server.stop()
    where = f"a disk of {DISK_MB} MB" if disk else "RLIMIT_FSIZE"
    print(f"\n{CLIENTS} clients, {LENGTH_S} s; full for {FULL_S} s ({where}); killed, back after {restart_s:.0f} s")
    print(soak.figures())
    print(f"acknowledged files: {files}, {before} asked for before the kill; highest memory {max(memory) >> 20} MB")
    assert not soak.faults, f"{len(soak.faults)} faults:\n" + "\n".join(soak.faults[:20])
    assert not left, left
