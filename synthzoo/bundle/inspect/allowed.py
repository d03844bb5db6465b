"""The allow-list: whole dotted names that a bundle may use, everything else is for a person to read.

A name of MONAI, ignite or this library is allowed if the named module itself, as installed, defines or re-exports a
function or class of that name from the same package; what a module merely imports (`monai.utils.misc.subprocess`) is
not. Of torch, numpy and the standard library the names are listed. A module is never a value.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

# Packages whose source is read, and their parts that compute; the rest of them runs programs, downloads or evaluates.
SOURCES = {
    "monai": (
        *(
            "transforms",
            "networks",
            "losses",
            "metrics",
            "inferers",
            "data",
            "engines",
            "handlers",
            "optimizers",
            "utils",
        ),
        *("visualize", "apps.detection", "apps.pathology", "apps.vista3d", "apps.generation", "apps.deepedit"),
        *("apps.deepgrow", "apps.reconstruction", "apps.utils", "apps.datasets"),
    ),
    "ignite": ("engine", "handlers", "metrics", "utils"),
    "synthzoo": (
        *(
            "cases",
            "datasets",
            "diffusion",
            "evaluation",
            "inferers",
            "instruments",
            "metrics",
            "networks",
            "objectives",
        ),
        *("phantoms", "results", "systems", "training", "transforms", "cli", "errors"),
    ),
    "generative": ("networks", "inferers", "losses", "metrics"),
}
# Defined there, and yet no part of a calculation.
EXCEPT = (
    "monai.utils.module",
    "monai.utils.misc.run_cmd",
    "monai.utils.run_cmd",
    "monai.utils.safeeval",
    "monai.utils.jupyter_utils",
    "monai.utils.profiling",
    "monai.utils.instantiate",
    "monai.utils.load_submodules",
    "monai.utils.optional_import",
    "monai.utils.damerau_levenshtein_distance",
    "monai.handlers.MLFlowHandler",
    "monai.handlers.mlflow_handler",
    "monai.handlers.ClearMLHandler",
    "monai.handlers.clearml_handlers",
    "monai.data.utils.pickle_operations",
    "monai.apps.utils.download_url",
    "monai.apps.utils.download_and_extract",
    "monai.apps.utils.extractall",
    "synthzoo.networks.saving",
)


def _listed() -> dict[str, set[str]]:
    """allowed_names.txt: module -> names; the keys `methods` and `builtins` are no modules."""
    found: dict[str, set[str]] = {}
    for line in Path(__file__).with_name("allowed_names.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            module, _, names = line.partition(": ")
            found.setdefault(module, set()).update(names.split())
    return found


_NAMES = _listed()
# Methods of values (tensors, arrays, networks, paths, texts); what they are called on is no module.
METHODS = _NAMES.pop("methods")
# Builtin functions that reach nothing but their arguments.
SAFE_BUILTINS = _NAMES.pop("builtins")
LISTED = {f"{module}.{name}" for module, names in _NAMES.items() for name in names}
# Families of classes: a class name below one of these.
CLASSES = ("torch.nn", "torch.optim", "torch.optim.lr_scheduler", "torch.utils.data", "torch.distributions")
NO_CLASS = {"torch.nn.Module.load"}
CLASS = re.compile(r"[A-Z]\w*")
# Loggers that talk to a server.
SERVERS = re.compile(r"(?i)^(clearml|mlflow|neptune|polyaxon|visdom|wandb)")
MEMBER = re.compile(r"[A-Z][A-Z0-9_]*")
# Modules that may be imported, with everything below the packages of SOURCES.
MODULES = (
    {name.rpartition(".")[0] for name in LISTED}
    | {"__future__", "torch", "torch.nn", "torch.optim", "torch.utils.data", "torch.distributed", "urllib", "string"}
    | {"torchvision", "scipy", "skimage", "sklearn", "PIL", "matplotlib", "io", "csv", "argparse", "monai", "ignite"}
    | {"synthzoo", "generative", "torch.optim.lr_scheduler", "torch.nn.parallel", "torch.nn.modules"}
    | {"torch_tensorrt", "tensorrt"}
)


def is_allowed(path: str) -> bool:
    """Whether a whole dotted name, such as `torch.optim.AdamW`, is on the allow-list; a module never is."""
    if path.split(".")[0] == "np":
        path = "numpy" + path[2:]
    words = path.split(".")
    if any(word.startswith("_") for word in words) or any(path == no or path.startswith(no + ".") for no in EXCEPT):
        return False
    if path in LISTED:
        return True
    if SERVERS.search(words[-1]):
        return False
    parent, _, last = path.rpartition(".")
    if parent in CLASSES and CLASS.fullmatch(last) and path not in NO_CLASS:
        return True
    return words[0] in SOURCES and _part_allowed(path) and is_defined(path)


def is_module(path: str) -> bool:
    """Whether a dotted name may be imported as a module."""
    if path.split(".")[0] == "np":
        path = "numpy" + path[2:]
    if path in MODULES:
        return True
    root = path.split(".")[0]
    if root not in SOURCES or any(path == no or path.startswith(no + ".") for no in EXCEPT):
        return False
    return module_file(path) is not None and (_part_allowed(path) or path in (root, f"{root}.apps"))


def _part_allowed(path: str) -> bool:
    root, _, rest = path.partition(".")
    if root == "monai" and re.fullmatch(r"apps\.(\w+Dataset|get_logger)", rest):
        return True
    return any(rest == part or rest.startswith(part + ".") for part in SOURCES[root])


@cache
def module_file(module: str) -> Path | None:
    """The source file of a module of an installed package, found without importing it; None if there is none."""
    root, *rest = module.split(".")
    try:
        spec = find_spec(root)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    base = Path(next(iter(spec.submodule_search_locations))).joinpath(*rest)
    for file in (base.with_suffix(".py") if rest else base, base / "__init__.py"):
        if file.is_file():
            return file
    return None


@cache
def is_defined(path: str) -> bool:
    """Whether a module's own source defines the last word of `path`, or takes it from its own package."""
    module, _, name = path.rpartition(".")
    root = path.split(".")[0]
    seen = set()
    while module and (module, name) not in seen:
        seen.add((module, name))
        file = module_file(module)
        if file is None:
            return False
        defined, taken, stars = _symbols(file)
        if name in defined:
            return True
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        if name in taken:
            source, original = taken[name]
            module, name = _absolute(source, package), original
            if module.split(".")[0] != root:
                return False
            continue
        for source in stars:
            target = _absolute(source, package)
            if target.split(".")[0] == root and is_defined(f"{target}.{name}"):
                return True
        return False
    return False


def _absolute(source: str, package: str) -> str:
    """`..a.b` as it stands in a module of `package`, as a whole name."""
    level = len(source) - len(source.lstrip("."))
    if not level:
        return source
    words = package.split(".")
    base = words[: len(words) - (level - 1)]
    rest = source[level:]
    return ".".join([*base, rest] if rest else base)


@cache
def _symbols(file: Path) -> tuple[frozenset[str], dict[str, tuple[str, str]], tuple[str, ...]]:
    """Names that a source file defines, those it imports with their source, and the modules of its star imports."""
    defined: set[str] = set()
    taken: dict[str, tuple[str, str]] = {}
    stars: list[str] = []
    for node in ast.parse(file.read_text(encoding="utf-8", errors="replace")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            for alias in node.names:
                if alias.name == "*":
                    stars.append(source)
                else:
                    taken[alias.asname or alias.name] = (source, alias.name)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            # LoadImageD = LoadImageDict = LoadImaged
            if node.value.id in defined:
                defined |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            defined |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(defined), taken, tuple(stars)
