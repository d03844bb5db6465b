"""The grammar of what may run: expressions of configs and the bundle's own modules, read against the allow-list.

Names are imports that are allowed, references, safe builtins or bound in the text itself; attributes do not begin with
an underscore; what is called is on the allow-list, bound in the text, or a known method of a value. A module is never a
value. What lies outside is `review`, what is known to run something is `refuse`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from synthzoo.bundle.inspect.allowed import MEMBER, METHODS, SAFE_BUILTINS, is_allowed, is_module
from synthzoo.bundle.inspect.code import Report, parse
from synthzoo.bundle.inspect.packages import TRUSTED
from synthzoo.bundle.inspect.rules import ATTRIBUTES, BUILTINS, DUNDERS, PASS, REFUSE, REVIEW, SEVERITY, judge_path

REFERENCES = "__local_refs"  # where MONAI keeps what references stand for
GIVEN = ("monai", "torch", "np")  # MONAI gives these to every expression without an import
NODES = (
    ast.Module,
    ast.Expr,
    ast.Expression,
    ast.Constant,
    ast.Name,
    ast.Attribute,
    ast.Call,
    ast.keyword,
    ast.Starred,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.IfExp,
    ast.Subscript,
    ast.Slice,
    ast.Tuple,
    ast.List,
    ast.Dict,
    ast.Set,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.comprehension,
    ast.Lambda,
    ast.arguments,
    ast.arg,
    ast.JoinedStr,
    ast.FormattedValue,
    ast.Import,
    ast.ImportFrom,
    ast.alias,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
    ast.expr_context,
)
STATEMENTS = (
    ast.FunctionDef,
    ast.ClassDef,
    ast.Return,
    ast.Delete,
    ast.Assign,
    ast.AugAssign,
    ast.AnnAssign,
    ast.NamedExpr,
    ast.For,
    ast.While,
    ast.If,
    ast.With,
    ast.withitem,
    ast.Raise,
    ast.Try,
    ast.ExceptHandler,
    ast.Assert,
    ast.Pass,
    ast.Break,
    ast.Continue,
    ast.Yield,
    ast.YieldFrom,
    ast.Nonlocal,
)
LOADERS = {"torch.load": ("weights_only", True), "numpy.load": ("allow_pickle", False)}
CODE_FILE = re.compile(r"\.(py|pyc|pth|so|sh|bash\w*|profile|pyd|dll|bat|cmd|ps1|json|ya?ml|conf)$", re.I)


def check_expression(text: str, report: Report, own: Mapping[str, set[str]], aliases: Mapping[str, set[str]]) -> None:
    """Judge a `$` expression.

    Args:
        text: the expression or import as `code.expression_text` gives it.
        report: receives (verdict, line, what, why).
        own: module of the bundle -> names that it defines.
        aliases: name -> what it was imported as, in all configs of the bundle.
    """
    tree = parse(text, report)
    if tree is not None:
        Grammar(report, own, aliases, tree, module=False).run()


def check_module(text: str, report: Report, own: Mapping[str, set[str]]) -> None:
    """Judge a module of the bundle that its configs use, as `check_expression` does an expression."""
    tree = parse(text, report)
    if tree is not None:
        Grammar(report, own, import_table(tree), tree, module=True).run()


def import_table(tree: ast.AST) -> dict[str, set[str]]:
    """Name -> dotted names that the imports of a module bind it to; relative imports stay inside the bundle."""
    table: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                word = name.asname or name.name.split(".")[0]
                table.setdefault(word, set()).add(name.name if name.asname else word)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for name in node.names:
                table.setdefault(name.asname or name.name, set()).add(f"{node.module}.{name.name}")
    return table


class Grammar:
    """One text read node by node."""

    def __init__(
        self,
        report: Report,
        own: Mapping[str, set[str]],
        aliases: Mapping[str, set[str]],
        tree: ast.AST,
        module: bool,
    ) -> None:
        self.report, self.own, self.aliases, self.tree, self.module = report, own, aliases, tree, module
        self.parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self.bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not _loads(node)}
        self.bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        self.bound |= {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        self.bound |= {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                self.bound |= {name.asname or name.name for name in node.names}
        self.members = {name for names in own.values() for name in names}

    def run(self) -> None:
        """Report everything that is not in the grammar."""
        allowed = NODES + STATEMENTS if self.module else NODES
        for node in ast.walk(self.tree):
            if not isinstance(node, allowed):
                self.tell(REVIEW, node, type(node).__name__, "a construction that is not in the grammar")
            visit = getattr(self, f"read_{type(node).__name__}", None)
            if visit is not None:
                visit(node)

    def tell(self, verdict: str, node: ast.AST, what: str, why: str) -> None:
        """Report one finding at the line of a node."""
        self.report(verdict, getattr(node, "lineno", 0) or 0, what[:100], why)

    def read_Import(self, node: ast.Import) -> None:
        """`import a.b`."""
        for name in node.names:
            self.judge_import(node, name.name)

    def read_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from a import b`."""
        for name in node.names if not node.level else ():
            path = f"{node.module}.{name.name}"
            if name.name == "*":
                self.tell(REVIEW, node, f"from {node.module} import *", "hides which names it brings")
            elif not (self.known(path) or is_module(path) or path in self.own):
                self.judge(node, path)

    def judge_import(self, node: ast.AST, path: str) -> None:
        """A module that is imported."""
        if not (is_module(path) or path.split(".")[0] in self.own_roots()):
            self.judge(node, path)

    def read_Name(self, node: ast.Name) -> None:
        """A bare name: a builtin, an import, a reference, or bound in the text."""
        if not _loads(node):
            return
        if node.id in BUILTINS:
            verdict, why = BUILTINS[node.id]
            self.tell(verdict, node, node.id, why)
        elif node.id in ("getattr", "setattr", "hasattr"):
            self.attribute_by_name(node)
        elif node.id == "open":
            self.opening(node)
        elif node.id == "type":
            call = self.parents.get(node)
            if not (isinstance(call, ast.Call) and call.func is node and len(call.args) == 1):
                self.tell(REVIEW, node, "type", "makes classes at run time")
        elif self.is_import(node.id):
            if not isinstance(self.parents.get(node), ast.Attribute):
                for path in self.meanings(node.id):
                    if not self.known(path):
                        self.judge(node, path, "a module as a value can be used for anything")
                    self.loader(node, path)
        elif self.is_reference(self.parents.get(node)):
            return
        elif node.id.startswith("__") and node.id not in DUNDERS:
            self.tell(REFUSE, node, node.id, "reaches inside the program")
        elif node.id not in self.bound and node.id not in SAFE_BUILTINS:
            self.tell(REVIEW, node, node.id, "a name that nothing allowed defines")

    def read_Attribute(self, node: ast.Attribute) -> None:
        """The outermost of a chain of attributes: a dotted name from an import, or attributes of a value."""
        outer = self.parents.get(node)
        if isinstance(outer, ast.Attribute) or self.is_setting(outer, node):
            return
        words: list[str] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            words.insert(0, inner.attr)
            inner = inner.value
        if not (isinstance(inner, ast.Name) and self.is_import(inner.id)):
            self.attributes(node, inner, words)
            return
        for path in self.meanings(inner.id):
            whole = path.split(".") + words
            if not _loads(node):
                self.tell(REFUSE, node, ".".join(whole), "replaces code of a package")
                continue
            known = next((end for end in range(len(whole), 0, -1) if self.known(".".join(whole[:end]))), 0)
            if not known:
                self.judge(node, ".".join(whole))
                continue
            rest = [word for word in whole[known:] if not MEMBER.fullmatch(word)]
            self.loader(node, ".".join(whole[:known]))
            self.attributes(node, inner, rest, ".".join(whole))

    def is_setting(self, call: ast.AST | None, node: ast.AST) -> bool:
        """Whether `node` is x in `setattr(x, "name", ...)` and `x.name` a switch of torch that may be set."""
        if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "setattr" and len(call.args) == 3):
            return False
        name = call.args[1].value if isinstance(call.args[1], ast.Constant) else None
        path = f"{ast.unparse(node)}.{name!s}"
        return call.args[0] is node and path.startswith("torch.backends.") and is_allowed(path)

    def attributes(self, node: ast.Attribute, inner: ast.AST, words: list[str], shown: str = "") -> None:
        """Attributes of a value: none leads to a module or into the interpreter; what is called is a known method."""
        shown = shown or ast.unparse(node)
        own_object = self.module and isinstance(inner, ast.Name) and inner.id in ("self", "cls")
        on_super = isinstance(inner, ast.Call) and getattr(inner.func, "id", "") == "super"
        for word in words:
            bad = ATTRIBUTES.get(word)
            if bad is not None and word not in self.members:
                self.tell(bad[0], node, shown, bad[1])
                return
            if word.startswith("__"):
                if not (self.module and (own_object or on_super or word in ("__init__", "__name__", "__version__"))):
                    self.tell(REFUSE, node, shown, "reaches inside an object")
                    return
            elif word.startswith("_") and not (self.module and (own_object or on_super)):
                self.tell(REVIEW, node, shown, f"'{word}' is private")
                return
        call = self.parents.get(node)
        called = isinstance(call, ast.Call) and call.func is node
        if called and words and words[-1] not in METHODS | self.members and not own_object and not on_super:
            self.tell(REVIEW, node, shown, f"'{words[-1]}' is no method of the allow-list")

    def is_reference(self, node: ast.AST | None) -> bool:
        """Whether a node is the lookup of a reference with a plain id."""
        if self.module or not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Constant):
            return False
        return isinstance(node.value, ast.Name) and node.value.id == REFERENCES

    def read_Call(self, node: ast.Call) -> None:
        """What is called: a name or an attribute, which are judged where they stand, or the result of a call."""
        if isinstance(node.func, (ast.Name, ast.Attribute, ast.Call)) or self.is_reference(node.func):
            return
        if not (isinstance(node.func, ast.Lambda) or (self.module and isinstance(node.func, ast.Subscript))):
            self.tell(REVIEW, node, ast.unparse(node), "calls what an expression gives")

    def loader(self, node: ast.AST, path: str) -> None:
        """`torch.load` and `numpy.load` where they stand: called at once, and without an argument to unpickle."""
        path = "numpy" + path[2:] if path.startswith("np.") else path
        if path not in LOADERS:
            return
        key, safe = LOADERS[path]
        call = self.parents.get(node)
        if not (isinstance(call, ast.Call) and call.func is node):
            self.tell(REVIEW, node, path, f"is handed on, where {key} cannot be read")
            return
        positional = len(call.args) > (2 if path == "torch.load" else 1)
        for keyword in call.keywords:
            told_safe = isinstance(keyword.value, ast.Constant) and keyword.value.value is safe
            if keyword.arg in (None, "pickle_module") or (keyword.arg == key and not told_safe):
                self.tell(REFUSE, node, ast.unparse(call), "reads a pickle, which can run anything")
        if positional or any(isinstance(argument, ast.Starred) for argument in call.args):
            self.tell(REVIEW, node, ast.unparse(call), f"{key} cannot be read")

    def attribute_by_name(self, node: ast.Name) -> None:
        """`getattr(x, "name")` is judged as `x.name`; anything computed is refused."""
        call = self.parents.get(node)
        arguments = call.args if isinstance(call, ast.Call) and call.func is node else []
        second = arguments[1] if len(arguments) > 1 else None
        if not (isinstance(second, ast.Constant) and isinstance(second.value, str) and second.value.isidentifier()):
            self.tell(REFUSE, node, node.id, "reaches attributes whose names cannot be read here")
            return
        store = node.id == "setattr"
        owner = arguments[0]
        written = ast.Attribute(owner, second.value, ast.Load())
        ast.copy_location(written, node)
        path = ast.unparse(written)
        if store and self.is_setting(call, owner):
            return
        inner = _innermost(owner)
        if store and isinstance(inner, ast.Name) and inner.id in self.aliases:
            self.tell(REFUSE, node, path, "replaces code of a package")
            return
        self.parents[written] = ast.Expr(written)
        self.read_Attribute(written)

    def opening(self, node: ast.Name) -> None:
        """`open` may read; what writes is for a person to look at."""
        call = self.parents.get(node)
        if not (isinstance(call, ast.Call) and call.func is node):
            self.tell(REVIEW, node, "open", "is handed on, where it may write")
            return
        mode = call.args[1] if len(call.args) > 1 else next((k.value for k in call.keywords if k.arg == "mode"), None)
        letters = mode.value if isinstance(mode, ast.Constant) and isinstance(mode.value, str) else None
        starred = any(isinstance(argument, ast.Starred) for argument in call.args)
        if starred or any(keyword.arg in (None, "opener") for keyword in call.keywords):
            self.tell(REVIEW, node, ast.unparse(call), "opens in a way that cannot be read here")
        elif mode is not None and (letters is None or set("wax+") & set(letters)):
            self.tell(REVIEW, node, ast.unparse(call), "writes a file")

    def read_Constant(self, node: ast.Constant) -> None:
        """Texts that look like code kept for later, or an address."""
        if isinstance(node.value, str):
            if "__import__" in node.value or "os.system" in node.value:
                self.tell(REVIEW, node, node.value, "text that looks like code")
            elif re.match(r"(https?|ftp|s3)://", node.value):
                self.tell(REVIEW, node, node.value, "an address on the network")

    def is_import(self, name: str) -> bool:
        """Whether a name stands for something imported."""
        given = name in GIVEN or name in self.own_roots()
        return name in self.aliases or (given and name not in self.bound)

    def meanings(self, name: str) -> set[str]:
        """Dotted names that a name may stand for."""
        given = {name} if name in GIVEN or name in self.own_roots() else set()
        return set(self.aliases.get(name, set())) | given

    def own_roots(self) -> set[str]:
        """Top-level modules of the bundle."""
        return {module.split(".")[0] for module in self.own}

    def known(self, path: str) -> bool:
        """Whether a whole dotted name is allowed: on the list, or defined by the bundle's own modules."""
        if path.split(".")[0] in self.own_roots():
            module, _, name = path.rpartition(".")
            if name in self.own.get(module, set()):
                return True
            # `scripts.losses` re-exported by `scripts/__init__.py`
            return any(module == key or key.startswith(module + ".") for key in self.own if name in self.own[key])
        return is_allowed(path)

    def judge(self, node: ast.AST, path: str, why: str = "not on the allow-list") -> None:
        """Report a dotted name that is not allowed: refused if it is known to run things, else for a person."""
        verdict, reason = judge_path(path)
        verdict, reason = (REVIEW, f"{why}") if verdict == PASS else (verdict, reason)
        private = any(word.startswith("_") for word in path.split(".")[1:])
        if private and path.split(".")[0] not in TRUSTED and SEVERITY[verdict] < SEVERITY[REFUSE]:
            verdict, reason = REFUSE, "reaches a private name of a module"
        self.tell(verdict, node, path, reason)


def _loads(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Load)


def _innermost(node: ast.AST) -> ast.AST:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node
