"""Scripts take what was typed: text from first to last, numbers that are numbers, no unknown option.

Every script is found, and every function that its command line calls; none of them is run but in the last tests.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_runs import ROOT
from typed_commands import SCRIPTS, functions

from synthzoo.bundle.keys import plain_keys
from synthzoo.cli.scripts import arguments, call
from synthzoo.errors import UserError
from synthzoo.io.words import split_words

NAMES = (
    *("2024_01_15", "1.1e3", "0x10", "2024", "-1", "True", "None", "[a]", "{a}", "a,b", "(a)", "'q'", '"q"', "a b"),
    *("out #1", "50%", "$HOME", "@x", "%x", "Müller", "a\\b", "1_0", "é\udce9"),
)
each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


def required(function: Callable, leave_out: str = "") -> list[str]:
    """Words for the parameters that have no default."""
    return [
        f"--{name}=x"
        for name, item in inspect.signature(function).parameters.items()
        if item.default is item.empty
        and item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)
        and name != leave_out
    ]


def kinds(function: Callable) -> dict[str, tuple]:
    """Parameter -> the types that it may have."""
    hints = typing.get_type_hints(function)
    unions = (typing.Union, types.UnionType)
    return {
        name: typing.get_args(kind) if typing.get_origin(kind) in unions else (kind,)
        for name, kind in hints.items()
        if name != "return"
    }


@each_script
def test_every_parameter_says_its_type(script):
    for function in functions(script):
        unsaid = set(inspect.signature(function).parameters) - set(typing.get_type_hints(function))
        assert not unsaid, f"{script.name}: {unsaid} have no annotation, so that nobody knows how they are read"


@each_script
def test_text_arrives_as_it_was_typed(script, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for function in functions(script):
        parameters = inspect.signature(function).parameters
        for name, chosen in kinds(function).items():
            if str not in chosen:
                continue
            item = parameters[name]
            for text, expected in [*zip(NAMES, NAMES), ("~", str(tmp_path)), ("~/x", f"{tmp_path}/x")]:
                if item.kind is item.VAR_POSITIONAL:
                    args, _ = arguments(
                        function, split_words([*required(function), *([] if text[0] == "-" else [text])])
                    )
                    assert args == ([] if text[0] == "-" else [expected])
                    continue
                key = "an_option" if item.kind is item.VAR_KEYWORD else name
                _, kwargs = arguments(function, split_words([*required(function, key), f"--{key}={text}"]))
                off = text == "None" and type(None) in chosen
                assert kwargs[key] == (None if off else expected)


@each_script
def test_numbers_are_numbers_and_flags_are_flags(script):
    for function in functions(script):
        for name, chosen in kinds(function).items():
            if str in chosen or not {int, float, bool} & set(chosen):
                continue
            if any(typing.get_origin(kind) is tuple for kind in chosen):
                continue
            for text in ("abc", "1+1", "[1]", "'1'", "" if bool in chosen else "True", "1.5" if int in chosen else "x"):
                with pytest.raises(UserError, match=rf"^--{name} is '.*', but must be "):
                    arguments(function, split_words([*required(function, name), f"--{name}={text}"]))


@each_script
def test_every_number_has_a_range_and_what_is_outside_is_refused(script):
    for function in functions(script):
        for name, chosen in kinds(function).items():
            if str in chosen or not {int, float} & set(chosen):
                continue
            if any(typing.get_origin(kind) is tuple for kind in chosen):
                continue
            assert {"minimum", "maximum"} <= set(plain_keys().get(name, {})), f"{script.name}: --{name} has no range"
            rule = plain_keys()[name]
            for text in (str(rule["minimum"] - 1), str(rule["maximum"] + 1), "1e999", "nan"):
                with pytest.raises(UserError, match=rf"^--{name} is .*must (lie between|be )"):
                    arguments(function, split_words([*required(function, name), f"--{name}={text}"]))


@each_script
def test_unknown_options_and_lists_without_quotes_are_refused_before_anything_runs(script):
    for function in functions(script):
        items = inspect.signature(function).parameters.values()
        if not any(item.kind is item.VAR_KEYWORD for item in items):
            with pytest.raises(UserError, match="^--nonsense is unknown: the options are "):
                arguments(function, split_words([*required(function), "--nonsense", "1"]))
        if not any(item.kind is item.VAR_POSITIONAL for item in items):
            with pytest.raises(UserError, match="'b' belongs to no option"):
                arguments(function, split_words([*required(function), "--" + next(iter(items)).name, "a", "b"]))


def test_words_are_split_as_fire_splits_them():
    words = split_words(["x", "--a", "1", "--b=2=3", "--c-d", "--e", "-1", "-f", "g", "--", "--trace"])
    assert words.options == {"a": "1", "b": "2=3", "c_d": None, "e": "-1", "f": "g"} and words.rest == ["x"]


def test_a_command_is_named_and_a_near_option_too():
    def main(steps: int = 1, check: bool = False) -> tuple[int, bool]:
        return steps, check

    assert call(main, ["--steps", "3", "--check"]) == (3, True) and call(main, ["--nocheck"]) == (1, False)
    with pytest.raises(UserError, match="--step is unknown: did you mean --steps?"):
        call(main, ["--step", "3"])
    with pytest.raises(UserError, match="'other' is no command: the commands are first"):
        call({"first": main}, ["other"])
    with pytest.raises(UserError, match="no command is given: the commands are first"):
        call({"first": main}, ["--steps", "3"])


# --- processes --------------------------------------------------------------------------------------------------------


def start(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    env = os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(cwd / "home")}
    return subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=250, env=env)


def test_a_data_set_goes_to_the_folder_that_was_typed(tmp_path):
    bundle = next(
        path
        for path in sorted((ROOT / "bundles").iterdir())
        if all(f'"{key}":' in (path / "configs/inference.json").read_text() for key in ("requests", "steps"))
    )
    (tmp_path / "home").mkdir()
    table = tmp_path / "home" / "1.1e3"
    table.write_text("seed\n3\n")
    words = ["--bundle", str(bundle), "--requests=~/1.1e3", "--steps", "1", "--out", "2024_01_15"]
    result = start(str(ROOT / "scripts" / "generate_dataset.py"), *words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "2024_01_15" / "participants.tsv").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2024_01_15", "home"]


def test_a_bundle_reads_and_writes_what_was_typed(tmp_path, phantom_nifti):
    bundle = ROOT / "bundles" / "brain_mr_synthesis_ldm"
    study = tmp_path / "pat#1 50% $x"
    study.mkdir()
    (study / "@requests.csv").write_text("age\n70\n")
    words = ["-m", "monai.bundle", "run", "--config_file", str(bundle / "configs" / "inference.json")]
    words += ["--bundle_root", str(bundle), "--steps", "1", f"--requests={study.name}/@requests.csv"]
    result = start(*words, "--output_dir=~/2024 #1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "home" / "2024 #1" / "participants.tsv").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", study.name]


@pytest.mark.parametrize(
    "typed, said",
    [
        (["--images", "a.nii.gz", "b.nii.gz"], "'b.nii.gz' belongs to no option"),
        (["--images", "a.nii.gz", "--threshold", "nan"], "--threshold is 'nan', but must be a number from 0 to 1"),
    ],
)
def test_a_mistake_on_the_command_line_of_a_bundle_is_one_sentence(typed, said, tmp_path):
    bundle = ROOT / "bundles" / "brain_mr_anomaly_map_manytasks"
    words = ["-m", "monai.bundle", "run", "--config_file", str(bundle / "configs" / "inference.json")]
    result = start(*words, "--bundle_root", str(bundle), *typed, cwd=tmp_path)
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    sentences = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1 and said in sentences[0]
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == []
