"""What would run code when a bundle is loaded never passes the inspection, however it is hidden."""

import json
import marshal
import zipfile

import bundle_samples as samples
import pytest

from synthzoo.bundle.inspect.allowed import is_allowed, is_module
from synthzoo.bundle.inspect.judge import inspect_bundle

CLEAN = "def f(x):\n    return x + 1\n"


@pytest.fixture
def bundle(tmp_path):
    return samples.write_bundle(tmp_path)


def verdict(bundle) -> str:
    result = inspect_bundle(bundle)
    assert result.verdict == "pass" or any(finding.why for finding in result.findings)
    return result.verdict


# Every value is evaluated or instantiated by MONAI when the config is parsed.
HOSTILE = [
    # private imports and re-exports of allowed modules
    "$collections._sys.modules['os'].system('id')",
    "$monai.utils.misc.subprocess.run(['id'])",
    "$monai.utils.misc.inspect.currentframe().f_globals",
    "$monai.utils.type_conversion.sys.modules",
    "$torch.nn.functional.importlib.import_module('os')",
    "$torch._C._jit_get_operation('x')",
    "$json.codecs.builtins.eval('1')",
    "$np.compat.py3k.os.system('id')",
    {"_target_": "monai.utils.misc.inspect.stack"},
    {"_target_": "monai.transforms.utils.os.system", "command": "id"},
    {"_target_": "monai.data.image_reader.warnings.sys.exit"},
    {"_target_": "collections._sys.exit"},
    # computed and referenced targets
    {"_target_": "$'subprocess.r'+'un'", "args": ["id"]},
    {"_target_": "$@name", "args": ["id"]},
    {"_target_": "@name"},
    {"_target_": "%name"},
    {"network_def#_target_": "subprocess.run"},
    {"+network_def::_target_": "subprocess.run"},
    # modules as values, and what a value leads to
    "$torch",
    "$[os][0].system('id')",
    "$(lambda m: m)(os).system('id')",
    "$dict(a=os)['a'].popen('id')",
    "$(m := os) and m.system('id')",
    "$(x for x in ()).gi_frame.f_builtins['eval']('1')",
    "$(lambda: 0).__globals__",
    "$''.__class__.__mro__",
    "$type('X', (), {})",
    "$[f for f in [print]][0].__self__",
    "$vars()",
    "$globals()['__builtins__']",
    # text that becomes code
    "$getattr(torch, 'h' + 'ub').load('a/b', 'c')",
    "$getattr(@network, '__class__')",
    "$str.format('{0.__class__}', 1) and eval('1')",
    "$compile('1', 'x', 'eval')",
    "$exec('import os')",
    # texts that MONAI's replacement of references opens
    {"f": 1, "a": "$'@f{torch.hub.load(x)}'"},
    {"f": 1, "a": "$'@f#{torch.hub.load(x)}'"},
    "$@network#+torch.hub.load('a/b', 'c')",
    "$1 #\\n, torch.hub.load('a/b', 'c')",
    "$__local_refs[torch.hub]",
    # loaders of pickles
    "$torch.load('x', weights_only=False)",
    "$torch.load('x', weights_only=not True)",
    "$torch.load('x', **{'weights_only': False})",
    "$torch.load('x', None, @pickle_module)",
    "$functools.partial(torch.load, weights_only=False)",
    "$list(map(torch.load, ['x']))",
    "$numpy.load('x.npy', allow_pickle=True)",
    {"_target_": "torch.load", "f": "x", "weights_only": False},
    {"_target_": "torch.load", "f": "x"},
    {"_target_": "torch.load", "f": "x", "weights_only": "$bool(0)"},
    {"_target_": "functools.partial", "func": "$torch.load", "weights_only": False},
    {"_target_": "LoadImaged", "keys": "image", "reader": "NumpyReader", "allow_pickle": True},
    {"_target_": "monai.data.utils.pickle_operations", "data": {}},
    {"_target_": "pickle.loads", "data": "x"},
    {"_target_": "joblib.load", "filename": "x"},
    {"_target_": "pandas.read_pickle", "filepath_or_buffer": "x"},
    # writers and programs
    {"_target_": "pathlib.Path.write_text", "self": "x"},
    {"_target_": "synthzoo.io.files.write_bytes", "path": "sitecustomize.py", "data": "x"},
    {"_target_": "synthzoo.networks.saving.save_atomically", "path": "x"},
    {"_target_": "LogfileHandler", "output_dir": "runs", "filename": "usercustomize.py"},
    {"_target_": "shutil.copy", "src": "a", "dst": "b"},
    {"_target_": "os.symlink", "src": "a", "dst": "b"},
    "$pathlib.Path('sitecustomize.py').write_text('import os')",
    "$open('x.py', 'w').write('import os')",
    "$open('x.py', mode='a')",
    "$open(*['x', 'w'])",
    "$list(map(open, ['x'], ['w']))",
    "$setattr(torch, 'load', print)",
    "$setattr(monai.utils, 'set_determinism', print)",
    {"_target_": "monai.bundle.ConfigParser", "config": {}},
    {"_target_": "monai.bundle.run"},
    {"_target_": "run_cmd", "cmd_list": ["id"]},
    {"_target_": "ignite.distributed.Parallel"},
    {"_target_": "torch.utils.data.DataLoader.__init__"},
    {"_target_": "torch.jit._script.os.system"},
    {"_target_": "antigravity"},
    {"_target_": "print", "x": 1},
    {"a": "%docs/none.json::b"},
    {"a": "%../other/x.json::b"},
    {"_mode_": "debug", "_target_": "Compose"},
]


@pytest.mark.parametrize("value", HOSTILE, ids=str)
def test_a_value_that_runs_something_never_passes(bundle, value):
    path = bundle / "configs" / "inference.json"
    config = json.loads(path.read_text())
    config["imports"] += ["$import os", "$import collections", "$import json", "$import functools", "$import pathlib"]
    config |= value if isinstance(value, dict) and "_target_" not in value else {"hidden": value}
    path.write_text(json.dumps(config))
    assert verdict(bundle) in ("review", "refuse")


@pytest.mark.parametrize(
    "line",
    ["$import subprocess", "$import os, subprocess as json", "$from torch.utils import cpp_extension",
     "$from monai.utils.misc import subprocess", "$from os import *", "$ import importlib",
     "$import torch.hub as torch", "$from collections import _sys", "$import scripts"],
)  # fmt: skip
def test_an_import_that_brings_something_to_run_never_passes(bundle, line):
    samples.change(bundle, "imports", [line])
    assert verdict(bundle) in ("review", "refuse")


@pytest.mark.parametrize(
    "name", ["numpy.py", "torch/__init__.py", "json.py", "sitecustomize.py", "monai/data.py", "os.py"]
)
def test_a_file_that_takes_the_place_of_an_installed_module_is_refused(bundle, name):
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text(CLEAN)
    assert verdict(bundle) == "refuse"


def test_a_config_in_any_folder_is_read(bundle):
    (bundle / "docs" / "x.json").write_text(json.dumps({"b": {"_target_": "subprocess.run", "args": ["id"]}}))
    samples.change(bundle, "hidden", "%docs/x.json::b")
    assert verdict(bundle) == "refuse"
    (bundle / "docs" / "x.json").write_text(json.dumps({"b": 3}))
    assert verdict(bundle) == "pass"


def test_bytecode_is_never_passed(bundle):
    (bundle / "scripts" / "__pycache__").mkdir(parents=True)
    (bundle / "scripts" / "losses.py").write_text(CLEAN)
    samples.change(bundle, "loss", "$scripts.losses.f(1)")
    samples.change(bundle, "imports", ["$import scripts.losses"])
    assert verdict(bundle) == "pass"
    code = marshal.dumps(compile("import os", "x", "exec"))
    (bundle / "scripts" / "__pycache__" / "losses.cpython-311.pyc").write_bytes(b"\0" * 16 + code)
    assert verdict(bundle) != "pass"


@pytest.mark.parametrize("name", ["docs/data.bin", "docs/notes", "models/table.npz", "configs/extra.dat"])
def test_a_pickle_under_any_name_is_refused(bundle, name):
    (bundle / name).write_bytes(b"cos\nsystem\n(S'id'\ntR.")
    assert verdict(bundle) == "refuse"


MODULES = [
    ("import os\n\n\ndef f(x):\n    return os.system('id')\n", "refuse"),
    ("import torch\n\ntorch.load = print\n\n\ndef f(x):\n    return x\n", "refuse"),
    ("def f(x):\n    return x.__class__.__base__.__subclasses__()\n", "refuse"),
    ("def f(x):\n    try:\n        x()\n    except ValueError as e:\n        return e.__traceback__\n", "refuse"),
    ("from .other import g\n\n\ndef f(x):\n    return g(x)\n", "refuse"),
    ("import torch.nn as nn\n\n\nclass f(nn.Module):\n    def forward(self, x):\n        return self.step(x)\n\n"
     "    def step(self, x):\n        return nn.functional.relu(x)\n", "pass"),
    ("from contextlib import ExitStack\n\n\ndef f(x):\n    return ExitStack()\n", "review"),
    ("import torch\n\n\n@torch.no_grad()\ndef f(x):\n    y = x.clone()\n    return [v + 1 for v in y]\n", "pass"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "right"), MODULES, ids=[text[:40] for text, _ in MODULES])
def test_the_bundles_own_modules_are_read_by_the_same_grammar(bundle, text, right):
    (bundle / "scripts").mkdir()
    (bundle / "scripts" / "losses.py").write_text(text)
    (bundle / "scripts" / "other.py").write_text("import subprocess\n\n\ndef g(x):\n    subprocess.run(['id'])\n")
    if ".other" not in text:
        (bundle / "scripts" / "other.py").unlink()
    samples.change(bundle, "loss", {"_target_": "scripts.losses.f"})
    assert verdict(bundle) == right


def test_a_name_that_only_a_module_of_the_bundle_imports_is_not_the_bundles_own(bundle):
    (bundle / "scripts").mkdir()
    (bundle / "scripts" / "losses.py").write_text("import os\n\n\n" + CLEAN)
    samples.change(bundle, "imports", ["$import scripts.losses"])
    samples.change(bundle, "loss", "$scripts.losses.os.system('id')")
    assert verdict(bundle) == "refuse"


def test_a_zip_is_judged_as_its_folder(bundle, tmp_path):
    samples.change(bundle, "hidden", {"_target_": "$'os.sys'+'tem'"})
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for file in bundle.rglob("*"):
            archive.write(file, f"b/{file.relative_to(bundle)}")
    assert verdict(tmp_path / "b.zip") == "refuse"


HARMLESS = [
    "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "$[i for i in sorted(glob.glob(@dataset_dir + '/*.nii.gz'))][:-9]",
    "$monai.handlers.from_engine(['pred', 'label'])",
    "$@network_def.to(@device)",
    "$@train#trainer.run()",
    "$setattr(torch.backends.cudnn, 'benchmark', True)",
    "$dict(zip(['a'], [1.5]))",
    "$torch.load(@path, map_location=@device, weights_only=True)",
    "$lambda x: x[0] + 1",
    '$f"{@output_dir}/runs"',
    "$torch.nn.Linear(1, 1).parameters()",
    "$monai.utils.set_determinism(seed=1)",
    {"_target_": "torch.optim.AdamW", "lr": 0.1},
    {"_target_": "monai.transforms.Compose", "transforms": []},
    {"_target_": "SlidingWindowInferer", "roi_size": [8, 8]},
]


@pytest.mark.parametrize("value", HARMLESS, ids=str)
def test_what_configs_of_bundles_say_every_day_passes(bundle, value):
    samples.change(bundle, "imports", ["$import os", "$import glob", "$import torch", "$import monai"])
    samples.change(bundle, "plain", value)
    result = inspect_bundle(bundle)
    assert result.verdict == "pass", str(result)


def test_names_are_allowed_whole_and_modules_are_no_values():
    assert is_allowed("monai.networks.nets.UNet") and is_allowed("monai.networks.nets.unet.UNet")
    assert is_allowed("monai.transforms.LoadImaged") and is_allowed("monai.transforms.LoadImageD")
    assert not is_allowed("monai.networks.nets") and is_module("monai.networks.nets")
    assert not is_allowed("monai.utils.misc.subprocess") and not is_module("monai.utils.misc.subprocess")
    assert not is_allowed("monai.utils.module.instantiate") and not is_allowed("monai.utils.instantiate")
    assert not is_allowed("torch.nn") and not is_allowed("torch.hub.load") and not is_allowed("os.system")
