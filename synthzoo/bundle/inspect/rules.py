"""What a bundle may name: tables of functions and attributes, and the judgement of a name by them.

A path such as `torch.hub.load` is judged by its longest entry in PATHS, then by its first word, its package.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from synthzoo.bundle.inspect.allowed import is_allowed
from synthzoo.bundle.inspect.packages import HARMLESS, NETWORK, RUNS_CODE, TRUSTED

PASS, REVIEW, REFUSE = "pass", "review", "refuse"
SEVERITY = {PASS: 0, REVIEW: 1, REFUSE: 2}

PATHS: dict[str, tuple[str, str]] = {
    "os.path": (PASS, ""),
    **{
        f"os.{name}": (PASS, "")
        for name in [
            "makedirs",
            "mkdir",
            "getcwd",
            "listdir",
            "environ",
            "getenv",
            "sep",
            "cpu_count",
            "walk",
            "scandir",
            "PathLike",
            "fspath",
            "linesep",
            "name",
            "getpid",
            "stat",
            "curdir",
            "pardir",
        ]
    },
    **{
        f"os.{name}": (REFUSE, "runs programs or ends processes")
        for name in [
            "system",
            "popen",
            "execl",
            "execle",
            "execlp",
            "execlpe",
            "execv",
            "execve",
            "execvp",
            "execvpe",
            "spawnl",
            "spawnle",
            "spawnlp",
            "spawnlpe",
            "spawnv",
            "spawnve",
            "spawnvp",
            "spawnvpe",
            "posix_spawn",
            "posix_spawnp",
            "fork",
            "forkpty",
            "kill",
            "killpg",
            "startfile",
            "abort",
            "_exit",
            "putenv",
            "popen2",
            "popen3",
            "popen4",
            "add_dll_directory",
            "_execvpe",
        ]
    },
    "os": (REVIEW, "changes files or settings of the system"),
    "shutil": (REVIEW, "copies or deletes files"),
    "sys.modules": (REFUSE, "replaces loaded code"),
    "sys.path": (REVIEW, "changes where code is loaded from"),
    "sys.setprofile": (REFUSE, "runs code on every call"),
    "sys.settrace": (REFUSE, "runs code on every line"),
    "sys.meta_path": (REFUSE, "changes how code is loaded"),
    "logging.config": (REFUSE, "a logging configuration can call anything"),
    "unittest.mock": (REVIEW, "replaces code by name"),
    "timeit": (REFUSE, "runs code from a string"),
    "functools.reduce": (REVIEW, "can hide what is called"),
    "urllib.parse": (PASS, ""),
    "torch.hub": (REFUSE, "downloads code and runs it"),
    "torch.utils.cpp_extension": (REFUSE, "compiles and loads native code"),
    "torch.utils.model_zoo": (REVIEW, "downloads weights"),
    "torch.utils.benchmark": (REFUSE, "runs code from a string"),
    "torch.utils.collect_env": (REFUSE, "runs programs"),
    "torch.utils.bottleneck": (REFUSE, "runs programs"),
    "torch.ops.load_library": (REFUSE, "loads native code"),
    "torch.classes.load_library": (REFUSE, "loads native code"),
    "torch.package": (REFUSE, "loads code from an archive"),
    "torch.testing": (REFUSE, "runs programs"),
    "torch.distributed.run": (REFUSE, "starts programs"),
    "torch.distributed.launch": (REFUSE, "starts programs"),
    "torch.distributed.launcher": (REFUSE, "starts programs"),
    "torch.distributed.elastic": (REFUSE, "starts programs"),
    "torch.distributed.rpc": (REFUSE, "runs functions on request of the network"),
    "torch.fx": (REVIEW, "makes code at run time"),
    "torch.compile": (PASS, ""),
    "torch.load": (PASS, ""),
    "monai.utils.misc.run_cmd": (REFUSE, "runs programs"),
    "monai.utils.run_cmd": (REFUSE, "runs programs"),
    "monai.utils.module": (REFUSE, "imports and calls whatever a string names"),
    "monai.utils.instantiate": (REFUSE, "calls whatever a string names"),
    "monai.utils.optional_import": (REVIEW, "imports whatever a string names"),
    "monai.utils.load_submodules": (REFUSE, "imports every file of a folder"),
    "monai.utils.module.optional_import": (REVIEW, "imports whatever a string names"),
    "monai.auto3dseg": (REFUSE, "runs programs and reads pickles"),
    "monai.apps.auto3dseg": (REFUSE, "runs programs and reads pickles"),
    "monai.apps.nnunet": (REFUSE, "runs programs"),
    "monai.apps.mmars": (REVIEW, "downloads weights"),
    "monai.apps.utils": (REVIEW, "downloads and unpacks files"),
    "monai.apps.utils.get_logger": (PASS, ""),
    "monai.apps.get_logger": (PASS, ""),
    "monai.apps.download_url": (REVIEW, "downloads files"),
    "monai.apps.download_and_extract": (REVIEW, "downloads and unpacks files"),
    "monai.apps.extractall": (REVIEW, "unpacks files"),
    "monai.bundle": (REFUSE, "runs another config or bundle"),
    "monai.bundle.scripts": (REFUSE, "runs another config or bundle"),
    "monai.bundle.config_item": (REFUSE, "evaluates expressions from strings"),
    "monai.bundle.utils": (REVIEW, "reads configs"),
    "monai.fl": (REVIEW, "federated learning, talks to a server"),
    "monai.handlers.MLFlowHandler": (REVIEW, "talks to a server"),
    "monai.handlers.mlflow_handler": (REVIEW, "talks to a server"),
    "monai.data.utils.pickle_operations": (REVIEW, "reads pickles"),
    "numpy.ctypeslib": (REFUSE, "loads native code"),
    "numpy.f2py": (REFUSE, "compiles and loads native code"),
    "numpy.distutils": (REFUSE, "runs programs"),
    "numpy.testing": (REFUSE, "runs code from a string"),
    "pandas.read_pickle": (REFUSE, "reads pickles"),
    "pandas.eval": (REFUSE, "evaluates a string"),
    "matplotlib.sphinxext": (REFUSE, "runs code from files"),
    "fire.Fire": (PASS, ""),
    "synthzoo.bundle": (REFUSE, "runs or downloads another bundle"),
}

# Names of builtins that may not be mentioned at all, since they reach everything else.
BUILTINS = {
    **dict.fromkeys(("eval", "exec", "compile", "__import__", "execfile"), (REFUSE, "runs code from a string")),
    **dict.fromkeys(("breakpoint",), (REFUSE, "opens a debugger")),
    **dict.fromkeys(("globals", "vars", "__builtins__", "__loader__"), (REFUSE, "reaches every name of the program")),
    **dict.fromkeys(("locals", "delattr", "input", "memoryview"), (REVIEW, "reaches names of the program")),
}
# Attributes that lead from any object to running things, whatever the object is called.
ATTRIBUTES = {
    **dict.fromkeys(
        [
            "system",
            "popen",
            "Popen",
            "check_output",
            "check_call",
            "getoutput",
            "getstatusoutput",
            "run_cmd",
            "posix_spawn",
            "execv",
            "execve",
            "execvp",
            "spawnl",
            "spawnv",
            "fork",
            "run_module",
            "run_path",
            "import_module",
            "exec_module",
            "load_module",
            "load_library",
            "cpp_extension",
            "ctypeslib",
            "runstring",
        ],
        (REFUSE, "runs programs"),
    ),
    **dict.fromkeys(
        [
            "os",
            "sys",
            "subprocess",
            "shutil",
            "importlib",
            "builtins",
            "ctypes",
            "pickle",
            "socket",
            "pty",
            "runpy",
            "posix",
            "pydoc",
            "multiprocessing",
            "urllib",
            "requests",
        ],
        (REFUSE, "reaches a module of the system through another"),
    ),
    **dict.fromkeys(
        [
            *("f_back", "f_builtins", "f_code", "f_globals", "f_locals", "tb_frame", "tb_next", "gi_frame", "gi_code"),
            *("cr_frame", "cr_code", "ag_frame", "ag_code", "func_globals", "func_code", "mro", "meta_path"),
            *("path_hooks", "dictConfig", "fileConfig"),
        ],
        (REFUSE, "reaches into the interpreter"),
    ),
    **dict.fromkeys(["symlink_to", "hardlink_to", "rename", "chmod", "touch"], (REVIEW, "changes files")),
    **dict.fromkeys(["rmtree", "unlink", "removedirs", "rmdir"], (REVIEW, "deletes files")),
    **dict.fromkeys(["extractall", "unpack_archive"], (REVIEW, "unpacks files")),
    **dict.fromkeys(["write_text", "write_bytes", "tofile"], (REVIEW, "writes files")),
}
DUNDERS = {
    "__version__",
    "__len__",
    "__name__",
    "__file__",
    "__init__",
    "__call__",
    "__getitem__",
    "__doc__",
    "__all__",
}
DUNDERS |= {
    "__main__",
    "__enter__",
    "__exit__",
    "__iter__",
    "__next__",
    "__repr__",
    "__str__",
    "__eq__",
    "__post_init__",
}


def judge_path(path: str, own: frozenset[str] | set[str] = frozenset()) -> tuple[str, str]:
    """Verdict and reason for a dotted name such as `torch.hub.load`.

    Args:
        path: module, function or class with its module in front.
        own: top-level modules that the bundle brings along; their files are read on their own.
    """
    words = path.split(".")
    if words[0] == "np":
        words[0] = "numpy"
    for end in range(len(words), 0, -1):
        found = PATHS.get(".".join(words[:end]))
        if found is not None and not (end == 1 and len(words) == 1 and words[0] == "os"):
            if found[0] != PASS:
                return found
            break
    # The library's own table of requests is called as the web client that may not hide in a path.
    inner = words[3:] if words[:3] == ["synthzoo", "cases", "requests"] else words[1:]
    for word in inner:
        if word in ATTRIBUTES and ATTRIBUTES[word][0] == REFUSE and words[0] not in own:
            return ATTRIBUTES[word]
        if word.startswith("__") and word not in DUNDERS:
            return REFUSE, "reaches inside an object"
    root = words[0]
    if root in own:
        return PASS, ""
    if root in RUNS_CODE:
        return REFUSE, "runs programs or code from strings and files"
    if root in NETWORK and not path.startswith("urllib.parse"):
        return REVIEW, "uses the network"
    if root in TRUSTED:
        private = next((word for word in words[1:] if word.startswith("_") and not word.startswith("__")), None)
        return (REVIEW, f"'{private}' is private to {root}") if private else (PASS, "")
    if root in HARMLESS:
        return PASS, ""
    return REVIEW, f"'{root}' is not on the allow-list"


def judge_target(target: str, own: Mapping[str, set[str]] | None = None) -> tuple[str, str]:
    """Verdict and reason for a `_target_`: a dotted path, or the bare name of anything defined in MONAI.

    Args:
        target: the text of the `_target_`.
        own: module of the bundle -> names that it defines.
    """
    own = own or {}
    if "." in target:
        words = target.split(".")
        if words[0] in {module.split(".")[0] for module in own}:
            module, _, name = target.rpartition(".")
            defined = any(name in names for key, names in own.items() if key == module or key.startswith(module + "."))
            return (PASS, "") if defined else (REVIEW, "no module of the bundle defines this")
        if words[0] in BUILTINS or words[0] == "builtins":
            return REFUSE, "runs code from a string"
        if is_allowed(target):
            return PASS, ""
        if any(word.startswith("_") for word in words):
            return REFUSE, "reaches a private name of a package"
        verdict, why = judge_path(target)
        return (REVIEW, "not on the allow-list") if verdict == PASS else (verdict, why)
    places = monai_names().get(target)
    if not places:
        if target in BUILTINS or target in dir(builtins):
            return REFUSE, "a builtin function, which MONAI finds by its bare name"
        return REVIEW, "MONAI has no component of this name"
    return max((judge_target(place) for place in places), key=lambda found: SEVERITY[found[0]])


@lru_cache(maxsize=1)
def monai_names() -> dict[str, tuple[str, ...]]:
    """Every top-level class and function of the installed MONAI with its module, read as text and not imported."""
    spec = find_spec("monai")
    names: dict[str, set[str]] = {}
    if spec is None or not spec.submodule_search_locations:
        return {}
    base = Path(next(iter(spec.submodule_search_locations)))
    for file in base.rglob("*.py"):
        relative = file.relative_to(base.parent).with_suffix("")
        module = ".".join(relative.parts).removesuffix(".__init__")
        text = file.read_text(encoding="utf-8", errors="replace")
        for name in re.findall(r"^(?:class|def) (\w+)", text, re.M):
            names.setdefault(name, set()).add(f"{module}.{name}")
        # Aliases such as LoadImageD = LoadImageDict = LoadImaged.
        for group in re.findall(r"^((?:\w+ = )+)(\w+)$", text, re.M):
            for name in group[0].split(" = "):
                if name.strip():
                    names.setdefault(name.strip(), set()).add(f"{module}.{name.strip()}")
    return {name: tuple(sorted(places)) for name, places in names.items()}
