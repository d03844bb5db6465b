"""Python files that no config of the bundle uses, judged by what they name; nothing is executed.

What a config does use is read against the allow-list, in `grammar`.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable

from synthzoo.bundle.inspect.rules import ATTRIBUTES, BUILTINS, DUNDERS, PASS, REFUSE, REVIEW, judge_path

# `@a::b`, and `@a#b` after MONAI has made `::` of every `#`: its references, which are no Python.
REFERENCE = re.compile(r"@\w*(?:::\w*)*")
Report = Callable[[str, int, str, str], None]


def check_code(text: str, report: Report, own: set[str], aliases: dict[str, set[str]] | None = None) -> None:
    """Call `report(verdict, line, what, why)` for everything in a Python text that is not on the allow-list.

    Args:
        text: Python source, or a `$` expression without its `$` and with references.
        report: receives each finding.
        own: top-level modules that the bundle brings along.
        aliases: what names mean from imports elsewhere in the same configs; grows by the imports found here.
    """
    tree = parse(text, report)
    if tree is not None:
        Reader(report, own, {} if aliases is None else aliases).visit(tree)


def parse(text: str, report: Report) -> ast.Module | None:
    """The syntax tree of a text, or None after a report that it has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        report(REFUSE, getattr(error, "lineno", 0) or 0, text.strip()[:100], "cannot be parsed, so it cannot be judged")
        return None


def expression_text(value: str) -> str:
    """A `$` string as the Python that MONAI evaluates: each reference, also one within quotes, as a lookup.

    Replaced within quotes a reference ends the text there (`'@f{x}'` becomes an f-string), so nothing else is judged.
    """
    value = value[1:].replace("#", "::")
    for reference in sorted(set(REFERENCE.findall(value)), key=len, reverse=True):
        value = value.replace(reference, f"__local_refs['{reference[1:]}']")
    return value


class Reader(ast.NodeVisitor):
    """Walks one tree; every dotted name is judged by what its first word was imported as."""

    def __init__(self, report: Report, own: set[str], aliases: dict[str, set[str]]) -> None:
        self.report, self.own, self.aliases = report, own, aliases

    def judge(self, node: ast.AST, path: str) -> None:
        """Report a dotted name unless it passes."""
        verdict, why = judge_path(path, self.own)
        if verdict != PASS:
            self.report(verdict, getattr(node, "lineno", 0), path, why)

    def visit_Import(self, node: ast.Import) -> None:
        """`import a.b as c`."""
        for name in node.names:
            if name.name != "os":
                self.judge(node, name.name)
            # MONAI binds a dotted import under its whole name, Python under its first word; both are kept.
            meaning = name.name if name.asname else name.name.split(".")[0]
            self.aliases.setdefault(name.asname or name.name.split(".")[0], set()).add(meaning)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from a import b as c`; relative imports stay inside the bundle."""
        if node.level:
            return
        for name in node.names:
            path = f"{node.module}.{name.name}"
            self.judge(node, f"{node.module}" if name.name == "*" else path)
            self.aliases.setdefault(name.asname or name.name, set()).add(path)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """`a.b.c`: the attribute itself, and the whole path if it starts at an imported name."""
        paths = self.paths(node)
        bad = ATTRIBUTES.get(node.attr)
        if bad and not any(path.split(".")[0] in self.own for path in paths):
            self.report(bad[0], node.lineno, ast.unparse(node)[:100], bad[1])
        elif node.attr.startswith("__") and node.attr.endswith("__") and node.attr not in DUNDERS:
            on_own_class = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            on_super = isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "super"
            if not (on_own_class or on_super):
                self.report(REFUSE, node.lineno, ast.unparse(node)[:100], "reaches inside an object")
        else:
            for path in paths:
                self.judge(node, path)
        inner = node.value
        while isinstance(inner, ast.Attribute):
            inner = inner.value
        # The inner parts of a plain dotted name are judged with the whole path.
        if not isinstance(inner, ast.Name) or inner.id in BUILTINS:
            self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        """A bare name: a builtin that reaches everything, or something imported under this name."""
        if node.id in BUILTINS:
            verdict, why = BUILTINS[node.id]
            self.report(verdict, node.lineno, node.id, why)
        elif node.id in ("getattr", "setattr"):
            self.report(REFUSE, node.lineno, node.id, "reaches attributes whose names cannot be read here")
        elif node.id.startswith("__") and node.id not in DUNDERS:
            self.report(REFUSE, node.lineno, node.id, "reaches inside the program")
        else:
            for path in self.aliases.get(node.id, ()):
                if path != "os":
                    self.judge(node, path)

    def visit_Call(self, node: ast.Call) -> None:
        """Calls whose arguments decide: getattr, torch.load, numpy.load, open, eval as a method."""
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name in ("getattr", "setattr") and len(node.args) >= 2:
            second = node.args[1]
            if isinstance(second, ast.Constant) and isinstance(second.value, str):
                # The same as writing the attribute out.
                self.visit(ast.copy_location(ast.Attribute(node.args[0], second.value, ast.Load()), node))
                for argument in node.args[2:]:
                    self.visit(argument)
                return
        if method in ("eval", "query") and (node.args or node.keywords):
            self.report(REVIEW, node.lineno, ast.unparse(node)[:100], "may evaluate a string")
        if method in ("load", "loads") or name in ("load", "loads"):
            for key, bad in (("weights_only", False), ("allow_pickle", True)):
                if key in keywords and getattr(keywords[key], "value", bad) == bad:
                    self.report(REFUSE, node.lineno, ast.unparse(node)[:100], "reads a pickle, which can run anything")
        if name == "open" and self.writes(node, keywords):
            self.report(REVIEW, node.lineno, ast.unparse(node)[:100], "writes a file outside its bundle")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Text that looks like code kept for later, or an address."""
        if isinstance(node.value, str):
            if "__import__" in node.value or "os.system" in node.value:
                self.report(REVIEW, node.lineno, node.value[:100], "text that looks like code")
            elif re.match(r"(https?|ftp|s3)://", node.value):
                self.report(REVIEW, node.lineno, node.value[:100], "an address on the network")

    @staticmethod
    def writes(node: ast.Call, keywords: dict) -> bool:
        """Whether an `open` writes to a constant path that leaves the working folder."""
        mode = node.args[1] if len(node.args) > 1 else keywords.get("mode")
        if mode is None or (isinstance(mode, ast.Constant) and not set("wax+") & set(str(mode.value))):
            return False
        path = node.args[0] if node.args else keywords.get("file")
        return isinstance(path, ast.Constant) and (str(path.value).startswith(("/", "~")) or ".." in str(path.value))

    def paths(self, node: ast.Attribute) -> list[str]:
        """The dotted names that a chain of attributes may mean; none if it starts at a local thing."""
        words = [node.attr]
        inner = node.value
        while isinstance(inner, ast.Attribute):
            words.append(inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            return []
        tail = ".".join(reversed(words))
        # MONAI gives these three to every expression without an import.
        given = {inner.id} & {"monai", "torch", "np"}
        return [f"{head}.{tail}" for head in self.aliases.get(inner.id, set()) | given]
