"""Zips that anyone can rebuild byte for byte: one per bundle, with the library's wheel and a safetensors copy inside.

The output folder is a whole release: zips, bundle_index.json with their sha256, model_info.json and one
<name>.download.json per bundle. Serve it with any web server, or read it as a folder.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from tqdm import tqdm

from synthzoo.bundle.find import bundle_files, find_bundle, find_bundles
from synthzoo.bundle.index import FORMAT, INDEX, dump, entry, plan_official, zip_name
from synthzoo.bundle.schema import verify_metadata
from synthzoo.errors import UserError
from synthzoo.io.files import write_bytes, write_text

# 2020-01-01 00:00:00 UTC; a zip cannot say anything before 1980.
EPOCH = 1577836800
STAMP = (2020, 1, 1, 0, 0, 0)


def package_bundles(
    root: str | Path = ".",
    output: str | Path = "dist",
    base_url: str | None = None,
    names: list[str] | None = None,
    wheel: str | Path | None = None,
) -> dict:
    """Pack bundles of a checkout into `output` and return the index written there.

    Args:
        root: the checkout.
        output: folder for the release; made if absent.
        base_url: where the folder will be served; None writes its own file:// address.
        names: only these bundles; None packs all.
        wheel: a wheel of the library that is already built; None builds it from `root`.
    """
    root, output = Path(root), Path(output)
    output.mkdir(parents=True, exist_ok=True)
    base_url = output.resolve().as_uri() if base_url is None else base_url.rstrip("/")
    bundles = [find_bundle(name, root) for name in names] if names else find_bundles(root)
    if not bundles:
        raise UserError(f"{root}: there is no bundle to pack; give the folder that holds bundles/.")
    wheel = build_wheel(root, output) if wheel is None else Path(wheel)
    index: dict[str, Any] = {"format": FORMAT, "base_url": base_url, "bundles": {}}
    for bundle in tqdm(bundles, desc="packing", unit="bundle"):
        item = entry(bundle)
        path = output / zip_name(item)
        item["zip"] = {"file": path.name, **pack_bundle(bundle, path, wheel)}
        index["bundles"][bundle.name] = item
        latest = output / f"{bundle.name}.zip"
        latest.unlink(missing_ok=True)
        try:
            os.link(path, latest)
        except OSError:  # some file systems have no hard links
            shutil.copyfile(path, latest)
    write_text(output / INDEX, dump(index))
    for path, text in plan_official(output, index).items():
        write_text(path, text)
    return index


def pack_bundle(bundle: str | Path, path: str | Path, wheel: str | Path | None = None) -> dict:
    """Write one bundle to the zip `path`; returns {"bytes", "unpacked_bytes", "sha256", "sha1"}.

    The zip holds the folder <name>/ with every file of the bundle, models/model.safetensors with the tensors of
    models/model.pt, and wheels/<wheel>.
    """
    bundle, path = Path(bundle).resolve(), Path(path)
    verify_metadata(bundle)
    weights = bundle / "models" / "model.pt"
    if not weights.is_file():
        raise UserError(f"{weights}: the weights are absent, so nothing can be packed; train them with train*.json.")
    content = {file.relative_to(bundle).as_posix(): file.read_bytes() for file in bundle_files(bundle)}
    content["models/model.safetensors"] = as_safetensors(weights)
    if wheel is not None:
        content[f"wheels/{Path(wheel).name}"] = Path(wheel).read_bytes()
    if not listed_large_files(content.get("large_files.yml", b"")):
        content.pop("large_files.yml", None)
    data = zip_bytes({f"{bundle.name}/{name}": value for name, value in content.items()})
    write_bytes(path, data)
    return {
        "bytes": len(data),
        "unpacked_bytes": sum(len(value) for value in content.values()),
        "sha256": hashlib.sha256(data).hexdigest(),
        "sha1": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
    }


def zip_bytes(content: dict[str, bytes]) -> bytes:
    """A zip whose bytes depend on names and contents alone: sorted, one date, one mode, one compression level."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(content):
            member = zipfile.ZipInfo(name, STAMP)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.create_system = 3
            member.external_attr = 0o100644 << 16
            archive.writestr(member, content[name])
    return buffer.getvalue()


def as_safetensors(weights: Path) -> bytes:
    """The tensors of a `.pt` state dict in safetensors form, in sorted order; shared tensors are written out twice."""
    from safetensors.torch import save

    from synthzoo.networks.weights import read_state

    state = read_state(weights)
    return save({name: state[name].detach().clone().contiguous() for name in sorted(state)}, metadata={"format": "pt"})


def listed_large_files(content: bytes) -> list[dict]:
    """What a large_files.yml lists; an empty list for an empty file."""
    import yaml

    return (yaml.safe_load(content) or {}).get("large_files") or []


def build_wheel(root: str | Path, output: str | Path) -> Path:
    """Build the library's wheel from a clean copy of its sources, offline, the same bytes each time."""
    root, output = Path(root).resolve(), Path(output).resolve()
    if not (root / "pyproject.toml").is_file():
        raise UserError(
            f"{root / 'pyproject.toml'}: absent, so no wheel can be built; give root=<checkout> or a wheel."
        )
    with tempfile.TemporaryDirectory() as folder:
        # A copy, because setuptools leaves build/ behind and would pack files that were deleted since.
        copy = Path(folder) / "source"
        copy.mkdir()
        for name in ("setup.py", "README.md", "LICENSE", "pyproject.toml"):
            if (root / name).is_file():
                shutil.copyfile(root / name, copy / name)
        ignore = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
        shutil.copytree(root / "synthzoo", copy / "synthzoo", ignore=ignore)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        command += ["--no-index", "--disable-pip-version-check", "--wheel-dir", folder, str(copy)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            command, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        built = list(Path(folder).glob("*.whl"))
        if done.returncode or not built:
            raise UserError(
                f"{root / 'pyproject.toml'}: building the wheel failed ({done.stderr.strip().splitlines()[-1:]}); "
                "`pip install setuptools` and try again."
            )
        # setuptools writes RECORD last and in its own order; only dates and modes have to be made equal.
        with zipfile.ZipFile(built[0]) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        path = output / built[0].name
        write_bytes(path, zip_bytes(content))
    return path
