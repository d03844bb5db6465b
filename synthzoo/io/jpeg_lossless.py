"""JPEG Lossless (process 14), which most hospitals compress radiographs with, decoded without a library.

Huffman coded differences d from a predictor of neighbours (ITU-T T.81, annex H), each a code of a category s and s
further bits. Where codes begin is only known from those before, so lengths are looked up for every bit at once, and a
plain loop then goes from code to code. Predictors 1 (left), 2 (above) and 4 (left + above - corner) are sums:

    x = cumsum(d) along rows;  along columns;  along both
"""

from __future__ import annotations

import struct

import numpy as np

from synthzoo.errors import UserError

SOF3, DHT, SOS, DRI, EOI, SOI = 0xC3, 0xC4, 0xDA, 0xDD, 0xD9, 0xD8
PREDICTORS = (1, 2, 4)
CHUNK = 1 << 22  # bits that are looked up at a time
LONGEST = 16 + 16  # bits of a code and its difference


def decode_lossless(data: bytes, where: str) -> np.ndarray:
    """One grey frame of JPEG Lossless, uint16 (H, W).

    Args:
        data: from the first marker to the last.
        where: what it is, for the sentence.

    Raises:
        UserError: damaged or cut short; in colour; a predictor that is not among 1, 2 and 4.
    """
    try:
        return _decoded(data, where)
    except UserError:
        raise
    except (IndexError, ValueError, struct.error):
        raise UserError(f"{where} is a damaged JPEG Lossless of {len(data)} bytes: copy it again.") from None


def _decoded(data: bytes, where: str) -> np.ndarray:
    at, size, table, interval = 2, None, None, 0
    if data[:2] != bytes((0xFF, SOI)):
        raise ValueError
    while True:
        if data[at] != 0xFF:
            raise ValueError
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        part = data[at + 4 : at + 2 + length]
        if marker == 0xFF:
            at += 1
            continue
        if length < 2 or len(part) != length - 2:
            raise ValueError
        if marker == SOF3:
            bits, height, width, channels = struct.unpack(">BHHB", part[:6])
            size = (height, width)
            if height * width > 8 * len(data):  # a pixel takes a bit at least
                raise ValueError
            if channels != 1 or not 2 <= bits <= 16 or 0 in size:
                raise UserError(f"{where} is JPEG Lossless of {channels} channels: convert it to grey.")
        elif marker == DHT:
            table = _lengths(part)
        elif marker == DRI:
            interval = int.from_bytes(part[:2], "big")
        elif marker == SOS:
            predictor, shift = part[3], part[5] & 15
            break
        at += 2 + length
    if size is None or table is None or shift >= bits:
        raise ValueError
    if predictor not in PREDICTORS or (interval and interval % width):
        raise UserError(
            f"{where} is JPEG Lossless with predictor {predictor}, but {PREDICTORS} are decoded here: convert it, for "
            "example with gdcmconv --raw IN OUT."
        )
    segments = _segments(data[at + 2 + length :])
    lines = interval // width if interval else height
    if len(segments) < -(-height // lines):
        raise ValueError
    parts = []
    for number, first in enumerate(range(0, height, lines)):
        rows = min(lines, height - first)
        found = _differences(segments[number], table, rows * width).reshape(rows, width)
        parts.append(_summed(found, predictor, 1 << (bits - shift - 1)))
    return (np.concatenate(parts) << shift).astype(np.uint16)


def _lengths(part: bytes) -> np.ndarray:
    """Category + 256 * bits of its code for every next 16 bits, int32 (65536,); 0 where no code begins so."""
    counts, values = part[1:17], part[17:]
    if len(values) < sum(counts) or not sum(counts):
        raise ValueError
    table = np.zeros(1 << 16, np.int32)
    code = place = 0
    for length, count in enumerate(counts, start=1):
        for value in values[place : place + count]:
            start = code << (16 - length)
            if value > 16 or start + (1 << (16 - length)) > len(table):
                raise ValueError
            table[start : start + (1 << (16 - length))] = value + 256 * length
            code += 1
        place += count
        code <<= 1
    return table


def _segments(data: bytes) -> list[bytes]:
    """What lies between restart markers, without the bytes that are stuffed behind 0xFF."""
    raw = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero((raw[:-1] == 0xFF) & (raw[1:] != 0))
    found, start = [], 0
    for mark in marks:
        if mark < start or raw[mark + 1] == 0xFF:
            continue
        found.append(data[start:mark].replace(b"\xff\x00", b"\xff"))
        start = int(mark) + 2
        if not 0xD0 <= raw[mark + 1] <= 0xD7:
            return found
    raise ValueError  # no end


def _differences(data: bytes, table: np.ndarray, count: int) -> np.ndarray:
    """The first `count` differences, int64."""
    padded = np.frombuffer(data + bytes(8), np.uint8).astype(np.uint64)
    bits = 8 * len(data)
    words = np.zeros(len(data) + 1, np.uint64)  # 40 bits from every byte on
    for step in range(5):
        words |= padded[step : step + len(words)] << np.uint64(8 * (4 - step))
    found = np.zeros(count, np.int64)
    done = position = 0
    while done < count:
        if position >= bits:
            raise ValueError
        # Lengths and differences of codes that would begin at each bit of a stretch.
        last = min(position + CHUNK, bits)
        at = np.arange(position, last)
        word, shift = words[at >> 3], (at & 7).astype(np.uint64)
        entry = table[((word >> (np.uint64(24) - shift)) & np.uint64(0xFFFF)).astype(np.int64)]
        size, code = entry & 255, entry >> 8
        used = np.where(size == 16, 0, size)
        step = np.where(code > 0, code + used, 0)
        jumps, here, places = step.tolist(), 0, []
        end = last - position
        while here < end and len(places) < count - done:
            places.append(here)
            if not jumps[here]:
                raise ValueError
            here += jumps[here]
        chosen = np.array(places, np.int64)
        start = at[chosen] + code[chosen]
        if int(start[-1] + used[chosen][-1]) > bits:
            raise ValueError
        found[done : done + len(chosen)] = _values(words, start, size[chosen].astype(np.int64))
        done += len(chosen)
        position += here
    return found


def _values(words: np.ndarray, start: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Differences from the bits behind their codes; a leading 0 makes one negative, category 16 is 32768."""
    word, shift = words[start >> 3], (start & 7).astype(np.uint64)
    used = np.where(size == 16, 0, size).astype(np.uint64)
    extra = ((word >> (np.uint64(40) - shift - used)) & ((np.uint64(1) << used) - np.uint64(1))).astype(np.int64)
    half = np.where(size > 0, 1 << np.maximum(size - 1, 0), 0)
    signed = np.where(extra < half, extra - (1 << size) + 1, extra)
    return np.where(size == 16, 32768, np.where(size == 0, 0, signed))


def _summed(differences: np.ndarray, predictor: int, start: int) -> np.ndarray:
    """Values of a restart interval from its differences, modulo 65536.

    The first row is predicted from the left and the first column from above, whatever the predictor.
    """
    differences[0, 0] += start
    if predictor == 1:
        differences[:, 0] = np.cumsum(differences[:, 0])
        summed = np.cumsum(differences, 1)
    elif predictor == 2:
        differences[0] = np.cumsum(differences[0])
        summed = np.cumsum(differences, 0)
    else:
        summed = np.cumsum(np.cumsum(differences, 0), 1)
    return summed & 0xFFFF
