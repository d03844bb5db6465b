"""The codebase keeps its shape: which room imports which, what a bundle may hold, and how long a file may be."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from synthzoo.bundle.find import check_name, find_bundles, read_json, read_metadata
from synthzoo.bundle.order import walk

ROOT = Path(__file__).resolve().parents[2]
LONGEST_FILE = 500
LONGEST_SCRIPT = 150

GROUND = {"io"}
LEAVES = {"phantoms", "transforms", "networks", "diffusion", "metrics"}
ROWS = {"cases", "datasets"}
SCIENCE = GROUND | LEAVES | ROWS | {"instruments", "objectives", "inferers", "results"}
# What each room of the library may import, itself and `errors` apart; in the order in which data flows.
MAY_IMPORT = {
    "io": set(),
    **dict.fromkeys(LEAVES, GROUND),
    "cases": GROUND | LEAVES,
    "datasets": GROUND | LEAVES | {"cases"},
    "objectives": GROUND | LEAVES | ROWS,
    "instruments": GROUND | LEAVES | ROWS | {"objectives"},
    "inferers": GROUND | LEAVES | ROWS | {"instruments"},
    "results": GROUND | LEAVES | ROWS,
    "training": SCIENCE,
    "evaluation": SCIENCE | {"training"},
    "systems": SCIENCE | {"training", "evaluation"},
    "bundle": SCIENCE | {"training"},
    "serving": SCIENCE | {"training", "evaluation", "bundle"},
    "cli": {"io", "cases", "bundle"},  # what configs and scripts begin with; no room imports it
}
# A system stands alone. The few that build on another name it here; what a third one needs moves into a room.
MAY_BUILD_ON = {
    "jvid": {"echonet_synthetic", "hidden_subspaces"},  # the same latent denoisers, and their re-identification network
    "echonet_synthetic": {"hidden_subspaces"},  # its privacy filter is a re-identification network
    "dartagnan": {"hidden_subspaces"},  # whose network says whether a counterfactual stays its patient's
    "echodiffusion": {"hidden_subspaces"},
    "monai_generative": {"many_tasks"},  # whose maps are drawn of scans before and after super-resolution
    "privacy_distillation": {"hidden_subspaces"},  # whose network, loss and pairs make the filter
}
# A module of a shared room serves two systems at least; these serve every image or every composite network of a kind,
# those of tokens every pair of a codebook autoencoder and a transformer: generators, and likelihood maps.
SERVES_ALL = {
    "transforms.head_grid",
    "transforms.middle_plane",
    "transforms.regions",
    "transforms.heat_bands",
    "transforms.radiograph_grid",
    "transforms.radiograph_augmentation",
    "metrics.localisation",
    "objectives.part",
    "networks.adopted",  # what was made elsewhere, of any kind: `docs/moving_in.md`
    "networks.maisi",
    "diffusion.rectified_flow",
    "networks.codebook",
    "networks.token_transformer",
    "networks.token_images",
    "objectives.codebook",
    "objectives.next_token",
    "inferers.tokens",
}
# System in the making -> modules of shared rooms that it and its sibling will use, until its bundles say so.
AWAITED = {
    "foreground_background": {  # and chest_distillation: text to image, whose cross-attention is read
        *("networks.cross_attention", "networks.text_to_image", "networks.word_tokens"),
        *("networks.stable_diffusion", "networks.stable_diffusion_weights", "objectives.text_diffusion"),
        *("inferers.word_attention", "inferers.text_to_image", "transforms.mixture_masks"),
    },
}
SHARED_ROOMS = {"transforms", "networks", "diffusion", "objectives", "metrics", "inferers"}
SYSTEMS = sorted(path for path in (ROOT / "synthzoo" / "systems").iterdir() if (path / "__init__.py").is_file())
OUTSIDE = {"scripts", "tests", "plugins", "bundles"}
LIBRARY = sorted((ROOT / "synthzoo").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    part = path.relative_to(ROOT / "synthzoo").parts[0]
    return part.removesuffix(".py")


def imports(path: Path) -> list[tuple[int, str]]:
    """Line and module of every import, those inside functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                package = path.relative_to(ROOT).with_suffix("").parts[: -node.level]
                module = ".".join([*package, *([node.module] if node.module else [])])
            else:
                module = node.module
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return found


def module_of(path: Path) -> str:
    """The module's dotted name."""
    return name(path)[:-3].replace("/", ".").removesuffix(".__init__")


def systems_of(bundle: Path) -> dict[str, set[str]]:
    """Config file -> systems that it names, of one bundle."""
    found = {}
    for path in sorted((bundle / "configs").glob("*.json")):
        named = re.findall(r'"\$?synthzoo\.systems\.(\w+)', path.read_text())
        found[path.name] = set(named)
    return found


def rooms_read(path: Path) -> list[tuple[int, str]]:
    """Line and room of every import from the library."""
    found = [(line, module.split(".")[1]) for line, module in imports(path) if module.startswith("synthzoo.")]
    return [(line, room) for line, room in found if room in MAY_IMPORT]


def home_for(rooms: set[str]) -> str:
    """The first rooms that may import all of `rooms`."""
    homes = [room for room, allowed in MAY_IMPORT.items() if rooms <= allowed | {room}]
    if "objectives" in homes:
        return "objectives/, inferers/ or privacy/"
    return f"{homes[0]}/" if homes else "scripts/"


@pytest.mark.parametrize("path", LIBRARY, ids=name)
def test_a_module_imports_only_what_its_room_may_import(path):
    room = room_of(path)
    if room in ("__init__", "errors"):
        assert not rooms_read(path), f"{name(path)} is imported by all rooms, so it may import none of them"
        return
    assert room in MAY_IMPORT, (
        f"{name(path)}: '{room}' is no package of the library; the rooms are {', '.join(MAY_IMPORT)}"
    )
    read = rooms_read(path)
    home = home_for({other for _, other in read} - {room})
    offences = [
        f"{name(path)}:{line} imports synthzoo.{other}, but {room} may import only "
        f"{', '.join(sorted(MAY_IMPORT[room])) or 'errors'}: this code belongs in {home}"
        for line, other in read
        if other != room and other not in MAY_IMPORT[room]
    ]
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize("folder", SYSTEMS, ids=lambda folder: folder.name)
def test_a_system_builds_on_another_only_where_that_is_declared(folder):
    allowed = MAY_BUILD_ON.get(folder.name, set()) | {folder.name}
    offences = [
        f"{name(path)}:{line} imports {module}"
        for path in folder.glob("*.py")
        for line, module in imports(path)
        if module.startswith("synthzoo.systems.") and module.split(".")[2] not in allowed
    ]
    for bundle in find_bundles(ROOT):
        if read_metadata(bundle)["synthzoo"]["system"] == folder.name:
            for file, named in systems_of(bundle).items():
                offences += [f"{bundle.name}: {file} names {other}" for other in named - allowed]
    remedy = "move what two systems need into a room, or declare it in MAY_BUILD_ON"
    assert not offences, "\n".join([*offences, remedy])


@pytest.mark.parametrize("folder", SYSTEMS, ids=lambda folder: folder.name)
def test_a_system_says_what_paper_it_is_and_which_bundles_use_it(folder):
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert re.search(r"\(.*\b20\d\d\)", text, re.S), f"{folder.name}: title, authors, venue and year open the docstring"
    for part in ("Link: https://", "Bundles: ", "Departs from the paper: "):
        assert part in text, f"{folder.name}/__init__.py lacks '{part}'"
    users = {bundle.name for bundle in find_bundles(ROOT) if read_metadata(bundle)["synthzoo"]["system"] == folder.name}
    assert set(re.search(r"Bundles: (.*)", text).group(1).split(", ")) == users
    files = {path.name for path in folder.glob("*.py")}
    # A paper of several bundles names them by the bundle, such as translation_network.py.
    ends = {file.rpartition("_")[2] for file in files}
    assert "evaluation.py" in ends, f"{folder.name} has no evaluation.py"
    assert ends & {"network.py", "sampler.py"}, f"{folder.name} has neither network.py nor sampler.py"


def test_every_bundle_names_its_system_by_its_folder():
    folders = {folder.name for folder in SYSTEMS}
    for bundle in find_bundles(ROOT):
        system = read_metadata(bundle)["synthzoo"]["system"]
        assert system in folders, f"{bundle.name}: synthzoo/systems/{system} does not exist"


def users_of_modules() -> dict[str, set[str]]:
    """Module of the library, without `synthzoo.` -> systems whose bundles or code reach it by any way."""
    modules = {module_of(path): path for path in LIBRARY}
    reads = {}
    for module, path in modules.items():
        named = {target for _, target in imports(path) if target.startswith("synthzoo.")}
        reads[module] = {part for target in named for part in (target, target.rpartition(".")[0]) if part in modules}
    users: dict[str, set[str]] = {module: set() for module in modules}

    def reach(module: str, system: str) -> None:
        if module in users and system not in users[module]:
            users[module].add(system)
            for other in reads[module]:
                reach(other, system)

    for folder in SYSTEMS:
        for path in folder.glob("*.py"):
            reach(module_of(path), folder.name)
    for bundle in find_bundles(ROOT):
        system = read_metadata(bundle)["synthzoo"]["system"]
        texts = [path.read_text() for path in (bundle / "configs").glob("*.json") if path.name != "metadata.json"]
        for target in set(re.findall(r"synthzoo(?:\.\w+)+", "".join(texts))):
            while target and target not in modules:
                target = target.rpartition(".")[0]
            reach(target, system)
    return {module.removeprefix("synthzoo."): found for module, found in users.items()}


def test_a_shared_room_holds_what_two_systems_use():
    offences = []
    for module, users in users_of_modules().items():
        room, _, rest = module.partition(".")
        awaited = any(module in modules for modules in AWAITED.values())
        if room in SHARED_ROOMS and rest and len(users) < 2 and module not in SERVES_ALL and not awaited:
            offences.append(f"{module} is used by {', '.join(users) or 'no system'} alone: it belongs in its folder")
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize("system", AWAITED)
def test_a_system_is_awaited_only_until_it_is_there(system):
    assert system not in {folder.name for folder in SYSTEMS}, f"{system} has its bundles: take it out of AWAITED"


def test_no_loss_reaches_an_instrument():
    reads = {module_of(path): {target for _, target in imports(path)} for path in LIBRARY}
    offences = []
    for path in LIBRARY:
        if room_of(path) == "instruments" or not (room_of(path) == "objectives" or "objective" in path.stem):
            continue
        seen, waiting = set(), [module_of(path)]
        while waiting:
            module = waiting.pop()
            if module in reads and module not in seen:
                seen.add(module)
                waiting += [part for target in reads[module] for part in (target, target.rpartition(".")[0])]
        offences += [f"{name(path)} reaches {one}" for one in seen if one.startswith("synthzoo.instruments.")]
    assert not offences, "what is trained against an instrument is measured by it in vain:\n" + "\n".join(offences)


@pytest.mark.parametrize("path", LIBRARY, ids=name)
def test_the_library_imports_nothing_outside_itself(path):
    offences = [
        f"{name(path)}:{line} imports {module}: scripts, tests and plugins import the library, never the reverse"
        for line, module in imports(path)
        if module.split(".")[0] in OUTSIDE
    ]
    assert not offences, "\n".join(offences)


def test_every_bundle_has_a_name_that_the_stock_tools_can_find():
    for bundle in find_bundles(ROOT):
        check_name(bundle.name, read_metadata(bundle).get("synthzoo", {}).get("task"))


def test_a_bundle_is_data_without_python():
    found = [name(path) for path in (ROOT / "bundles").rglob("*.py")]
    assert not found, f"{found}: a bundle holds no Python; move it into the room of synthzoo/ it belongs in"


@pytest.mark.parametrize("bundle", find_bundles(ROOT), ids=lambda bundle: bundle.name)
def test_a_bundle_names_only_declared_packages_and_no_other_bundle(bundle):
    declared = {package.replace("-", "_") for package in read_metadata(bundle)["required_packages_version"]}
    allowed = {"synthzoo", "monai", "torch"} | declared
    others = {other.name for other in find_bundles(ROOT)} - {bundle.name}
    for path in sorted((bundle / "configs").glob("*.json")):
        if path.name == "metadata.json":
            continue
        for where, value in walk(read_json(path)):
            if where.endswith("_target_") and isinstance(value, str) and "." in value and value[0] not in "$@%":
                package = value.split(".")[0]
                assert package in allowed, f"{name(path)}: {where}: declare {package} in required_packages_version"
            if isinstance(value, str):
                named = [other for other in others if other in value.replace(bundle.name, "")]
                assert not named, f"{name(path)}: {where} names another bundle, {named}; bundles share synthzoo alone"


@pytest.mark.parametrize("path", LIBRARY + SCRIPTS + TESTS, ids=name)
def test_a_file_has_one_subject_and_says_which(path):
    text = path.read_text()
    lines = text.count("\n")
    assert lines <= LONGEST_FILE, f"{name(path)} has {lines} lines, more than {LONGEST_FILE}: split it by subject"
    assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{name(path)} opens with no docstring"


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_is_a_thin_verb(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= LONGEST_SCRIPT, f"{name(path)} is long: move its work into the library"
    classes = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert not classes, f"{name(path)} defines {classes}: classes belong in synthzoo/"
    assert any(module.startswith("synthzoo") for _, module in imports(path)), f"{name(path)} does not call the library"
    assert '__name__ == "__main__"' in text, f"{name(path)} runs when it is imported"


# Renames that are no write of a file: the reason stands beside each.
RENAMES = {
    "synthzoo/io/files.py": "the one atomic write itself",
    "synthzoo/results/nnunet.py": "nnU-Net's folder gets another number; nothing is written",
    "synthzoo/bundle/download.py": "a whole folder takes the place of another",
    "plugins/monailabel/lib/datastore.py": "a label that belongs to no image is hidden; nothing is written",
    "plugins/monailabel/lib/answers.py": "a temporary answer leaves its folder; nobody reads it under its old name",
}


def renames(path: Path) -> list[int]:
    """Lines that rename a file: os.replace, os.rename, shutil.move, and Path.replace or .rename, of one argument."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            whole = (owner, node.func.attr) in {("os", "replace"), ("os", "rename"), ("shutil", "move")}
            if whole or (node.func.attr in ("replace", "rename") and len(node.args) == 1 and not node.keywords):
                found.append(node.lineno)
    return found


def test_files_are_written_whole_in_one_place():
    paths = LIBRARY + SCRIPTS + sorted((ROOT / "plugins" / "monailabel").rglob("*.py"))
    offences = [f"{name(path)}:{line}" for path in paths if name(path) not in RENAMES for line in renames(path)]
    assert not offences, f"{offences}: write through synthzoo.io.files (write_bytes, write_json, atomic_path)"
    assert all(renames(ROOT / path) for path in RENAMES), "an exception that is none any more"


TEXT = {".py", ".md", ".json", ".toml", ".txt", ".cff", ".yaml", ".yml", ".conf", ".tsv", ".csv", ""}
# Spelt in pieces, so that this file does not offend against its own rule.
HOMES = ["wo" + "rk", "ro" + "ot", "ho" + "me", "Use" + "rs"]


def test_no_file_names_a_path_of_somebodys_machine():
    private = re.compile(r"(?<![\w.])/(" + "|".join(HOMES) + r")/\w|[A-Z]:\\\\")
    places = ["synthzoo", "scripts", "tests", "plugins", "bundles", ".ci"]
    paths = [path for place in places for path in (ROOT / place).rglob("*") if "__pycache__" not in path.parts]
    paths += list(ROOT.iterdir())
    offences = []
    for path in paths:
        if path.is_file() and path.suffix in TEXT and path.name != ".git":
            lines = path.read_text(errors="replace").splitlines()
            found = [number for number, line in enumerate(lines, start=1) if private.search(line)]
            offences += [f"{name(path)}:{number}: {lines[number - 1].strip()[:100]}" for number in found]
    assert not offences, "an absolute path works on one machine only:\n" + "\n".join(offences)
