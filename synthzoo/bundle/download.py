"""Fetch a bundle by name from an index at a web address, in a folder or in a Hugging Face repository.

Stock `monai.bundle download` verifies nothing; here the sha256 of the index is compared before anything is unpacked,
no member may leave the target, and the bundle appears whole under its name or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from synthzoo.bundle.find import read_metadata
from synthzoo.bundle.index import INDEX, zip_name
from synthzoo.errors import UserError
from synthzoo.io.files import sha256

TIMEOUT_S = 30


def download(
    name: str,
    source: str | Path = "dist",
    bundle_dir: str | Path = "bundles",
    version: str | None = None,
    force: bool = False,
) -> Path:
    """Fetch, verify and unpack one bundle; returns its folder. The same version twice does nothing.

    Args:
        name: a bundle's name in the index at `source`.
        source: http(s) address or folder that holds bundle_index.json, or "hf:owner/repo" (optionally "@revision").
        bundle_dir: where the folder <name>/ appears; made if absent.
        version: the version that must be found; None takes what the index has.
        force: replace a bundle whose files were changed here.

    Raises:
        UserError: unknown name, unreachable source, other hash, damaged or unsafe zip, no space, changed files.
    """
    bundle_dir = Path(bundle_dir)
    safe_member(name, str(source))
    place = open_source(str(source))
    index = read_index(place)
    if name not in index["bundles"]:
        known = ", ".join(sorted(index["bundles"])) or "none"
        raise UserError(f"{name}: {source} has no bundle of this name; names there: {known}.")
    item = index["bundles"][name]
    if version is not None and str(version) != item["version"]:
        raise UserError(f"{name}: {source} has version {item['version']}, not {version}; take it without --version.")
    target = bundle_dir / name
    if is_current(target, item, force):
        print(f"{target}: version {item['version']} is already here and complete.")
        return target
    packed = item.get("zip")
    if not packed:
        raise UserError(f"{name}: the index at {source} names no packed zip; run scripts/package_bundles.py there.")
    make_folder(bundle_dir)
    expect_space(bundle_dir, packed["bytes"] + packed["unpacked_bytes"])
    with tempfile.TemporaryDirectory(prefix=f".{name}.", suffix=".partial", dir=bundle_dir) as folder:
        archive = Path(folder) / "bundle.zip"
        with no_space_is_said(bundle_dir):
            place.fetch(packed.get("file", zip_name(item)), archive)
            expect_hash(archive, packed["sha256"], f"{source}/{packed.get('file', zip_name(item))}")
            unpack(archive, Path(folder), name)
        replace(Path(folder) / name, target)
    print(
        f"{target}: version {item['version']}, sha256 verified; its configs are code, MONAI runs their $ expressions."
    )
    return target


class FolderSource:
    """A folder on this machine, also as file:// address."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def fetch(self, file: str, target: Path) -> None:
        """Copy `file` to `target`."""
        path = self.folder / safe_member(file, str(self.folder))
        if not path.is_file():
            raise UserError(f"{path}: this file does not exist; --source must be a folder made by package_bundles.py.")
        shutil.copyfile(path, target)


class WebSource:
    """A plain web server that serves the files of a release beside each other."""

    def __init__(self, url: str):
        self.url = url.rstrip("/").removesuffix(f"/{INDEX}")

    def __str__(self) -> str:
        return self.url

    def fetch(self, file: str, target: Path) -> None:
        """Download `file` to `target` with a progress bar."""
        url = f"{self.url}/{safe_member(file, self.url)}"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, open(target, "wb") as out:
                total = int(answer.headers.get("Content-Length") or 0) or None
                with tqdm(total=total, unit="B", unit_scale=True, desc=PurePosixPath(file).name) as bar:
                    while piece := answer.read(1 << 18):
                        out.write(piece)
                        bar.update(len(piece))
        except urllib.error.HTTPError as error:
            raise UserError(f"{url}: the server answers {error.code} {error.reason}; check --source.") from error
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            raise UserError(f"{url}: cannot be reached ({reason}); check --source and the network.") from error
        if total is not None and target.stat().st_size != total:
            raise UserError(f"{url}: the connection broke after {target.stat().st_size} of {total} bytes; try again.")


class HubSource:
    """A Hugging Face repository; `hf:owner/repo` or `hf:owner/repo@revision`."""

    def __init__(self, name: str):
        self.repo, _, self.revision = name.partition("@")

    def __str__(self) -> str:
        return f"hf:{self.repo}"

    def fetch(self, file: str, target: Path) -> None:
        """Download `file` through huggingface_hub and copy it to `target`."""
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
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"hf:{self.repo}: {file} cannot be fetched ({said}); check name and network.") from error
        shutil.copyfile(path, target)


def open_source(source: str) -> FolderSource | WebSource | HubSource:
    """The kind of place that `source` names."""
    if source.startswith("hf:"):
        return HubSource(source[3:])
    if source.startswith(("http://", "https://")):
        return WebSource(source)
    if source.startswith("file://"):
        source = urllib.request.url2pathname(urllib.parse.urlparse(source).path)
    elif "://" in source:
        raise UserError(f"{source}: --source takes http://, https://, file://, a folder or hf:owner/repo.")
    path = Path(source)
    path = path.parent if path.name == INDEX else path
    if not path.is_dir():
        raise UserError(f"{source}: --source is no folder; give one made by package_bundles.py, a URL or hf:name.")
    return FolderSource(path)


def read_index(place: FolderSource | WebSource | HubSource) -> dict:
    """bundle_index.json at a source; UserError if it is none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / INDEX
        place.fetch(INDEX, path)
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(index["bundles"], dict):
                raise TypeError("'bundles' is no object")
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{place}/{INDEX}: not an index of bundles ({error}); check --source.") from error
    return index


def is_current(target: Path, item: dict, force: bool) -> bool:
    """Whether `target` is this version with unchanged files; UserError if its files were changed and not `force`."""
    if not target.exists():
        return False
    if force:
        return False
    try:
        here = read_metadata(target)["version"]
    except (UserError, KeyError) as error:
        raise UserError(f"{target}: exists and is no bundle; choose another --bundle_dir or give --force.") from error
    if here != item["version"]:
        print(f"{target}: version {here} is replaced by {item['version']}.")
        return False
    for name, file in item["files"].items():
        path = target / name
        if not path.is_file() or sha256(path) != file["sha256"]:
            raise UserError(f"{path}: differs from version {here} in the index; give --force to replace the bundle.")
    return True


def expect_hash(path: Path, wanted: str, shown: str) -> None:
    """UserError if the file has another sha256."""
    found = sha256(path)
    if found != wanted:
        raise UserError(
            f"{shown}: sha256 is {found[:16]}... instead of {wanted[:16]}..., so nothing was unpacked; "
            "download again, and do not use the file if it happens twice."
        )


def safe_member(name: str, shown: str) -> PurePosixPath:
    """`name` as a path that stays inside its folder; UserError otherwise."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name.split("/")[0] or not path.parts:
        raise UserError(f"{shown}: the member '{name}' leaves the target folder; nothing was unpacked.")
    return path


def unpack(archive: Path, folder: Path, name: str) -> None:
    """Unpack `archive` into `folder`; every member must lie under <name>/ and be a plain file or folder."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            for member in members:
                path = safe_member(member.filename, archive.name)
                kind = stat.S_IFMT(member.external_attr >> 16)
                if path.parts[0] != name:
                    raise UserError(f"{archive.name}: the member '{member.filename}' does not lie under {name}/.")
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise UserError(
                        f"{archive.name}: the member '{member.filename}' is no plain file; nothing was unpacked."
                    )
            for member in members:
                opened.extract(member, folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise UserError(f"{archive.name}: the zip is damaged ({error}); download it again.") from error
    if not (folder / name / "configs" / "metadata.json").is_file():
        raise UserError(f"{archive.name}: holds no {name}/configs/metadata.json, so it is not this bundle.")


def replace(new: Path, target: Path) -> None:
    """Put the folder `new` at `target` by renaming; an older one goes away only when the new one stands."""
    old = new.with_name("replaced")
    if target.exists():
        os.rename(target, old)
    try:
        os.rename(new, target)
    except OSError:
        if old.exists():
            os.rename(old, target)
        raise


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents; UserError if that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); choose another --bundle_dir.") from error


def expect_space(folder: Path, needed: int) -> None:
    """UserError if the disk of `folder` has fewer free bytes than `needed`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: {free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB needed; free some space or choose another "
            "--bundle_dir."
        )


class no_space_is_said:
    """Context in which a full disk becomes a UserError."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, traceback) -> None:
        import errno

        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{self.folder}: the disk is full; nothing was kept, free some space and retry.") from error
