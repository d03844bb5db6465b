"""What the fuzz tests share: the child that reads, what it may say, and values that headers do not expect.

The files are made by `hypothesis` from a seed of its own, so that each run sees the same ones.
"""

from __future__ import annotations

import json
import os
import selectors
import struct
import subprocess
import sys
import unicodedata
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

LONGEST_S = 10.0  # of CPU for one file
MOST_BYTES = 1400 << 20  # beside Python, torch and MONAI, which take 600 MB: 2 GB in all
PATIENCE_S = 120
SLOW_EXAMPLES = 20  # times as many in the slow suite


def examples(count: int) -> settings:
    """Settings for so many files, the same ones each time."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        phases=[Phase.generate, Phase.shrink],
    )


class Worker:
    """`tests/fuzz_worker.py` as a process, started again when it dies."""

    def __init__(self, folder: Path):
        self.folder, self.process = folder, None

    def start(self) -> None:
        root = Path(__file__).parent
        env = {**os.environ, "PYTHONPATH": f"{root.parent}{os.pathsep}{root}", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(root / "fuzz_worker.py")]
        pipe = subprocess.PIPE
        with open(self.folder / "worker.log", "a") as log:
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, env=env, text=True)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ask(self, target: str, path: Path, **options) -> dict:
        """What came of reading a file."""
        try:
            return self._ask(target, path, options)
        except BaseException:  # whatever it says later belongs to another file
            self.stop()
            raise

    def _ask(self, target: str, path: Path, options: dict) -> dict:
        if self.process is None:
            self.start()
        self.process.stdin.write(json.dumps({"target": target, "path": str(path), **options}) + "\n")
        self.process.stdin.flush()
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if waiting.select(PATIENCE_S) else ""
        if line:
            return json.loads(line)
        state = self.process.poll()
        self.stop()
        return {"kind": "no answer", "text": f"exit code {state}", "seconds": 0, "bytes": 0}

    def expect(self, target: str, path: Path, **options) -> str:
        """The sentence that refuses a file, or "" for a right answer; anything else fails."""
        said = self.ask(target, path, **options)
        assert said["kind"] in ("sentence", "right"), f"{said['kind']}: {said['text']}"
        assert said["seconds"] <= LONGEST_S, said
        assert said["bytes"] <= MOST_BYTES, said
        if said["kind"] == "right":
            return ""
        expect_sentence(said["text"], path.name)
        return said["text"]


def expect_sentence(text: str, name: str) -> None:
    """One sentence of printable text that names the file and is no longer than a person reads."""
    assert name in text, text
    assert len(text) <= 600, text
    assert all(unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp") for letter in text), repr(text)
    assert "Traceback" not in text and text.rstrip().endswith((".", ")")), text


def odd_integers(bits: int, signed: bool) -> st.SearchStrategy[int]:
    """Integers of a header's field, the ends of its range above all."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    ends = [low, low + 1, -1, 0, 1, 2, 3, 7, 8, 16, 255, 256, 32767, 32768, 65535, 65536, high - 1, high]
    ends = sorted({value for value in ends if low <= value <= high})
    return st.sampled_from(ends) | st.integers(low, high)


ODD_FLOATS = st.sampled_from(
    [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        1.0000002,
        1e-45,
        1e-30,
        1e30,
        3.4e38,
        -3.4e38,
        float("inf"),
        -float("inf"),
        float("nan"),
    ]
) | st.floats(width=32)


def odd_value(kind: str) -> st.SearchStrategy[bytes]:
    """Bytes of a field by its letter in `struct`, little-endian."""
    if kind in "fd":
        return ODD_FLOATS.map(lambda value: struct.pack("<" + kind, value))
    signed = kind in "bhiq"
    bits = 8 * struct.calcsize(kind)
    return odd_integers(bits, signed).map(lambda value: struct.pack("<" + kind, value))


def patched(data: bytes, changes) -> bytes:
    """The bytes with some replaced, each change (place, bytes); what lies behind the end is left out."""
    raw = bytearray(data)
    for at, new in changes:
        new = new[: max(0, len(raw) - at)]
        raw[at : at + len(new)] = new
    return bytes(raw)
