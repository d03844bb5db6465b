"""A remedy in a sentence works when it is followed: the key exists in that bundle, the file and the command exist.

Remedies are read from the source of every sentence that the library can say, so that a new one is followed too.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path

import pytest
from bundle_runs import ROOT
from typed_commands import BUNDLES, SCRIPTS, STACKS, command, functions, merged

from synthzoo.bundle.compose import load_config
from synthzoo.bundle.find import read_metadata
from synthzoo.bundle.known import expect_known
from synthzoo.cases.table import CaseTable
from synthzoo.cli.bundle_run import NAMED, check_run
from synthzoo.errors import UserError, find_user_error
from synthzoo.serving.served import find_table

# Options of other programs, in sentences that name these programs.
OTHERS = {
    "--no-deps": "pip install",
    "--raw": "gdcmconv",
    "--bundle_path": "download_large_files",
    "--conf": "server|--conf models",
}
SYSTEMS = {read_metadata(bundle)["synthzoo"]["system"] for bundle in BUNDLES}
STEMS = {path.stem for bundle in BUNDLES for path in (bundle / "configs").glob("*.json")}


def sentences() -> list[tuple[Path, int, str]]:
    """File, line and text of every sentence, with {} where a value stands."""
    found = []
    for path in sorted((ROOT / "synthzoo").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("UserError", "OutOfRange") and node.args:
                parts = [
                    part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "{}"
                    for part in (node.args[0].values if isinstance(node.args[0], ast.JoinedStr) else [node.args[0]])
                ]
                found.append((path, node.lineno, "".join(parts)))
    return found


SENTENCES = sentences()


def stacks_of(path: Path) -> list[dict]:
    """The merged configs of the bundles in which the code of a file runs."""
    parts = path.relative_to(ROOT / "synthzoo").parts
    system = parts[1] if parts[0] == "systems" else None
    return [merged(b, s) for b, s in STACKS if system in (None, read_metadata(b)["synthzoo"]["system"])]


def has(config: dict, key: str) -> bool:
    try:
        expect_known(config, key, "")
    except UserError:
        return False
    return True


def test_sentences_are_found():
    assert len(SENTENCES) > 300


def test_every_option_of_a_remedy_exists():
    options = {
        name for script in SCRIPTS for function in functions(script) for name in inspect.signature(function).parameters
    }
    options |= {"force", *NAMED}
    for path, line, text in SENTENCES:
        where = f"{path.relative_to(ROOT)}:{line}: {text}"
        for option in re.findall(r"(?<![\w-])--([a-z][\w#:-]*)", text):
            if f"--{option}" in OTHERS:
                assert re.search(OTHERS[f"--{option}"], text), where
            else:
                assert option in options or any(has(config, option) for config in stacks_of(path)), f"{option}: {where}"


def test_every_key_that_a_remedy_sets_exists():
    for path, line, text in SENTENCES:
        where = f"{path.relative_to(ROOT)}:{line}: {text}"
        for key in re.findall(r"\bset ([a-z_]+(?:(?:#|::)\w+)*) to\b", text):
            if key == "it":
                continue
            nested = json.dumps(stacks_of(path), default=str)
            assert f'"{key}":' in nested or any(has(config, key) for config in stacks_of(path)), f"{key}: {where}"
        for key in re.findall(r"\b[a-z_]+(?:(?:#|::)[a-z_]+)+", text):
            first = key.replace("::", "#").split("#")[0]
            if any(first in config for config in stacks_of(path)):
                assert any(has(config, key) for config in stacks_of(path)), f"{key}: {where}"


def test_every_command_and_file_of_a_remedy_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    extras = set(re.findall(r"^([a-z]+) = \[", (ROOT / "pyproject.toml").read_text(), flags=re.M))
    for path, line, text in SENTENCES:
        where = f"{path.relative_to(ROOT)}:{line}: {text}"
        for script in re.findall(r"\b(\w+)\.py\b", text):
            assert (ROOT / "scripts" / f"{script}.py").is_file(), where
        for target in re.findall(r"`make ([a-z-]+)`", text):
            assert target in targets, where
        for extra in re.findall(r"synthzoo\[(\w+)\]", text):
            assert extra in extras, where
        for stem in re.findall(r"\brun (\w+)\.json\b", text):
            assert stem in STEMS, where


def test_no_sentence_names_what_no_config_has():
    """Arguments of functions are no remedy for whoever types a command."""
    for path, line, text in SENTENCES:
        for name in re.findall(r'\b(?:with|pass) (\w+)(?:=| ")', text):
            assert any(has(config, name) for config in stacks_of(path)), f"{path.name}:{line}: {text}"


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_the_remedy_for_results_of_another_request_replaces_them(bundle, tmp_path):
    made = {"output_dir": str(tmp_path / "out"), "seed": 5}
    made |= {"images": "example"} if "images" in merged(bundle, ("inference",)) else {}
    where = find_table(merged(bundle, ("inference",)))

    def table(**more) -> CaseTable:
        return load_config(bundle, overrides={**made, **more}).get_parsed_content(where)

    first = table()
    case = first.cases[0]
    first.sidecar(case).parent.mkdir(parents=True, exist_ok=True)
    first.path(case).write_bytes(b"")
    first.sidecar(case).write_text(
        json.dumps({**first.request(0), "version": "another", "files": [first.path(case).name]})
    )
    with pytest.raises(Exception) as refused:
        table()
    sentence = str(find_user_error(refused.value))
    remedy = re.search(r"--(\S+#overwrite) (\w+)", sentence)
    assert remedy, sentence
    assert check_run([*command(bundle), f"--{remedy[1]}", remedy[2]]) == {}
    assert len(table(**{remedy[1]: ast.literal_eval(remedy[2])})) == 1
