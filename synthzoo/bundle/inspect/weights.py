"""Files of weights and arrays judged by the opcodes of their pickles, without unpickling."""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterator

from synthzoo.bundle.inspect.code import Report
from synthzoo.bundle.inspect.packages import HARMLESS, NETWORK, RUNS_CODE, TRUSTED
from synthzoo.bundle.inspect.rules import REFUSE, REVIEW

# What torch.load(weights_only=True) accepts for plain state dicts.
PLAIN = {
    "collections OrderedDict",
    "collections defaultdict",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state",
    "torch._utils _rebuild_qtensor",
    "torch._utils _rebuild_sparse_tensor",
    "torch._utils _rebuild_meta_tensor_no_storage",
    "torch._tensor _rebuild_from_type_v2",
    "torch Size",
    "torch Tensor",
    "torch device",
    "torch dtype",
    "torch.nn.parameter Parameter",
    "torch.serialization _get_layout",
    "torch.storage UntypedStorage",
    "torch.storage TypedStorage",
}
PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".ts", ".joblib", ".dill", ".npy", ".npz")


def is_pickle(data: bytes) -> bool:
    """Whether any file, whatever its name, is a whole pickle that would import or call something."""
    calls = {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "REDUCE", "NEWOBJ", "EXT1", "EXT2", "EXT4"}
    found = False
    try:
        for opcode, _, _ in pickletools.genops(data):
            found = found or opcode.name in calls
    except Exception:  # any damage: no pickle, so no loader runs it
        return False
    return found


def check_weights(name: str, data: bytes, report: Report) -> None:
    """Report every global that a file's pickles would import and that is not a plain tensor."""
    if name.endswith(".npy"):
        if b"'|O'" in data[:512] or b'"|O"' in data[:512]:
            report(REFUSE, 0, "object array", "is a pickle, which can run anything")
        return
    if data[:4] == b"PK\x03\x04":
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = archive.namelist()
                script = any("/code/" in member and member.endswith(".py") for member in members)
                for member in members:
                    if member.endswith(".pkl"):
                        check_pickle(archive.read(member), report, script)
                    elif member.endswith(".npy"):
                        check_weights(member, archive.read(member), report)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            report(REFUSE, 0, type(error).__name__, "the archive is damaged, so it cannot be judged")
        return
    if data.startswith(b"version https://git-lfs"):
        report(REVIEW, 0, "a pointer of git-lfs", "the weights themselves are not here")
        return
    check_pickle(data, report, script=False)


def check_pickle(data: bytes, report: Report, script: bool) -> None:
    """One stream of pickles, as in the legacy format that writes several behind each other."""
    try:
        for name in pickle_globals(data):
            verdict_of_global(name, report, script)
    except (ValueError, IndexError, KeyError, EOFError, UnicodeDecodeError) as error:
        report(REFUSE, 0, f"pickle ({error})"[:120], "cannot be read, so it cannot be judged")


def verdict_of_global(name: str, report: Report, script: bool) -> None:
    """One "module attribute" that a pickle would import."""
    module, _, attribute = name.partition(" ")
    root = module.split(".")[0]
    if name in PLAIN or (root == "torch" and attribute.endswith("Storage")):
        return
    if script and root == "__torch__":  # classes of TorchScript, which its own interpreter runs
        return
    if script and module == "torch.jit._pickle":
        return
    shown = f"pickle imports {module}.{attribute}"
    safe_roots = (TRUSTED | HARMLESS | {"_codecs", "argparse"}) - {"os", "sys", "tempfile", "platform"}
    if attribute in ("?", "") or root in RUNS_CODE | {"os", "sys", "shutil", "__builtin__", "operator", "functools"}:
        report(REFUSE, 0, shown, "runs whatever the pickle says")
    elif root in NETWORK:
        report(REFUSE, 0, shown, "uses the network while loading")
    elif root in safe_roots and attribute.split(".")[0] not in ("load", "hub", "eval", "system"):
        report(REVIEW, 0, shown, "not a plain tensor, so weights_only=True refuses it")
    else:
        report(REFUSE, 0, shown, "not a plain tensor and not from a known package")


def pickle_globals(data: bytes) -> Iterator[str]:
    """ "module attribute" of each GLOBAL, INST and STACK_GLOBAL, in order; "? ?" where the names are computed."""
    stream = io.BytesIO(data)
    while stream.tell() < len(data):
        start = stream.tell()
        strings: list[str | None] = []
        memo: dict[int, str | None] = {}
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                name = opcode.name
                if name in ("GLOBAL", "INST"):
                    yield str(argument)
                    strings.append(None)
                elif name == "STACK_GLOBAL":
                    module, attribute = (strings[-2:] + [None, None])[:2]
                    yield f"{module} {attribute}" if module and attribute else "? ?"
                    strings = strings[:-2] + [None]
                elif name == "MEMOIZE":
                    memo[len(memo)] = strings[-1] if strings else None
                elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
                    memo[int(argument)] = strings[-1] if strings else None
                elif name in ("GET", "BINGET", "LONG_BINGET"):
                    strings.append(memo.get(int(argument)))
                elif "UNICODE" in name or "STRING" in name:
                    strings.append(str(argument))
                elif name.startswith(("EXT", "NEXT_BUFFER")):
                    yield "? ?"
                else:
                    strings.append(None)
        except ValueError:
            # Legacy files carry the raw storages behind the last pickle.
            if start == 0:
                raise
            return
