"""Fetch a bundle by name from an index at a web address, in a folder or in a Hugging Face repository.

Stock `monai.bundle download` verifies nothing; here the sha256 of the index is compared before anything is unpacked,
no member may leave the target, and the bundle appears whole under its name or not at all.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
import stat
import tempfile
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

import jsonschema

from synthzoo.bundle.find import read_metadata
from synthzoo.bundle.index import INDEX, zip_name
from synthzoo.bundle.sources import Source, copy_at_most, open_source, safe_member
from synthzoo.errors import UserError
from synthzoo.io.files import sha256, work_folder

LARGEST_INDEX = 64_000_000  # bytes
DIGEST = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
SIZE = {"type": "integer", "minimum": 0}
# What a download needs of an index entry.
ENTRY = jsonschema.Draft7Validator(
    {
        "type": "object",
        "required": ["name", "version", "files"],
        "properties": {
            "name": {"type": "string"},
            "version": {"type": "string", "maxLength": 100},
            "files": {"type": "object", "additionalProperties": {"type": "object", "required": ["sha256"]}},
            "zip": {
                "type": ["object", "null"],
                "required": ["bytes", "unpacked_bytes", "sha256"],
                "properties": {"bytes": SIZE, "unpacked_bytes": SIZE, "sha256": DIGEST, "file": {"type": "string"}},
            },
        },
    }
)


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
    bundle_dir = Path(bundle_dir).expanduser()
    safe_member(name, str(source))
    place = open_source(str(source))
    index = read_index(place)
    if name not in index["bundles"]:
        known = ", ".join(sorted(index["bundles"])) or "none"
        raise UserError(f"{name}: {source} has no bundle of this name; names there: {known}.")
    item = checked_entry(index["bundles"][name], name, source)
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
    file = packed.get("file", zip_name(item))
    with full_disk_as_user_error(bundle_dir), work_folder(bundle_dir, f"download_{name}") as folder:
        archive = folder / "bundle.zip"
        place.fetch(file, archive, packed["bytes"])
        expect_hash(archive, packed["sha256"], f"{source}/{file}")
        unpack(archive, folder, name, packed["unpacked_bytes"])
        replace(folder / name, target)
    print(
        f"{target}: version {item['version']}, sha256 verified; its configs are code, MONAI runs their $ expressions."
    )
    return target


def read_index(place: Source) -> dict[str, Any]:
    """bundle_index.json at a source; UserError if it is none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / INDEX
        place.fetch(INDEX, path, LARGEST_INDEX)
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(index["bundles"], dict):
                raise TypeError("'bundles' is no object")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{place}/{INDEX}: not an index of bundles ({error}); check --source.") from error
    return index


def checked_entry(item: Any, name: str, source: str | Path) -> dict[str, Any]:
    """The entry of one bundle in an index, after its keys were checked; UserError names the first that is wrong."""
    for problem in sorted(ENTRY.iter_errors(item), key=lambda problem: list(map(str, problem.path))):
        where = "#".join(["bundles", name, *map(str, problem.path)])
        said = problem.message if len(problem.message) < 200 else f"{problem.message[:200]}..."
        raise UserError(f"{source}/{INDEX}: {where}: {said}; ask who published it for a whole index.")
    return item


def is_current(target: Path, item: dict, force: bool) -> bool:
    """Whether `target` is this version with unchanged files; UserError if its files were changed and not `force`."""
    if not target.exists() and not target.is_symlink():
        return False
    if target.is_symlink() or not target.is_dir():
        raise UserError(f"{target}: is a link or a file, which is not replaced; choose another --bundle_dir.")
    if force:
        return False
    try:
        here = read_metadata(target)["version"]
    except (UserError, KeyError, TypeError) as error:
        raise UserError(f"{target}: exists and is no bundle; choose another --bundle_dir or give --force.") from error
    if here != item["version"]:
        print(f"{target}: version {here} is replaced by {item['version']}.")
        return False
    for name, file in item["files"].items():
        path = target / safe_member(name, INDEX)
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


def unpack(archive: Path, folder: Path, name: str, unpacked_bytes: int) -> None:
    """Unpack `archive` into `folder`; every member must lie under <name>/ and be a plain file or folder.

    Args:
        archive: the zip.
        folder: where <name>/ appears.
        name: the bundle's.
        unpacked_bytes: what the index says that the files have together; more is refused before it is written.

    Raises:
        UserError: a member that is unsafe, encrypted, damaged or stands twice; more bytes than the index says.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            expect_safe(members, archive.name, name)
            if sum(member.file_size for member in members) > unpacked_bytes:
                raise UserError(
                    f"{archive.name}: unpacks to more than the {unpacked_bytes} bytes that the index says; nothing was "
                    "unpacked, do not use it."
                )
            for member in members:
                path = folder / member.filename
                if member.is_dir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as packed:
                    copy_at_most(packed.read, path, member.file_size, f"{archive.name}: {member.filename}")
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{archive.name}: the zip is damaged or encrypted ({error}); download it again.") from error
    if not (folder / name / "configs" / "metadata.json").is_file():
        raise UserError(f"{archive.name}: holds no {name}/configs/metadata.json, so it is not this bundle.")


def expect_safe(members: list[zipfile.ZipInfo], shown: str, name: str) -> None:
    """UserError if a member would leave <name>/, is no plain file, or if two would be one file on some system."""
    files: set[str] = set()
    parents: set[str] = set()
    for member in members:
        path = safe_member(member.filename, shown)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if path.parts[0] != name:
            raise UserError(
                f"{shown}: the member '{member.filename}' does not lie under {name}/; nothing was unpacked."
            )
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UserError(f"{shown}: the member '{member.filename}' is no plain file; nothing was unpacked.")
        folded = unicodedata.normalize("NFC", str(path)).casefold()
        if folded in files and not member.is_dir():
            raise UserError(f"{shown}: two members are called '{path}' (upper and lower case count as one).")
        if not member.is_dir():
            files.add(folded)
        parents |= {parent.as_posix() for parent in PurePosixPath(folded).parents}
    if both := files & parents:
        raise UserError(f"{shown}: '{sorted(both)[0]}' is a file and a folder; nothing was unpacked.")


def replace(new: Path, target: Path) -> None:
    """Put the folder `new` at `target` by renaming; an older one goes away only when the new one stands."""
    old = new.with_name("replaced")
    try:
        if target.exists():
            os.rename(target, old)
        os.rename(new, target)
    except OSError as error:
        if old.exists():
            os.rename(old, target)
        raise UserError(f"{target}: cannot be put there ({error.strerror}); choose another --bundle_dir.") from error


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


class full_disk_as_user_error:
    """Context in which a full disk, or a folder that may not be written, becomes a UserError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import errno

        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{self.folder}: the disk is full; nothing was kept, free some space and retry.") from error
        if isinstance(error, OSError) and not isinstance(error, UserError):
            raise UserError(
                f"{self.folder}: cannot be written ({error.strerror}); choose another --bundle_dir."
            ) from error
