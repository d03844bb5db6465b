"""XMP packets, and where PNG, JPEG, GIF and MP4 files carry them; AVI files carry their text in an INFO list.

Every function that writes takes a whole file's bytes and returns them with the text inside; pixels, frames and their
places in the file's index stay as they are. Sources: XMP specification part 3 (storage in files), IPTC photo metadata
standard (DigitalSourceType), RIFF (Multimedia Programming Interface 1.0: INFO list).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from synthzoo.errors import UserError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
XMP = "http://ns.adobe.com/xap/1.0/"
OWN = "https://synthzoo.invalid/mark/1/"  # names only, never fetched
NAMES = {"DigitalSourceType": IPTC, "CreatorTool": XMP, "record": OWN}
PREFIXES = {IPTC: "Iptc4xmpExt", XMP: "xmp", OWN: "synthzoo"}

PNG = b"\x89PNG\r\n\x1a\n"
PNG_KEYWORD = b"XML:com.adobe.xmp\0"
JPEG = b"\xff\xd8\xff"
JPEG_NAME = b"http://ns.adobe.com/xap/1.0/\0"
GIF_NAME = b"\x21\xff\x0bXMP DataXMP"
# Lets a reader that knows no XMP, and takes the text for sub-blocks, find the end from wherever it arrives.
GIF_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"
LONGEST_TEXT = 1 << 24  # bytes, however few they are compressed
MOST_PARTS = 1_000_000  # chunks or boxes of a file that are looked through for a mark
MP4_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


def packet(properties: dict[str, str]) -> bytes:
    """XMP packet of simple properties; their names are the keys of `NAMES`."""
    spaces = "".join(f' xmlns:{prefix}="{space}"' for space, prefix in PREFIXES.items())
    lines = [
        f"<{PREFIXES[NAMES[name]]}:{name}>{escape(text)}</{PREFIXES[NAMES[name]]}:{name}>"
        for name, text in properties.items()
    ]
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about=""{spaces}>{"".join(lines)}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def properties_of(data: bytes) -> dict[str, str]:
    """The known properties of an XMP packet, whether written as elements or as attributes; {} for no XML."""
    found = re.search(rb"<rdf:RDF.*</rdf:RDF>", data, re.S)
    try:
        root = ElementTree.fromstring(found.group() if found else data)
    except ElementTree.ParseError:
        return {}
    tags = {f"{{{space}}}{name}": name for name, space in NAMES.items()}
    held: dict[str, str] = {}
    for element in root.iter():
        held |= {tags[key]: value for key, value in element.attrib.items() if key in tags}
        if element.tag in tags:
            held[tags[element.tag]] = element.get(f"{{{RDF}}}resource") or (element.text or "")
    return held


# --- PNG -------------------------------------------------------------------------------------------------------------


def into_png(data: bytes, text: bytes) -> bytes:
    """PNG bytes with an XMP packet in an iTXt chunk behind the header."""
    body = b"iTXt" + PNG_KEYWORD + b"\0\0\0\0" + text
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]


def from_png(data: bytes) -> bytes | None:
    """The XMP packet of a PNG, or None."""
    at = len(PNG)
    for _ in range(MOST_PARTS):
        if at + 12 > len(data):
            break
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if kind == b"iTXt" and body.startswith(PNG_KEYWORD):
            flags, rest = body[len(PNG_KEYWORD) :][:2], body[len(PNG_KEYWORD) + 2 :]
            text = rest.split(b"\0", 2)[2]  # behind the language and the translated keyword
            return zlib.decompressobj().decompress(text, LONGEST_TEXT) if flags[0] else text
        at += 12 + length
    return None


# --- JPEG ------------------------------------------------------------------------------------------------------------


def into_jpeg(data: bytes, text: bytes) -> bytes:
    """JPEG bytes with an XMP packet in an APP1 segment behind the JFIF header.

    Raises:
        UserError: a packet of more than 65502 bytes, which a segment cannot hold.
    """
    if len(text) > 65502:
        raise UserError(f"an XMP packet of {len(text)} bytes does not fit into a JPEG: write a PNG.")
    at = 2
    if data[2:4] == b"\xff\xe0":  # JFIF has to come first
        at = 4 + struct.unpack(">H", data[4:6])[0]
    body = JPEG_NAME + text
    return data[:at] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[at:]


def from_jpeg(data: bytes) -> bytes | None:
    """The XMP packet of a JPEG, or None."""
    at = 2
    for _ in range(MOST_PARTS):
        if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] == 0xDA:
            break
        length = struct.unpack(">H", data[at + 2 : at + 4])[0]
        body = data[at + 4 : at + 2 + length]
        if data[at + 1] == 0xE1 and body.startswith(JPEG_NAME):
            return bytes(body[len(JPEG_NAME) :])
        at += 2 + length
    return None


# --- GIF -------------------------------------------------------------------------------------------------------------


def into_gif(data: bytes, text: bytes) -> bytes:
    """GIF bytes with an XMP packet in an application extension before the end mark."""
    return data[:-1] + GIF_NAME + text + GIF_TRAILER + data[-1:]


def from_gif(data: bytes) -> bytes | None:
    """The XMP packet of a GIF, or None."""
    at = data.find(GIF_NAME)
    end = data.find(GIF_TRAILER, at) if at >= 0 else -1
    return bytes(data[at + len(GIF_NAME) : end]) if end >= 0 else None


# --- MP4 -------------------------------------------------------------------------------------------------------------


def into_mp4(data: bytes, text: bytes) -> bytes:
    """MP4 bytes with an XMP packet in a `uuid` box at the end, where it moves no frame."""
    return data + struct.pack(">I4s", 24 + len(text), b"uuid") + MP4_UUID + text


def from_mp4(data: bytes) -> bytes | None:
    """The XMP packet of an MP4, or None."""
    at = 0
    for _ in range(MOST_PARTS):
        if at + 8 > len(data):
            break
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        head = 8
        if size == 1 and at + 16 <= len(data):
            size, head = struct.unpack(">Q", data[at + 8 : at + 16])[0], 16
        size = size or len(data) - at
        if kind == b"uuid" and data[at + head : at + head + 16] == MP4_UUID:
            return bytes(data[at + head + 16 : at + size])
        if size < head:
            return None
        at += size
    return None


# --- AVI -------------------------------------------------------------------------------------------------------------


def into_avi(data: bytes, software: str, comment: str) -> bytes:
    """AVI bytes of one RIFF segment with `LIST INFO { ISFT software, ICMT comment }` at its end; the text is ASCII."""
    body = b"INFO" + _info(b"ISFT", software) + _info(b"ICMT", comment)
    whole = data[8:] + b"LIST" + struct.pack("<I", len(body)) + body
    return data[:4] + struct.pack("<I", len(whole)) + whole


def _info(name: bytes, text: str) -> bytes:
    content = text.encode("ascii", "backslashreplace") + b"\0"
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def from_avi(data: bytes) -> dict[str, str]:
    """The INFO list of an AVI, four letters -> text; {} for none."""
    found = {}
    for name, start, end in _riff(data, 12, len(data)):
        if name == b"LIST" and data[start : start + 4] == b"INFO":
            for key, first, last in _riff(data, start + 4, end):
                found[key.decode("latin-1")] = bytes(data[first:last]).split(b"\0")[0].decode("utf-8", "replace")
    return found


def _riff(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, first and last byte of the chunks between two places."""
    for _ in range(MOST_PARTS):
        if at + 8 > end:
            break
        name, length = struct.unpack("<4sI", data[at : at + 8])
        yield name, at + 8, min(at + 8 + length, end)
        at += 8 + length + length % 2
