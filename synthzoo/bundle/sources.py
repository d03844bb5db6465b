"""Where a release of bundles lies: a folder, a plain web server, or a Hugging Face repository."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.client import HTTPMessage
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from synthzoo.bundle.index import INDEX
from synthzoo.errors import UserError, first_line

TIMEOUT_S = 30
LONGEST_NAME = 255  # bytes, what file systems take


class HttpOnly(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to another web address only, and never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The next request, or the error that the redirect is."""
        old, new = urllib.parse.urlparse(req.full_url).scheme, urllib.parse.urlparse(newurl).scheme
        if new not in ("http", "https") or (old == "https" and new == "http"):
            raise UserError(f"{req.full_url}: redirects to {newurl[:200]}, which is not followed; check --source.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


OPENER = urllib.request.build_opener(HttpOnly)


def safe_member(name: str, shown: str) -> PurePosixPath:
    """`name` as a path that stays inside its folder and that every file system takes.

    Raises:
        UserError: it leaves the folder, is empty, too long, or holds characters that no file name has.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name.split("/")[0] or not path.parts:
        raise UserError(f"{shown}: the member '{name[:200]}' leaves the target folder; nothing was unpacked.")
    if any(len(part.encode("utf-8", "surrogatepass")) > LONGEST_NAME for part in path.parts):
        raise UserError(f"{shown}: the member '{name[:60]}...' has a name that is too long; nothing was unpacked.")
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name):
        raise UserError(f"{shown}: the member {name[:200]!a} has a name that is no file name; nothing was unpacked.")
    return path


def copy_at_most(
    read: Callable[[int], bytes], target: Path, most: int, shown: str, on_piece: Callable[[int], object] | None = None
) -> None:
    """Write what `read` gives to `target`.

    Args:
        read: gives the next bytes, empty at the end.
        target: file to write.
        most: bytes that are allowed.
        shown: what is read, for the sentence.
        on_piece: called with the number of bytes of each piece.

    Raises:
        UserError: there is more.
    """
    size = 0
    with open(target, "wb") as out:
        while piece := read(1 << 18):
            size += len(piece)
            if size > most:
                raise UserError(f"{shown}: is larger than the {most} bytes that it should have; nothing was unpacked.")
            out.write(piece)
            if on_piece is not None:
                on_piece(len(piece))


class FolderSource:
    """A folder on this machine, also as file:// address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def fetch(self, file: str, target: Path, most: int) -> None:
        """Copy `file` to `target`, at most `most` bytes of it."""
        path = self.folder / safe_member(file, str(self.folder))
        try:
            if not path.is_file():
                raise UserError(f"{path}: does not exist; --source must be a folder made by package_bundles.py.")
            with open(path, "rb") as opened:
                copy_at_most(opened.read, target, most, str(path))
        except PermissionError as error:
            raise UserError(f"{path}: may not be read; change its permissions or choose another --source.") from error


class WebSource:
    """A plain web server that serves the files of a release beside each other."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/").removesuffix(f"/{INDEX}")

    def __str__(self) -> str:
        return self.url

    def fetch(self, file: str, target: Path, most: int) -> None:
        """Download `file` to `target` with a progress bar, at most `most` bytes of it."""
        url = f"{self.url}/{urllib.parse.quote(str(safe_member(file, self.url)))}"
        try:
            with OPENER.open(url, timeout=TIMEOUT_S) as answer:
                length = answer.headers.get("Content-Length") or ""
                total = int(length) if length.isdecimal() else None
                with tqdm(total=total, unit="B", unit_scale=True, desc=PurePosixPath(file).name) as bar:
                    copy_at_most(answer.read, target, most, url, bar.update)
        except urllib.error.HTTPError as error:
            raise UserError(f"{url}: the server answers {error.code} {error.reason}; check --source.") from error
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, UserError):
                raise
            reason = getattr(error, "reason", error)
            raise UserError(f"{url}: cannot be reached ({reason}); check --source and the network.") from error
        if total is not None and target.stat().st_size < total:
            raise UserError(f"{url}: the connection broke after {target.stat().st_size} of {total} bytes; try again.")


class HubSource:
    """A Hugging Face repository; `hf:owner/repo` or `hf:owner/repo@revision`."""

    def __init__(self, name: str) -> None:
        self.repo, _, self.revision = name.partition("@")

    def __str__(self) -> str:
        return f"hf:{self.repo}"

    def fetch(self, file: str, target: Path, most: int) -> None:
        """Download `file` through huggingface_hub and copy it to `target`, at most `most` bytes of it."""
        try:
            from huggingface_hub import hf_hub_download
        except ImportError as error:
            raise UserError("hf: sources need the package huggingface_hub; `pip install huggingface_hub`.") from error
        try:
            path = hf_hub_download(
                self.repo,
                file,
                revision=self.revision or None,
                endpoint=os.environ.get("HF_ENDPOINT"),
                cache_dir=target.parent / "hub",
            )
        except Exception as error:  # the hub's errors and its HTTP client's differ from version to version
            if type(error).__module__.split(".")[0] not in ("huggingface_hub", "requests", "httpx", "httpcore"):
                raise
            raise UserError(
                f"hf:{self.repo}: {file} cannot be fetched ({first_line(error)}); check name and network."
            ) from error
        with open(path, "rb") as opened:
            copy_at_most(opened.read, target, most, f"{self}/{file}")


Source = FolderSource | WebSource | HubSource


def open_source(source: str) -> Source:
    """The kind of place that `source` names."""
    if source.startswith("hf:"):
        return HubSource(source[3:])
    if source.startswith(("http://", "https://")):
        return WebSource(source)
    if source.startswith("file://"):
        source = urllib.request.url2pathname(urllib.parse.urlparse(source).path)
    elif "://" in source:
        raise UserError(f"{source}: --source takes http://, https://, file://, a folder or hf:owner/repo.")
    path = Path(source).expanduser()
    path = path.parent if path.name == INDEX else path
    if not path.is_dir():
        raise UserError(f"{source}: --source is no folder; give one made by package_bundles.py, a URL or hf:name.")
    return FolderSource(path)
