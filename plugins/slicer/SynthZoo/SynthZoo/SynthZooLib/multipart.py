"""multipart/form-data of fields and files, streamed from disk."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

from .errors import ZooError


class Form:
    """A form whose length is known before it is sent.

    Args:
        fields: name -> text.
        files: name -> path.

    Raises:
        ZooError: a file cannot be read.
    """

    def __init__(self, fields: dict[str, str], files: dict[str, str] | None = None):
        self.boundary = f"synthzoo-{uuid.uuid4().hex}"
        self.parts: list[tuple[bytes, str | None]] = []
        for name, text in fields.items():
            self.parts.append((self._head(name) + text.encode(), None))
        for name, path in (files or {}).items():
            if not os.access(path, os.R_OK):
                raise ZooError(f"{path} cannot be read: it was to be sent to the server.")
            self.parts.append((self._head(name, os.path.basename(path)), path))
        sizes = [len(head) + (os.path.getsize(path) if path else 0) + 2 for head, path in self.parts]
        self.length = sum(sizes) + len(self._end())

    def _head(self, name: str, file: str | None = None) -> bytes:
        disposition = f'form-data; name="{name}"'
        if file is not None:
            plain = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in file)
            disposition += f'; filename="{plain}"\r\nContent-Type: application/octet-stream'
        return f"--{self.boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode()

    def _end(self) -> bytes:
        return f"--{self.boundary}--\r\n".encode()

    def headers(self) -> dict[str, str]:
        """What the request has to say about its body."""
        return {
            "Content-Type": f"multipart/form-data; boundary={self.boundary}",
            "Content-Length": str(self.length),
        }

    def chunks(self, size: int) -> Iterator[bytes]:
        """The body in pieces of at most `size` bytes of a file."""
        for head, path in self.parts:
            yield head
            if path is not None:
                with open(path, "rb") as file:
                    while True:
                        chunk = file.read(size)
                        if not chunk:
                            break
                        yield chunk
            yield b"\r\n"
        yield self._end()
