"""What is typed is what arrives: paths are text from first to last, other values lie in the range of their key.

Every bundle, every stack of configs that its files name, every plain key: nothing is listed here. The words go through
Fire's rules, the check of `synthzoo.cli` and MONAI's own parser, without starting a process for each;
`test_typed_scripts.py` starts some.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from typed_commands import BUNDLES, STACKS, command, merged, plain

from synthzoo.bundle.compose import load_config
from synthzoo.bundle.find import read_json, read_metadata
from synthzoo.bundle.keys import LISTS, check_key, is_path, plain_keys, property_of
from synthzoo.bundle.nulls import refusal_of_null
from synthzoo.cli.bundle_run import check_run, typed_again
from synthzoo.errors import UserError
from synthzoo.io.words import read_value, split_words

NAMES = (
    *("out", "out #1", "#1", "pat#1/x", "50%", "a%#b", "$HOME/x", "$1", "$@bundle_root", "a@b", "scan@#2"),
    *(
        "2024",
        "2024_01_15",
        "1.1e3",
        "0x10",
        "1_0",
        "-1",
        "True",
        "False",
        "inf",
        "[a]x",
        "{a}",
        "{a: b}",
        "(a)",
        "a,b",
    ),
    *("a b", "Müller", "'q'", 'say "x"', "back\\slash", "a:b", "a::b", "a=b", "x#.json", "é\udce9", "./%x", "./@x"),
)
ONE_PATH = ("[a]", "[1, 2]", "()", "None ", "[a,b]")


each_stack = pytest.mark.parametrize(
    "bundle, stems", STACKS, ids=lambda value: value.name if isinstance(value, Path) else "+".join(value)
)
each_bundle = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)


def widest(bundle: Path) -> tuple[str, ...]:
    """The stack of a bundle with the most path keys."""
    own = [stems for folder, stems in STACKS if folder == bundle]
    return max(own, key=lambda stems: sum(map(is_path, plain(merged(bundle, stems)))))


def arrives(words: list[str], keys: list[str]) -> list[object]:
    """What a config's components get for keys after these words."""
    again = typed_again(words, check_run(words))
    assert check_run(again) == {}, "the command would be started again for ever"
    parser = ConfigParser()
    parser.read_config(read_value(split_words(again).options["config_file"]))
    for name, text in split_words(again).options.items():
        value = read_value(text)
        if name != "config_file" and value is not None:  # MONAI passes over null that is typed
            parser[name] = value
    return [parser.get_parsed_content(key) for key in keys]


@each_stack
def test_what_a_bundle_tells_to_run_together_is_known(bundle, stems):
    assert check_run(command(bundle, stems)) == {}


@each_stack
def test_every_key_that_holds_a_path_is_known_as_one(bundle, stems):
    for key, held in plain(merged(bundle, stems)).items():
        looks = key.endswith(("_dir", "_file", "_path", "weights")) or re.match(r"\$@bundle_root \+", str(held))
        assert is_path(key) or not looks or held == "@sweep_guidance", f"{key} = {held!r}: add it to plain_keys.json"


@each_bundle
def test_a_path_is_text_from_first_to_last(bundle):
    config = plain(merged(bundle, widest(bundle)))
    keys = [key for key in config if is_path(key) and key != "bundle_root"]
    for number, name in enumerate([*NAMES, *ONE_PATH]):
        typed = {key: name for key in keys if not (key in LISTS and name in ONE_PATH)}
        words = [f"--{key}={value}" for key, value in typed.items()]
        if name[0] != "-" and number % 2:
            words = [word for key, value in typed.items() for word in (f"--{key.replace('_', '-')}", value)]
        assert arrives([*command(bundle, widest(bundle)), *words], list(typed)) == list(typed.values())
        assert arrives([*command(bundle), f"--bundle_root={name}"], ["bundle_root"]) == [name]


@each_bundle
def test_null_turns_a_path_off_where_a_run_can_do_without_it(bundle):
    words, config = command(bundle, widest(bundle)), merged(bundle, widest(bundle))
    paths = {key: held for key, held in config.items() if is_path(key)}
    null = [key for key, held in paths.items() if held is None or "null" in plain_keys().get(key, {}).get("type", "")]
    expected = dict.fromkeys(null) | {key: "" for key, held in paths.items() if held == "" and key not in null}
    needed = [key for key in paths if key not in expected]
    assert {"checkpoint_dir", "log_dir"} & set(paths) <= set(null) and "output_dir" in needed
    for text in ("None", "null", ""):
        off = [f"--{key}={text}" for key in expected]
        assert arrives([*words, *off], list(expected)) == list(expected.values())
        for key in needed:
            with pytest.raises(UserError, match=f"^--{key} is '{text}', but a run needs it: give a path") as refused:
                check_run([*words, f"--{key}={text}"])
            assert not text or f"or ./{text} where" in str(refused.value)
    assert arrives([*words, *(f"--{key}=./None" for key in needed)], needed) == ["./None"] * len(needed)


@each_bundle
def test_null_arrives_at_every_key_that_may_be_null(bundle):
    stack, metadata = widest(bundle), read_metadata(bundle)
    held = {key: held for key, held in plain(merged(bundle, stack)).items() if not is_path(key)}
    rules = {key: property_of(key, metadata, value) for key, value in held.items()}
    keys = [key for key, rule in rules.items() if rule is not None and rule["nullable"]]
    for text in ("None", "null", ""):
        assert arrives([*command(bundle, stack), *(f"--{key}={text}" for key in keys)], keys) == [None] * len(keys)


def unstated(bundle: Path) -> dict[str, tuple[str, ...]]:
    """Keys that no property describes, components among them -> a stack that has each."""
    metadata = read_metadata(bundle)
    return {
        key: stems
        for folder, stems in STACKS
        if folder == bundle
        for key, held in merged(bundle, stems).items()
        if key[0] != "_" and not is_path(key) and property_of(key, metadata, held) is None
    }


@each_bundle
def test_null_for_a_component_arrives_as_none_or_is_refused_in_a_sentence(bundle):
    found = unstated(bundle)
    assert found
    for number, (key, stems) in enumerate(found.items()):
        held = merged(bundle, stems)[key]
        text = ("null", "None", "null" if isinstance(held, str) else "")[number % 3]
        words = [*command(bundle, stems), f"--{key}={text}"]
        if refusal_of_null(merged(bundle, stems), key):
            with pytest.raises(UserError, match=rf"^--{key} is '{text}', but .*: leave --{key} out, or give it a val"):
                check_run(words)
        else:
            assert arrives(words, [key]) == [None]


WITH_CRITIC = [(bundle, stems) for bundle, stems in STACKS if isinstance(merged(bundle, stems).get("critic"), dict)]


@pytest.mark.parametrize("bundle, stems", WITH_CRITIC, ids=lambda v: v.name if isinstance(v, Path) else "+".join(v))
def test_a_stage_can_be_run_without_its_critic(bundle, stems):
    words = [*command(bundle, stems), "--critic", "null"]
    read = [
        key for key in ("train#objective#critic", "train#trainer#critic") if "@critic" in str(merged(bundle, stems))
    ]
    assert arrives(words, ["critic", *read]) == [None] * (1 + len(read))
    assert arrives([*command(bundle, stems), "--train#objective#critic=null"], read[:1]) == [None]
    with pytest.raises(UserError, match="^--network is 'null', but .*: leave --network out, or give it a value.$"):
        check_run([*command(bundle, stems), "--network", "null"])


def test_null_is_refused_where_a_reader_needs_a_value():
    config = {
        "critic": {"_target_": "synthzoo.objectives.adversarial.PatchCritic", "discriminator": "@net"},
        "net": {"_target_": "torch.nn.Identity"},
        "rate": 1,
        "optimizer": "$torch.optim.Adam(@net.parameters(), lr=@rate)",
        "train": {
            "objective": {"_target_": "synthzoo.objectives.autoencoder.AutoencoderObjective", "critic": "@critic"}
        },
        "shown": ["@train#objective"],
    }
    assert not refusal_of_null(config, "critic") and not refusal_of_null(config, "train#objective#critic")
    assert not refusal_of_null(config, "rate")
    assert refusal_of_null(config, "net") == "critic takes no null for 'discriminator'"
    assert refusal_of_null(config, "critic::discriminator") == "critic takes no null for 'discriminator'"
    assert refusal_of_null(config, "train") == "shown#0 reads a part of it"
    assert refusal_of_null({**config, "critic": None}, "net") == "optimizer reads a part of it"
    assert refusal_of_null(config, "run") == "a run needs it"


def test_null_that_is_typed_counts_more_than_a_file_of_options(tmp_path):
    bundle = next(bundle for bundle in BUNDLES if "cache_dir" in merged(bundle, widest(bundle)))
    args = tmp_path / "args.json"
    args.write_text(json.dumps({"cache_dir": "kept"}))
    words = [*command(bundle, widest(bundle)), "--args_file", str(args), "--cache_dir", "None"]
    assert check_run(words) == {"cache_dir": "$None"}


@each_bundle
def test_a_tilde_is_the_home_folder_in_every_path(bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home #1"))
    for key in (key for key in merged(bundle, ("inference",)) if is_path(key)):
        for name in ("~", "~/out", "~/2024"):
            expected = str(tmp_path / "home #1") + name[1:]
            assert arrives([*command(bundle), f"--{key}={name}"], [key]) == [expected]
        assert arrives([*command(bundle), f"--{key}=a~b"], [key]) == ["a~b"]


@each_bundle
def test_a_path_with_a_control_character_or_without_value_is_refused(bundle):
    for key in (key for key in merged(bundle, ("inference",)) if is_path(key)):
        for name in ("a\nb", "a\rb", "a\tb", "\x1b[1m", "a\u2028b"):
            with pytest.raises(UserError, match=f"^--{key} is .*not accepted: rename it\\.$"):
                check_run([*command(bundle), f"--{key}", name])
        with pytest.raises(UserError, match=f"--{key} has no value"):
            check_run([*command(bundle), f"--{key}"])


@pytest.mark.parametrize("bundle", [b for b in BUNDLES if "images" in merged(b, ("inference",))], ids=lambda b: b.name)
def test_a_list_of_images_is_a_list_of_texts(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for typed, expected in {
        "['a b','c#1']": ["a b", "c#1"],
        '["2024_01","$x"]': ["2024_01", "$x"],
        "[2024_01, 0x10]": ["2024_01", "0x10"],
        "[a,b]": ["a", "b"],
        "[in/a.nii.gz,in/b#.nii.gz]": ["in/a.nii.gz", "in/b#.nii.gz"],
    }.items():
        assert arrives([*command(bundle), "--images", typed], ["images"]) == [expected]
    (tmp_path / "[a,b]").mkdir()
    assert arrives([*command(bundle), "--images", "[a,b]"], ["images"]) == ["[a,b]"]


@each_bundle
def test_paths_of_files_of_options_and_of_own_configs_arrive_too(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for number, (value, expected) in enumerate({"out #1": "out #1", "~/x": f"{tmp_path}/x", 2024: "2024"}.items()):
        own, args = tmp_path / f"own{number}.json", tmp_path / f"args{number}.json"
        own.write_text(json.dumps({"output_dir": value}))
        listed = str([str(bundle / "configs" / "inference.json"), str(own)])
        assert arrives(["--config_file", listed], ["output_dir"]) == [expected]
        args.write_text(json.dumps({"output_dir": value}))
        words = [*command(bundle), "--args_file", str(args)]
        assert typed_again(words, check_run(words))[-1].startswith("--output_dir=")
    own.write_text(json.dumps({"output_dir": "$@bundle_root + '/elsewhere'"}))
    assert arrives(["--config_file", listed], ["output_dir"]) == ["./elsewhere"]


@pytest.mark.parametrize("name", ["Patient #12", "50% @x", "$HOME", "%x", "2024", "[a]", "a%#b"])
def test_a_study_of_any_name_is_found_in_this_process_too(name, tmp_path, phantom_nifti, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle = next(bundle for bundle in BUNDLES if "smallest_ml" in merged(bundle, ("inference",)))
    study = Path(name)
    study.mkdir()
    shutil.copy(phantom_nifti, study / "scan #1.nii.gz")
    for images in (study, [study / "scan #1.nii.gz"], str(tmp_path / study)):
        made = {"images": images, "output_dir": study / "out #1"}
        table = load_config(bundle, overrides=made).get_parsed_content("dataset#data")
        assert [path.name for path in table.paths] == ["scan #1.nii.gz"]
        assert table.output_dir == study / "out #1"


# --- values in range --------------------------------------------------------------------------------------------------


@each_bundle
def test_every_plain_number_has_a_range_and_what_is_outside_is_refused(bundle):
    metadata, tried = read_metadata(bundle), set()
    numbers = [
        (stems, key, held)
        for stems in (stems for folder, stems in STACKS if folder == bundle)
        for key, held in plain(merged(bundle, stems)).items()
        if isinstance(held, (bool, int, float))
    ]
    for stems, key, held in numbers:
        if key in tried:
            continue
        tried.add(key)
        words = command(bundle, stems)
        rule = property_of(key, metadata, held)
        assert rule is not None
        assert rule["type"] == "boolean" or {"minimum", "maximum"} <= set(rule), (
            f"{bundle.name}: {key}: state its range in plain_keys.json, or in metadata.json among the options"
        )
        assert check_run([*words, f"--{key}={str(held)}"]) == {}
        wrong = ["abc", "1e999", "-1e999", "1+1", "{'a': 1}x", "nan", "", "''"]
        if rule["type"] != "boolean":
            wrong += [str(rule["minimum"] - 1), str(rule["maximum"] + 1), "True"]
        wrong += ["0.5"] if rule["type"] == "integer" else []
        for value in wrong:
            if value in ("nan", "", "''") and rule["nullable"] and value != "nan":
                continue
            with pytest.raises(UserError) as refused:
                check_run([*words, f"--{key}={value}"])
            sentence = str(refused.value)
            assert sentence.startswith(f"--{key} is ") and "must" in sentence and "\n" not in sentence
            if rule["type"] != "boolean":
                assert re.search(r"between \S+ and \S+|from \S+ to \S+", sentence), sentence


@each_bundle
def test_a_value_out_of_range_in_a_file_is_refused_with_the_file(bundle, tmp_path):
    own, args = tmp_path / "own.json", tmp_path / "args.json"
    own.write_text(json.dumps({"seed": -1}))
    args.write_text(json.dumps({"seed": -1}))
    listed = str([str(bundle / "configs" / "inference.json"), str(own)])
    with pytest.raises(UserError, match=rf"^{re.escape(str(own))}: seed is -1, but must lie between 0 and"):
        check_run(["--config_file", listed])
    with pytest.raises(UserError, match=rf"^{re.escape(str(args))}: seed is -1, but must lie between 0 and"):
        check_run([*command(bundle), "--args_file", str(args)])


# --- unknown keys -----------------------------------------------------------------------------------------------------


@each_bundle
def test_an_unknown_key_is_refused_by_every_way_in(bundle, tmp_path):
    own, args = tmp_path / "own.json", tmp_path / "args.json"
    listed = str([str(bundle / "configs" / "inference.json"), str(own)])
    data = "dataset#data" if "data" in read_json(bundle / "configs" / "inference.json")["dataset"] else "dataset"
    for key, close in {
        "seeed": "--seed",
        "nonsense": "",
        f"{data}#overwrit": "",
        f"{data}#bundl": f"{data}#bundle",
        "network_def#nothing#x": "",
        "handlers#7": "",
    }.items():
        own.write_text(json.dumps({key: 1}))
        args.write_text(json.dumps({key: 1}))
        for words in (
            [*command(bundle), f"--{key}", "1"],
            [*command(bundle), f"--{key.replace('#', '::')}=1"],
            [*command(bundle), "--args_file", str(args)],
            ["--config_file", listed],
        ):
            with pytest.raises(UserError) as refused:
                check_run(words)
            assert key.split("#")[-1 if key.count("#") < 2 else 1] in str(refused.value)
            assert f"did you mean {close}?" in str(refused.value) or not close
    assert check_run([*command(bundle), f"--{data}#overwrite", "True"]) == {}


def test_an_own_config_may_add_what_it_reads(tmp_path):
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"years": 70, "age": "@years", "_note_": "mine", "mine": ["$print(1)"]}))
    bundle = next(bundle for bundle in BUNDLES if "age" in merged(bundle, ("inference",)))
    listed = str([str(bundle / "configs" / "inference.json"), str(own)])
    assert check_run(["--config_file", listed, "--run_id", "mine"]) == {}
    with pytest.raises(UserError, match="own.json: mine: no config reads a key 'mine'"):
        check_run(["--config_file", listed])


# --- lists without quotes ---------------------------------------------------------------------------------------------


@each_bundle
def test_a_list_without_quotes_is_told_with_the_words_that_work(bundle):
    key = "images" if "images" in merged(bundle, ("inference",)) else "output_dir"
    for rest in (["b"], ["b.nii.gz", "c.nii.gz"]):
        with pytest.raises(UserError, match=f"'{rest[0]}' belongs to no option") as refused:
            check_run([*command(bundle), f"--{key}", "a", *rest, "--seed", "1"])
        assert "\n" not in str(refused.value)
    assert check_run(["run", *command(bundle)]) == {}, "`run` as a word is the stock tool's own"


def test_a_list_of_numbers_has_its_length_and_its_range():
    for sound in ([48, 48, 48], (80, 96, 80), None, "null", "$[16] * 3", "@image_size"):
        check_key("patch", sound, {}, None)
    check_key("network_def#autoencoder#patch", 2, {}, 2)  # another thing of that name
    for wrong in (48, "48", [48, 48], [48, 48, 4], [48, 48, "a"], [48.5] * 3, [True] * 3, [], "a,b,c"):
        with pytest.raises(UserError, match="^--patch is .*must be a list of 3, each .*16 to 1024, such as"):
            check_key("patch", wrong, {}, None, "--")
