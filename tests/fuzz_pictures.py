"""PNG and JPEG files whose headers hold anything, for the fuzz tests."""

import struct
import zlib
from io import BytesIO

import numpy as np
from fuzzing import odd_value, patched
from hypothesis import strategies as st
from PIL import Image

HEIGHT, WIDTH = 12, 10
TEXT = b"XML:com.adobe.xmp\0"
ZEROS = zlib.compress(bytes(3_000_000))
MARK = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description/></rdf:RDF>'


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(head: bytes, data: bytes, before=(), after=()) -> bytes:
    """A PNG with this header (width, height, bit depth, colour, compression, filter, interlace), and more chunks."""
    parts = [chunk(b"IHDR", head), *before, chunk(b"IDAT", data), *after, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@st.composite
def pngs(draw):
    depth, colour = draw(st.sampled_from([(8, 0), (8, 0), (16, 0), (8, 2), (8, 3), (8, 6), (8, 4), (1, 0), (16, 2)]))
    numbers = [WIDTH, HEIGHT, depth, colour, 0, 0, 0]
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = (WIDTH * bits + 7) // 8
    lines = np.random.default_rng(0).integers(0, 256, (HEIGHT, row + 1)).astype("u1")
    lines[:, 0] = 0
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, 6))
        ends = [0, 1, 2, 5, 8192, 8193, 30000, 65535, 2**31 - 1, 2**32 - 1]
        numbers[place] = draw(st.sampled_from(ends) | st.integers(0, 40)) if place < 2 else draw(st.integers(0, 18))
    head = struct.pack(">2I5B", *numbers)
    more = {
        "palette": chunk(b"PLTE", bytes(range(256)) * 3),
        "short palette": chunk(b"PLTE", b"\1\2\3"),
        "transparent": chunk(b"tRNS", draw(st.binary(max_size=6))),
        "orientation": chunk(b"eXIf", b"Exif\0\0II*\0" + draw(st.binary(max_size=24))),
        "profile": chunk(b"iCCP", b"icc\0\0" + ZEROS),
        "text": chunk(b"zTXt", b"a\0\0" + ZEROS),
        "mark": chunk(b"iTXt", TEXT + bytes([1, 0, 0, 0]) + zlib.compress(MARK)),
        "odd mark": chunk(b"iTXt", TEXT + draw(st.binary(max_size=20))),
        "animation": chunk(b"acTL", struct.pack(">2I", draw(st.integers(0, 3)), 0)),
        "unknown": chunk(draw(st.binary(min_size=4, max_size=4)), b"xyz"),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(more)), max_size=2))
    if colour == 3:
        chosen.insert(0, "palette")
    data = zlib.compress(lines.tobytes())
    return png(
        head,
        data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 7)) == 7 else data,
        [more[name] for name in chosen],
    )


@st.composite
def jpegs(draw):
    buffer = BytesIO()
    mode = draw(st.sampled_from(["L", "L", "RGB", "CMYK"]))
    x = np.add.outer(np.linspace(0, 99, HEIGHT), np.linspace(0, 99, WIDTH)).astype("u1")
    Image.fromarray(x).convert(mode).save(buffer, "JPEG", progressive=draw(st.booleans()))
    data, changes = buffer.getvalue(), []
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    for _ in range(draw(st.integers(0, 3))):
        how = draw(st.sampled_from(["size", "frame", "byte", "marker"]))
        if how == "size":
            changes.append((frame + 5 + 2 * draw(st.integers(0, 1)), draw(odd_value("H"))))
        elif how == "frame":
            changes.append((frame + draw(st.integers(0, 18)), draw(st.binary(min_size=1, max_size=2))))
        elif how == "marker":
            changes.append(
                (data.find(b"\xff", draw(st.integers(0, len(data) - 3))), draw(st.binary(min_size=2, max_size=4)))
            )
        else:
            changes.append((draw(st.integers(2, len(data) - 1)), draw(st.binary(min_size=1, max_size=2))))
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0" + draw(st.binary(min_size=4, max_size=12))
    data = patched(data, changes)
    if draw(st.integers(0, 4)) == 4:
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    return data


@st.composite
def pictures(draw):
    """A file's name and its bytes."""
    name = draw(st.sampled_from(["a.png", "a.jpg", "a.dat"]))
    data = draw(jpegs() if name == "a.jpg" else pngs())
    if draw(st.integers(0, 9)) == 9:
        data = data[: draw(st.integers(0, len(data)))]
    return name, data, draw(st.sampled_from([1, 1, 3]))


def one(worker, tmp_path, name, data, channels):
    path = tmp_path / name
    path.write_bytes(data)
    return worker.expect("image", path, channels=channels)
