"""Clients that ask a server for everything at once and know what the right answer is."""

from __future__ import annotations

import collections
import hashlib
import io
import json
import random
import threading
import time
import zipfile
from contextlib import suppress

import nibabel as nib
import numpy as np
import requests

SYNTHESIS, MAP = "brain_mr_synthesis_ldm", "phantom_mr_anomaly_map_tiny"
SEEDS, TIMEOUT_S = range(6), 120
ASKED = ("generate", "map", "run", "upload", "label", "list", "jobs", "cancel", "hostile")
WEIGHTS = (3, 3, 1, 2, 4, 3, 2, 1, 2)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def volume(*key: object) -> bytes:
    """A small volume that no other key has."""
    voxels = np.random.default_rng(list(repr(key).encode())).integers(0, 9, (6, 7, 8), np.int16)
    voxels[0, 0, 0] = 100
    return nib.Nifti1Image(voxels, np.eye(4)).to_bytes()


class Soak:
    """What the clients share: the server, the right answers, and what came instead.

    Args:
        server: see `conftest.Server`.
        scans: ids of images that are there from the beginning.
    """

    def __init__(self, server, scans: list[str]):
        self.server, self.scans = server, scans
        self.ended = threading.Event()
        self.down, self.full = threading.Event(), threading.Event()  # faults that are made on purpose
        self.lock = threading.Lock()
        self.seconds: dict[str, list[float]] = collections.defaultdict(list)
        self.counts: collections.Counter = collections.Counter()
        self.faults: list[str] = []
        self.stored: dict[str, set[str]] = {}  # address -> digests of which one has to be there
        self.right: dict[object, str] = {}

    def learn(self) -> None:
        """The right answers, one request at a time before the crowd comes."""
        for seed in SEEDS:
            self.right[SYNTHESIS, seed] = digest(self.ask("learn", "POST", *self.generation(seed)).content)
            self.right["run", seed] = members(self.ask("learn", "POST", *self.pair(seed)).content)
        for scan in self.scans:
            self.right[MAP, scan] = digest(self.ask("learn", "POST", *self.mapping(scan)).content)

    @staticmethod
    def generation(seed: int, **more) -> tuple[str, dict]:
        params = {"seed": seed, "steps": 2, "store": False, **more}
        return f"/infer/{SYNTHESIS}?output=image", {"data": {"params": json.dumps(params)}}

    @staticmethod
    def pair(seed: int) -> tuple[str, dict]:
        params = {"seed": seed, "steps": 2, "store": False, "num_samples": 2}
        return f"/zoo/run/{SYNTHESIS}", {"data": {"params": json.dumps(params)}}

    @staticmethod
    def mapping(scan: str) -> tuple[str, dict]:
        params = {"threshold": 0.5, "save_label": False}
        return f"/infer/{MAP}?image={scan}&output=image", {"data": {"params": json.dumps(params)}}

    def ask(self, kind: str, method: str, path: str, more: dict | None = None, wanted=(200,)):
        """An answer with a wanted status; None where a fault that was made on purpose took it."""
        while not self.ended.is_set():
            began, hurt = time.monotonic(), self.down.is_set() or self.full.is_set()
            try:
                answer = requests.request(method, self.server.url + path, timeout=TIMEOUT_S, **(more or {}))
            except requests.RequestException as error:
                if not (hurt or self.down.is_set() or self.ended.is_set()):
                    self.fault(kind, f"{method} {path}: {type(error).__name__}")
                self.count(kind, "no connection")
                time.sleep(2)
                return None
            if answer.status_code == 429:
                self.count(kind, "429, asked again")
                time.sleep(min(float(answer.headers.get("Retry-After", 1)), 2.0) * random.uniform(0.5, 1.0))
                continue
            if answer.status_code in wanted:
                with self.lock:
                    self.seconds[kind].append(time.monotonic() - began)
                return answer
            if answer.status_code == 507 and (hurt or self.full.is_set()):
                self.count(kind, "507, disk full")
                return None
            self.fault(kind, f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            return None
        return None

    def count(self, kind: str, what: str) -> None:
        with self.lock:
            self.counts[kind, what] += 1

    def fault(self, kind: str, what: str) -> None:
        with self.lock:
            self.faults.append(f"{kind}: {what}")

    def expect(self, kind: str, answer, right: str) -> None:
        if answer is not None and digest(answer.content) != right:
            self.fault(kind, f"{answer.request.method} {answer.request.path_url}: other bytes than alone")

    def store(self, kind: str, path: str, field: str, name: str, data: bytes, where: str) -> bool:
        """Send a file; once it is acknowledged it has to be at the address `where`, and until then may be."""
        with self.lock:
            old = self.stored.get(where, {""})
        answer = self.ask(kind, "PUT", path, {"files": {field: (name, data)}})
        with self.lock:
            self.stored[where] = {digest(data)} if answer is not None else old | {digest(data)}
        return answer is not None

    # --- a client -------------------------------------------------------------------------------------------------

    def client(self, number: int) -> None:
        """Ask until the end, for what the client's own dice say."""
        dice, own = random.Random(number), []
        while not self.ended.is_set():
            kind = dice.choices(ASKED, WEIGHTS)[0]
            try:
                getattr(self, f"ask_{kind}")(kind, number, dice, own)
            except Exception as error:
                self.fault(kind, f"{type(error).__name__}: {error}")

    def ask_generate(self, kind, number, dice, own) -> None:
        seed = dice.choice(SEEDS)
        self.expect(kind, self.ask(kind, "POST", *self.generation(seed)), self.right[SYNTHESIS, seed])

    def ask_run(self, kind, number, dice, own) -> None:
        seed = dice.choice(SEEDS)
        answer = self.ask(kind, "POST", *self.pair(seed))
        if answer is not None and members(answer.content) != self.right["run", seed]:
            self.fault(kind, f"seed {seed}: other members than alone")

    def ask_map(self, kind, number, dice, own) -> None:
        scan = dice.choice(self.scans)
        self.expect(kind, self.ask(kind, "POST", *self.mapping(scan)), self.right[MAP, scan])

    def ask_upload(self, kind, number, dice, own) -> None:
        name = f"own-{number}-{len(own)}"
        where = f"/datastore/image?image={name}"
        if self.store(kind, where, "file", f"{name}.nii", volume(number, len(own)), where):
            own.append(name)

    def ask_label(self, kind, number, dice, own) -> None:
        if not own:
            return
        image, tag = dice.choice(own), dice.choice(("final", "second"))
        path, data = f"image={image}&tag={tag}", volume(number, image, tag, dice.random())
        where = f"/datastore/label?label={image}&tag={tag}"
        self.store(kind, f"/datastore/label?{path}", "label", f"{image}.nii", data, where)
        self.look(kind, where)

    def look(self, kind: str, where: str) -> None:
        """Download what this client stored."""
        with self.lock:
            right = self.stored[where]
        answer = self.ask(kind, "GET", where, wanted=(200, 404) if "" in right else (200,))
        held = "" if answer is None or answer.status_code == 404 else digest(answer.content)
        if answer is not None and held not in right:
            self.fault(kind, f"GET {where}: not what was stored")

    def ask_list(self, kind, number, dice, own) -> None:
        answer = self.ask(kind, "GET", "/datastore/?output=all")
        lost = set(own) - set(answer.json()["objects"]) if answer is not None else set()
        if lost:
            self.fault(kind, f"not listed: {sorted(lost)}")
        if own:
            self.look(kind, f"/datastore/image?image={dice.choice(own)}")

    def ask_jobs(self, kind, number, dice, own) -> None:
        answer = self.ask(kind, "GET", "/zoo/jobs")
        if answer is not None and not all({"id", "state"} <= set(job) for job in answer.json()):
            self.fault(kind, answer.text[:200])

    def ask_cancel(self, kind, number, dice, own) -> None:
        job = f"soak-{number}-{dice.randrange(10**9)}"
        path, more = self.generation(1, steps=40, job=job)
        thread = threading.Thread(target=self.ask, args=(kind, "POST", path, more, (200, 409)))
        thread.start()
        time.sleep(dice.uniform(0.1, 1.5))
        self.ask(kind, "DELETE", f"/zoo/jobs/{job}", wanted=(200, 404))
        thread.join()

    def ask_hostile(self, kind, number, dice, own) -> None:
        good = volume("hostile")
        method, path, more = dice.choice(
            [
                ("PUT", "/datastore/image?image=bad", {"files": {"file": ("a.nii.gz", good[:300])}}),
                ("PUT", "/datastore/image?image=../../x", {"files": {"file": ("a.nii", good)}}),
                ("PUT", "/datastore/label?image=no-such&tag=final", {"files": {"label": ("a.nii", good)}}),
                ("POST", f"/infer/{SYNTHESIS}", {"data": {"params": '{"age": NaN}'}}),
                ("POST", f"/infer/{SYNTHESIS}", {"data": {"params": "[" * 5000}}),
                ("POST", f"/infer/{SYNTHESIS}", {"data": {"params": '{"steps": 1e9}'}}),
                ("POST", f"/infer/{MAP}?image=../../etc/passwd", {"data": {"params": "{}"}}),
                ("POST", f"/infer/{MAP}", {"files": {"file": ("a.nii", volume("x")[:200])}, "data": {"params": "{}"}}),
                ("GET", "/datastore/image?image=no-such", {}),
                ("GET", "/no/such/route", {}),
            ]
        )
        answer = self.ask(kind, method, path, more, wanted=(400, 404, 422))
        if answer is not None and "Traceback" in answer.text:
            self.fault(kind, answer.text[:300])

    # --- afterwards -----------------------------------------------------------------------------------------------

    def expect_all_stored(self) -> int:
        """Look at everything that was ever stored; gives how many files had to be there."""
        for where in self.stored:
            self.look("afterwards", where)
        return sum("" not in right for right in self.stored.values())

    def figures(self) -> str:
        """Answers by kind with their seconds, and what was asked again."""
        lines = [f"{'asked for':12} {'answers':>8} {'p50 s':>8} {'p95 s':>8}  otherwise"]
        for kind in sorted({*self.seconds, *(kind for kind, _ in self.counts)}):
            taken = self.seconds[kind] or [float("nan")]
            other = ", ".join(f"{count} {what}" for (name, what), count in sorted(self.counts.items()) if name == kind)
            p50, p95 = np.percentile(taken, [50, 95])
            lines.append(f"{kind:12} {len(self.seconds[kind]):8} {p50:8.2f} {p95:8.2f}  {other}")
        return "\n".join(lines)


def members(data: bytes) -> str:
    """The digest of the images in a zip; the answer beside them says how long it took."""
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".nii.gz"))
        return digest(json.dumps([[name, digest(archive.read(name))] for name in names]).encode())
    return ""
