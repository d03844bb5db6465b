"""Tables and sidecars of any bytes, for the fuzz tests."""

import gzip
import json
import shutil

from hypothesis import strategies as st

CELLS = ("50", "20.0", "1e400", "nan", "n/a", "", "F", "m", "9" * 30, "-1", "$x", "@a", '"', "a\nb", "\u2028", "\ud7ff")
CELLS += ("0x10", "5_0", " 50 ", "x" * 200_000, "sub-1", "../x", "\r", "\x00", "٣", "1,5", "True")
NAMES = ("age", "count", "sex", "seed", "participant_id", "id", "split", "measured_x", "other", "", "Age")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(CELLS)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner))
KEYS = (
    "files",
    "bundle",
    "version",
    "seed",
    "requested",
    "sampler",
    "output_format",
    "Synthetic",
    "DerivedBy",
    "input",
)


@st.composite
def tables(draw):
    """Which reader, and the bytes of a table."""
    which = draw(st.sampled_from(["requests", "participants", "cells"]))
    if draw(st.integers(0, 7)) == 7:
        return which, draw(st.binary(max_size=60))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=draw(st.booleans())))
    between = draw(st.sampled_from([",", "\t", ";"]))
    rows = [names]
    for _ in range(draw(st.integers(0, 3))):
        count = len(names) + draw(st.sampled_from([0, 0, 0, 0, 1, -1]))
        rows.append([draw(st.sampled_from(CELLS)) for _ in range(max(count, 0))])
    text = draw(st.sampled_from(["\n", "\r\n", "\r"])).join(between.join(row) for row in rows)
    data = text.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16"])), "surrogatepass")
    if draw(st.integers(0, 7)) == 7:
        data = gzip.compress(data, mtime=0)[: draw(st.sampled_from([None, -5]))]
    return which, data


@st.composite
def sidecars(draw):
    """The bytes of a sidecar: JSON of any values under our keys, or no JSON."""
    how = draw(st.sampled_from(["ours", "ours", "ours", "any", "deep", "bytes"]))
    if how == "deep":
        return b"[" * 100_000 if draw(st.booleans()) else b'{"files":' * 100_000
    if how == "bytes":
        return draw(st.binary(max_size=40))
    held = VALUES if how == "any" else st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5)
    return json.dumps(draw(held)).encode()


def one(worker, folder, which, data):
    path = folder / "table.csv"
    path.write_bytes(data)
    return worker.expect("rows", path, which=which)


def one_sidecar(worker, folder, data):
    place = folder / "set"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "record.json").write_bytes(data)
    return worker.expect("sidecar", place / "record.json")
