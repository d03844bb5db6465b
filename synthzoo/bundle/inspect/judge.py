"""A bundle judged without executing anything: what its configs, code, weights and archive would do if it were run.

MONAI runs every `$` expression and calls every `_target_` of a config; switching evaluation off does not stop
`_target_`. So a bundle is a program, and this reads it as one. It proves no innocence: `pass` says that nothing outside
the allow-list is named, `review` that a person ought to read the lines shown, `refuse` that they should not be run.
"""

from __future__ import annotations

import ast
import re
import stat
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from synthzoo.bundle.inspect.code import check_code, parse
from synthzoo.bundle.inspect.configs import (
    check_config,
    check_large_files,
    check_logging,
    import_aliases,
    parse_config,
)
from synthzoo.bundle.inspect.grammar import check_module
from synthzoo.bundle.inspect.packages import HARMLESS, NETWORK, RUNS_CODE, TRUSTED
from synthzoo.bundle.inspect.rules import PASS, REFUSE, REVIEW, SEVERITY
from synthzoo.bundle.inspect.weights import PICKLED, check_weights, is_pickle
from synthzoo.errors import UserError

EXIT_CODES = {PASS: 0, REVIEW: 2, REFUSE: 3}
CONFIGS = (".json", ".yaml", ".yml")
LOGGING = (".conf", ".ini", ".cfg")
NATIVE = (".so", ".dll", ".dylib", ".pyd", ".exe", ".pyc", ".pyo", ".jar", ".msi")
SHELL = (".sh", ".bat", ".cmd", ".ps1", ".pth.py", ".ipynb")
MOST_BYTES = 20e9
# Names that a file beside a bundle's configs may not take, for the folder a bundle is run in comes first.
STOCK = TRUSTED | HARMLESS | NETWORK | RUNS_CODE | {"sitecustomize", "usercustomize", "monailabel", "highdicom", "av"}


@dataclass
class Finding:
    """One line that did not simply pass."""

    verdict: str
    file: str
    line: int
    what: str
    why: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{self.verdict:7}{place}  {self.what}  ({self.why})"


@dataclass
class Inspection:
    """What was read, what was found, and the verdict: the worst of the findings."""

    bundle: str
    files: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """pass, review or refuse."""
        return max((finding.verdict for finding in self.findings), key=SEVERITY.__getitem__, default=PASS)

    @property
    def exit_code(self) -> int:
        """0 pass, 2 review, 3 refuse; 1 stays for mistakes of the user."""
        return EXIT_CODES[self.verdict]

    def to_dict(self) -> dict[str, Any]:
        """The inspection as plain data for a JSON report."""
        return {"verdict": self.verdict, **asdict(self)}

    def __str__(self) -> str:
        order = sorted(self.findings, key=lambda finding: -SEVERITY[finding.verdict])
        return "\n".join([*map(str, order), f"verdict: {self.verdict} ({self.bundle}, {self.files} files read)"])


def inspect_bundle(path: str | Path) -> Inspection:
    """Judge a bundle that is a folder or a zip; nothing in it is imported, evaluated, unpickled or unpacked.

    Raises:
        UserError: there is nothing at `path`, or it is neither a folder nor a zip.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: does not exist; give the folder or the zip of a bundle.")
    result = Inspection(str(path))
    if path.is_dir():
        contents = dict(read_folder(path, result))
    elif zipfile.is_zipfile(path):
        contents = dict(read_zip(path, result))
    else:
        raise UserError(f"{path}: neither a folder nor a zip; give the folder or the zip of a bundle.")
    result.files = len(contents)
    if not any(name.endswith("configs/metadata.json") for name in contents):
        add(result, REVIEW, "configs/metadata.json", 0, "absent", "not a MONAI bundle")
    check_contents(contents, result)
    return result


def add(result: Inspection, verdict: str, file: str, line: int, what: str, why: str) -> None:
    """Append a finding once."""
    finding = Finding(verdict, file, line, " ".join(what.split())[:160], why)
    if finding not in result.findings:
        result.findings.append(finding)


def read_folder(root: Path, result: Inspection) -> Iterator[tuple[str, bytes]]:
    """(relative name, content) of every file; links that leave the folder are refused."""
    for file in sorted(root.rglob("*")):
        name = file.relative_to(root).as_posix()
        if name.startswith(".git/"):
            continue
        if file.is_symlink() and not file.resolve().is_relative_to(root.resolve()):
            add(result, REFUSE, name, 0, f"link to {file.readlink()}", "leaves the bundle")
        elif file.is_file():
            yield name, file.read_bytes()


def read_zip(path: Path, result: Inspection) -> Iterator[tuple[str, bytes]]:
    """(name below the bundle's folder, content) of every member; members that would leave the target are refused."""
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if sum(member.file_size for member in members) > MOST_BYTES:
            add(result, REFUSE, path.name, 0, "unpacks to more than 20 GB", "fills the disk")
            return
        folders = {PurePosixPath(member.filename).parts[0] for member in members if member.filename}
        prefix = f"{next(iter(folders))}/" if len(folders) == 1 else ""
        seen = set()
        for member in members:
            name = member.filename
            if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts or ":" in name.split("/")[0]:
                add(result, REFUSE, name, 0, "path of a zip member", "leaves the target folder")
                continue
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
                add(result, REFUSE, name, 0, "zip member that is a link or a device", "can point anywhere")
                continue
            if name.lower() in seen:
                add(result, REFUSE, name, 0, "two members of one name", "shows one file and unpacks another")
            seen.add(name.lower())
            try:
                yield name.removeprefix(prefix), archive.read(member)
            except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
                add(result, REFUSE, name, 0, type(error).__name__, "damaged or encrypted, so it cannot be judged")


def check_contents(contents: dict[str, bytes], result: Inspection) -> None:
    """Send every file to the reader for its kind."""
    own = own_modules(contents)
    for root in sorted({name.split("/")[0] for name in contents}):
        module = root.removesuffix(".py")
        python = root.endswith(".py") or any(name.startswith(f"{root}/") and name.endswith(".py") for name in contents)
        if python and (module in sys.stdlib_module_names or module in STOCK):
            add(result, REFUSE, root, 0, f"module {module}", "takes the place of an installed module where it is run")
    parsed: dict[str, tuple[Any, str]] = {}
    for name, data in contents.items():
        if name.lower().endswith(CONFIGS):
            try:
                text = data.decode("utf-8-sig")
                parsed[name] = parse_config(name.lower(), text), text
            except (ValueError, RecursionError) as error:
                said = str(error).splitlines()[0] if str(error) else type(error).__name__
                add(result, REFUSE, name, 0, said, "cannot be parsed, so it cannot be judged")
    # Overlays are laid on each other, so an import in one file names things in all of them.
    aliases = import_aliases([content for content, _ in parsed.values()])
    used = used_modules(own, [text for _, text in parsed.values()], contents)
    for name, data in contents.items():

        def report(verdict: str, line: int, what: str, why: str, name: str = name) -> None:
            add(result, verdict, name, line, what, why)

        lower = name.lower()
        if name in parsed:
            content, text = parsed[name]
            if PurePosixPath(lower).stem == "large_files":
                check_large_files(content, text, report)
            check_config(content, text, report, own, aliases, parsed)
        elif lower.endswith(".py"):
            text = data.decode("utf-8", errors="replace")
            if module_of(name) in used:
                check_module(text, report, own)
            else:
                check_code(text, report, {module.split(".")[0] for module in own})
        elif lower.endswith(LOGGING):
            check_logging(data.decode("utf-8", errors="replace"), report)
        elif "__pycache__/" in name:
            report(REVIEW, 0, "bytecode", "may differ from its source; delete the folder __pycache__")
        elif lower.endswith(NATIVE):
            report(REFUSE, 0, "native or compiled code", "cannot be read")
        elif lower.endswith(SHELL):
            report(REVIEW, 0, "a program for another interpreter", "not run by MONAI, read it before you run it")
        elif lower.endswith(".whl"):
            check_wheel(name, data, report)
        elif lower.endswith(PICKLED) or data[:1] == b"\x80" or is_pickle(data):
            check_weights(lower, data, report)


def module_of(name: str) -> str:
    """`scripts/losses.py` as `scripts.losses`, `scripts/__init__.py` as `scripts`."""
    return name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def own_modules(contents: dict[str, bytes]) -> dict[str, set[str]]:
    """Module that the bundle brings -> names that it defines: functions, classes, methods, fields, re-exports."""
    own: dict[str, set[str]] = {}
    for name, data in contents.items():
        if not name.endswith(".py"):
            continue
        tree = parse(data.decode("utf-8", errors="replace"), lambda *_: None)
        names = own.setdefault(module_of(name), set())
        for node in ast.walk(tree) if tree is not None else ():
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
            elif isinstance(node, ast.ImportFrom) and node.level:
                names |= {alias.asname or alias.name for alias in node.names}
        names |= {
            target.id
            for node in (tree.body if tree is not None else ())
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
    return own


def used_modules(own: Mapping[str, set[str]], configs: Sequence[str], contents: dict[str, bytes]) -> set[str]:
    """Modules of the bundle that its configs run: those that they name, and what these import in turn."""
    text, found = "\n".join(configs), set()
    roots = {module.split(".")[0] for module in own if re.search(rf"\b{re.escape(module.split('.')[0])}\b", text)}
    waiting = [m for m in own if m in roots or (m.split(".")[0] in roots and re.search(rf"\b{re.escape(m)}\b", text))]
    files = {module_of(name): (name, data) for name, data in contents.items() if name.endswith(".py")}
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        name, data = files[module]
        package = module if name.endswith("__init__.py") else module.rpartition(".")[0]
        tree = parse(data.decode("utf-8", errors="replace"), lambda *_: None)
        named: set[str] = set()
        for node in ast.walk(tree) if tree is not None else ():
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                words = package.split(".")
                base = words[: len(words) - node.level + 1] if node.level else []
                source = ".".join([*base, *([node.module] if node.module else [])])
                named |= {source} | {f"{source}.{alias.name}" for alias in node.names}
        # `from scripts.a import b` runs scripts/__init__.py too; a bare folder on the path gives `a` as well.
        parents = {other for other in own for target in named if target == other or target.startswith(other + ".")}
        waiting += parents | {module for module in own if module.rpartition(".")[2] in named}
    return found


def check_wheel(name: str, data: bytes, report: Any) -> None:
    """A wheel passes if every file of its code is the same as in the synthzoo that is running; else a person looks."""
    import io

    here = Path(__file__).parents[2]
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [member for member in archive.namelist() if ".dist-info/" not in member]
            for member in members:
                path = here.parent / member
                if (
                    not member.startswith("synthzoo/")
                    or not path.is_file()
                    or path.read_bytes() != archive.read(member)
                ):
                    report(
                        REVIEW,
                        0,
                        f"{member} differs from the installed synthzoo",
                        "compare the wheel's hash before installing",
                    )
                    return
    except zipfile.BadZipFile:
        report(REFUSE, 0, "damaged wheel", "cannot be judged")
