"""What every bundle promises, checked for each folder in bundles/ and for the skeleton of `new_bundle`.

Nothing is registered. A check that a bundle cannot pass is named in its metadata with the reason, under
`synthzoo#exceptions`: {"<test name without test_>": "<reason>"}.
"""

from __future__ import annotations

import inspect
import json
import re
from pydoc import locate

import numpy as np
import pytest
import torch
from bundle_runs import BUNDLE_NAMES, SKELETON, alike, input_of, quick, results, volumes
from typed_commands import bases
from written_files import check_written

from synthzoo.bundle.compose import config_files, load_config, load_workflow, run_bundle
from synthzoo.bundle.find import read_json, read_metadata
from synthzoo.bundle.form import form_problems
from synthzoo.bundle.order import expression_problems, order_problems, walk
from synthzoo.bundle.schema import SCHEMA_FILE, metadata_problems

pytestmark = pytest.mark.parametrize("bundle", BUNDLE_NAMES, indirect=True, scope="session")

HEADINGS = ["Intended use", "Limits", "Data", "Input", "Output", "Results", "Run", "Cite"]
FILES = ["LICENSE", "docs/README.md", "docs/data_license.txt", "configs/logging.conf", "models/model.pt"]
FILES_OF_A_FINISHED_BUNDLE = ["configs/evaluate.json", "configs/multi_gpu_train.json", "configs/paper.json"]


@pytest.fixture(autouse=True)
def declared_exception(request, bundle):
    """A check that the bundle's metadata declares impossible runs, must fail, and is reported with its reason."""
    reasons = read_metadata(bundle).get("synthzoo", {}).get("exceptions", {})
    check = request.node.originalname.removeprefix("test_")
    if check in reasons:
        request.applymarker(pytest.mark.xfail(reason=reasons[check], strict=True))


@pytest.fixture
def only_here(monkeypatch, tmp_path):
    """Work from a folder in which no config could find anything by a relative path."""
    monkeypatch.chdir(tmp_path)


def overlays_of(bundle) -> list[str]:
    names = sorted(path.stem for path in (bundle / "configs").glob("*.json"))
    return [name for name in names if name not in ("metadata", "inference")]


def base_of(bundle, overlay: str) -> list[str]:
    """The overlays to be loaded for one, itself the last: those that the command in its description runs."""
    desc = read_json(bundle / "configs" / f"{overlay}.json").get("_desc_", "")
    if overlay == "multi_gpu_train":
        stages = [name for name in overlays_of(bundle) if name.startswith("train")]
        named = [stage for stage in stages if f"{stage}.json" in desc]
        return [*(named or stages[:1])[:1], overlay]
    named = [name for name in overlays_of(bundle) if f"configs/{name}.json" in desc]
    named = sorted(named, key=lambda name: desc.index(f"configs/{name}.json"))
    return named if overlay in named[-1:] else [overlay]


def two_steps(bundle) -> dict:
    """An override that makes a sampler inside the network short."""
    return {"network_def#steps": 2} if "steps" in load_config(bundle)["network_def"] else {}


def input_shape(bundle) -> list[int]:
    """A batch of one that the metadata allows; 32 along free axes."""
    form = read_metadata(bundle)["network_data_format"]["inputs"]["image"]
    return [1, form["num_channels"], *(size if isinstance(size, int) else 32 for size in form["spatial_shape"])]


def missing_references(parser) -> list[str]:
    """Every `@id` of a parsed config that points at nothing."""
    items = parser.ref_resolver.items
    found = []
    for identity, item in items.items():
        for reference in parser.ref_resolver.find_refs_in_config(item.get_config(), identity):
            found += [] if reference in items else [f"{identity} refers to @{reference}, which does not exist"]
    return found


def test_metadata_follows_the_schema(bundle):
    assert metadata_problems(bundle) == []


def test_exceptions_name_checks_that_exist(bundle):
    known = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    unknown = set(read_metadata(bundle)["synthzoo"].get("exceptions", {})) - known
    assert not unknown, f"metadata.json: synthzoo#exceptions names no check: {unknown}; checks: {sorted(known)}"


def test_all_files_are_there(bundle, request):
    finished = [] if SKELETON in request.node.name else FILES_OF_A_FINISHED_BUNDLE
    assert [name for name in FILES + finished if not (bundle / name).is_file()] == []
    assert [name for name in overlays_of(bundle) if name.startswith("train")], "no train*.json"
    for listed in bundle.glob("large_files.y*ml"):
        text = listed.read_text()
        assert text.count("hash_type:") == text.count("hash_val:") == text.count("url:"), f"{listed.name}: hash_type"


def test_the_card_has_its_headings_and_pictures(bundle):
    card = bundle / "docs" / "README.md"
    text = card.read_text()
    found = re.findall(r"^## (.+?)\s*$", re.sub(r"```.*?```", "", text, flags=re.S), flags=re.M)
    allowed = [heading for heading in found if heading in HEADINGS]
    assert allowed == HEADINGS, f"{card}: the headings are {', '.join(HEADINGS)}, in this order; it has {found}"
    if read_metadata(bundle)["synthzoo"]["task"] != "anomaly_map":
        assert "privacy" in text.lower(), f"{card}: a generative card says what was measured about privacy"
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in target or (card.parent / target).exists(), f"{card}: {target} does not exist"


def test_json_files_are_in_form_and_order(bundle):
    problems = [problem for path in (bundle / "configs").glob("*.json") for problem in form_problems(path, True)]
    for name in ["inference", *overlays_of(bundle)]:
        problems += expression_problems(bundle / "configs" / f"{name}.json")
    assert problems + order_problems(bundle) == []


def test_the_inspection_passes(bundle):
    from synthzoo.bundle.inspect.judge import inspect_bundle

    result = inspect_bundle(bundle)
    assert result.verdict == "pass", str(result)


def test_inference_stands_alone(bundle, only_here):
    from monai.bundle import ConfigParser

    for base in bases(bundle):
        config = read_json(bundle / "configs" / f"{base}.json")
        assert config["bundle_root"] == "."
        assert "$import synthzoo.cli" in config["imports"], "imports lack '$import synthzoo.cli', which words mistakes"
        parser = ConfigParser(config)
        parser.parse()
        assert missing_references(parser) == [], f"{base}.json"


def test_targets_exist_and_take_their_arguments(bundle):
    from monai.bundle import ConfigComponent

    for overlay in [None, *overlays_of(bundle)]:
        merged = load_config(bundle, base_of(bundle, overlay) if overlay else ()).get()
        for where, node in walk(merged):
            if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
                continue
            if node["_target_"][0] in "$@%":
                continue
            target = ConfigComponent(config=node, id=where).resolve_module_name()
            if isinstance(target, str):
                resolved = locate(target)
                assert resolved is not None, f"{overlay or 'inference'}.json: {where}: {target} does not exist"
                target = resolved
            if node.get("_mode_", "default") != "default":
                continue
            arguments = {key: None for key in node if not (key.startswith("_") and key.endswith("_"))}
            try:
                inspect.signature(target).bind_partial(**arguments)
            except TypeError as error:
                pytest.fail(f"{overlay or 'inference'}.json: {where}: {node['_target_']}: {error}")


def test_conditions_read_the_same_in_metadata_and_config(bundle):
    conditions = read_metadata(bundle)["synthzoo"]["conditions"]
    config = read_json(bundle / "configs" / "inference.json")
    tables = [node for _, node in walk(config["dataset"]) if isinstance(node, dict) and "conditions" in node]
    stated = tables[0]["conditions"] if tables else {}
    assert [name for name in conditions if name not in config] == []
    assert stated == conditions, "the conditions of dataset and of metadata.json are one text; copy the right one"


def test_weights_load_strictly_and_without_pickled_code(bundle):
    path = bundle / "models" / "model.pt"
    state = torch.load(path, weights_only=True, map_location="cpu")
    network = load_config(bundle).get_parsed_content("network_def")
    network.load_state_dict(state, strict=True)
    wrong = [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    assert not wrong, f"not finite: {wrong}"
    assert path.stat().st_size < 95e6, "git hosts refuse files of this size; store half precision"


def test_the_inferer_is_given_its_network(bundle):
    from monai.inferers import Inferer

    parser = load_config(bundle)
    inferer = parser.get_parsed_content("inferer")
    assert isinstance(inferer, Inferer)
    names = list(inspect.signature(inferer.__call__).parameters)
    assert names[:2] == ["inputs", "network"], f"{type(inferer).__name__}.__call__ takes {names}"
    held = [where for where, value in walk(parser["inferer"]) if isinstance(value, str) and "@network" in value]
    assert not held, f"inferer#{held} holds the network; MONAI Label loads the weights into another copy"


def test_forward_fits_network_data_format(bundle):
    # The stock check looks at channels and type only.
    network = load_config(bundle, overrides=two_steps(bundle)).get_parsed_content("network").cpu().eval()
    noise = torch.randn(input_shape(bundle), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pred = network(noise)
    form = read_metadata(bundle)["network_data_format"]["outputs"]["pred"]
    assert isinstance(pred, torch.Tensor), "one tensor in, one tensor out"
    assert list(pred.shape[:2]) == [1, form["num_channels"]]
    assert len(pred.shape[2:]) == len(form["spatial_shape"])
    for size, stated in zip(pred.shape[2:], form["spatial_shape"], strict=True):
        assert size == stated or isinstance(stated, str), f"pred is {list(pred.shape)}, metadata says {form}"
    assert str(pred.dtype) == f"torch.{form['dtype']}"
    assert torch.isfinite(pred).all()


def test_stock_verify_metadata_passes_offline(bundle, tmp_path):
    from monai.bundle import verify_metadata

    verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(SCHEMA_FILE))


def test_stock_verify_net_in_out_passes(bundle, only_here):
    from monai.bundle import verify_net_in_out

    shorter = two_steps(bundle)
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
        device="cpu",
        bundle_root=str(bundle),
        **shorter,
    )


def test_stock_check_properties_is_empty(bundle, phantom_nifti, tmp_path, only_here):
    workflow = load_workflow(bundle, overrides=quick(bundle, phantom_nifti, tmp_path / "out"))
    workflow.initialize()
    assert not workflow.check_properties()
    workflow.finalize()


def test_a_run_writes_what_the_card_says(bundle, quick_run, phantom_nifti):
    folder, metadata = quick_run(bundle), read_metadata(bundle)
    maps_images = "images" in read_json(bundle / "configs" / "inference.json")
    cases = ["patient"] if maps_images else ["sub-0001", "sub-0002"]
    found = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert found == cases
    for name in ("participants.tsv", "dataset_description.json"):
        assert (folder / name).is_file()
    assert not [path for path in folder.rglob("*") if path.name.endswith((".tmp", ".partial"))]
    for case in cases:
        for kind, output in metadata["synthzoo"]["outputs"].items():
            path = folder / case / f"{case}_{output['suffix']}"
            if maps_images and output.get("without_images"):
                assert not path.exists(), f"{kind}: {path.name} is for runs without images"
                continue
            assert path.is_file(), f"{kind}: {path.name} was not written"
            check_written(path, kind, metadata, input_of(bundle, phantom_nifti) if maps_images else None)
        sidecars = list((folder / case).glob("*.json"))
        assert sidecars, f"{case}: no sidecar"
        said = json.loads(sidecars[0].read_text())
        text = json.dumps(said)
        assert metadata["version"] in text and bundle.name in text
        assert maps_images or '"seed"' in text.lower()


def test_the_same_seed_gives_the_same_voxels(bundle, quick_run, phantom_nifti, tmp_path):
    before = volumes(quick_run(bundle))
    alone = {} if "images" in read_json(bundle / "configs" / "inference.json") else {"num_samples": 1}
    run_bundle(bundle, overrides=quick(bundle, phantom_nifti, tmp_path / "again", **alone))
    again = volumes(tmp_path / "again")
    assert again
    for name, voxels in again.items():
        assert alike(name, voxels, before[name]), f"{name} differs"
    images = [voxels for name, voxels in before.items() if "sub-000" in name]
    assert len(images) < 2 or not np.array_equal(images[0], images[1]), "two seeds gave one image"


def test_a_rerun_skips_what_is_complete(bundle, quick_run, phantom_nifti):
    folder = quick_run(bundle)
    before = {path: path.stat().st_mtime_ns for path in results(folder)}
    run_bundle(bundle, overrides=quick(bundle, phantom_nifti, folder))
    assert before and {path: path.stat().st_mtime_ns for path in results(folder)} == before


SMOKE = {
    **dict.fromkeys(("max_epochs", "epochs", "batch_size"), 1),
    **dict.fromkeys(
        ("epoch_length", "iterations", "size", "train_size", "validation_size", "steps_per_epoch", "threshold_scans"), 2
    ),
    "num_workers": 0,
}
PLACES = ("save_to", "checkpoint_dir", "log_dir", "output_dir")


def smoke_overrides(bundle, overlays, folder) -> dict:
    """Values that turn any training config into two iterations which write below `folder` only."""
    config = load_config(bundle, overlays).get()
    made = {}
    for where, value in walk(config):
        key = where.split("#")[-1]
        if key in SMOKE and type(value) is int:
            made[where] = min(SMOKE[key], value)
        if key in PLACES and isinstance(value, str) and (not value.startswith("@") or key in value):
            made[where] = str(folder / (f"{key}.pt" if key == "save_to" else key))
    return made


def test_two_steps_of_each_stage_move_the_weights(bundle, tmp_path, only_here):
    stages = [name for name in overlays_of(bundle) if name.startswith("train")]
    for stage in stages:
        folder, overlays = tmp_path / stage, base_of(bundle, stage)
        workflow = load_workflow(bundle, overlays, smoke_overrides(bundle, overlays, folder))
        workflow.initialize()
        assert not workflow.check_properties(), f"{stage}.json"
        network = workflow.parser.get_parsed_content("network")
        before = {name: value.clone() for name, value in network.state_dict().items()}
        workflow.run()
        workflow.finalize()
        moved = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
        assert moved, f"{stage}.json: no weight moved"
        for saved in folder.rglob("save_to.pt"):
            state = torch.load(saved, weights_only=True)
            load_config(bundle, overlays).get_parsed_content("network_def").load_state_dict(state, strict=True)


def test_every_overlay_parses_with_all_its_references(bundle, only_here):
    for overlay in overlays_of(bundle):
        parser = load_config(bundle, base_of(bundle, overlay))
        assert all(path.endswith(".json") for path in config_files(bundle, base_of(bundle, overlay)))
        parser.parse()
        assert missing_references(parser) == [], f"{overlay}.json"


def test_stock_trace_export_runs(bundle, tmp_path, only_here):
    from monai.bundle import ckpt_export

    shorter = two_steps(bundle)
    shape = input_shape(bundle)
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(bundle / "models" / "model.pt"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
        use_trace=True,
        input_shape=shape,
        bundle_root=str(bundle),
        **shorter,
    )
    traced = torch.jit.load(tmp_path / "model.ts")
    assert torch.isfinite(traced(torch.zeros(shape))).all()


def test_its_zip_runs_elsewhere(bundle, quick_run, phantom_nifti, tmp_path, only_here):
    import zipfile

    from synthzoo.bundle.pack import pack_bundle

    pack_bundle(bundle, tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        archive.extractall(tmp_path / "elsewhere")
    copy = tmp_path / "elsewhere" / bundle.name
    alone = {} if "images" in read_json(bundle / "configs" / "inference.json") else {"num_samples": 1}
    run_bundle(copy, overrides=quick(copy, phantom_nifti, tmp_path / "out", **alone))
    before = volumes(quick_run(bundle))
    made = volumes(tmp_path / "out")
    assert made and all(alike(name, voxels, before[name]) for name, voxels in made.items())
