"""NRRD files whose headers hold anything, for the fuzz tests."""

import gzip

import numpy as np
from hypothesis import strategies as st

LINES = {
    "type": ["unsigned char", "uint8", "unsigned short", "short", "float", "block", ""],
    "dimension": ["4", "3", "-1", "999999999999"],
    "space": ["left-posterior-superior", "scanner-xyz", "nowhere"],
    "sizes": [
        "3 6 4 1",
        "4 6 4 1",
        "3 6 4",
        "3 8192 8192 1",
        "3 9999999999999999999 1 1",
        "3 6 -4 1",
        "0 0 0 0",
        "a b",
    ],
    "kinds": ["RGB-color domain domain domain", "domain domain domain domain", "vector space space space", "none"],
    "space directions": [
        "none (0.5,0,0) (0,0.2,0) (0,0,1)",
        "none (nan,0,0) (0,inf,0) (0,0,1)",
        "none (1) (",
        "()()()",
    ],
    "spacings": ["nan 1 1 1", "nan 1e999 -1 0", "x"],
    "endian": ["little", "big", "middle"],
    "encoding": ["raw", "gzip", "ascii", "bzip2", ""],
    "data file": ["/etc/hostname", "LIST"],
    "byte skip": ["-1", "5"],
}
NEEDED = ("type", "sizes", "kinds", "encoding")


@st.composite
def nrrds(draw):
    """A file's name and its bytes."""
    names = [name for name in LINES if name in NEEDED or draw(st.integers(0, 3)) == 3]
    said = {name: LINES[name][0] if draw(st.integers(0, 3)) else draw(st.sampled_from(LINES[name])) for name in names}
    lines = [f"{name}: {value}" for name, value in said.items()]
    lines += draw(st.lists(st.sampled_from(["# a comment", "key:=value", "no colon", ":", "\xff: \x00"]), max_size=2))
    head = "\n".join([f"NRRD000{draw(st.integers(0, 9))}", *draw(st.permutations(lines)), "", ""]).encode("latin-1")
    data = np.random.default_rng(0).integers(0, 256, 300, dtype=np.uint8).tobytes()
    data = bytes(200_000_000) if draw(st.integers(0, 30)) == 30 else data
    raw = head + (gzip.compress(data, 1) if draw(st.booleans()) else data[:1000])
    if draw(st.integers(0, 5)) == 5:
        raw = raw[: draw(st.integers(0, len(raw)))]
    return draw(st.sampled_from(["a.nrrd", "a.nrrd", "a.png", "a.dat"])), raw, draw(st.sampled_from([1, 3, 3]))
