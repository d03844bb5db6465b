"""Options of a request, the queue with its memory limit, bands, and what fine-tuning writes; without a server."""

from __future__ import annotations

import json
import threading
import time

import jsonschema
import numpy as np
import pytest

from synthzoo.bundle.find import find_bundles
from synthzoo.bundle.outputs import OUTPUT_KINDS, describe_outputs
from synthzoo.bundle.schema import SCHEMA_FILE
from synthzoo.errors import UserError
from synthzoo.serving.fine_tuning import Scan, find_reader, new_version, training_stages, write_table
from synthzoo.serving.options import Option, bundle_options, check_options
from synthzoo.serving.served import Cancelled, ServedBundle, is_served
from synthzoo.serving.store import ModelStore
from synthzoo.transforms.heat_bands import band_names, heat_bands

AGE = Option("age", "number", None, 20, 90, unit="years", condition=True)
STEPS = Option("steps", "integer", 20, 1, 200)
SEX = Option("sex", "string", None, enum=("F", "M"), condition=True)
SEED = Option("seed", "integer", 0, 0, 2**62 - 1)


@pytest.mark.parametrize(
    ("option", "value", "checked"),
    [
        (AGE, 70, 70.0),
        (AGE, "70.5", 70.5),  # a text field of a panel
        (AGE, "", None),
        (AGE, "n/a", None),
        (STEPS, "", 20),
        (STEPS, "30", 30),
        (STEPS, 30.0, 30),
        (SEX, "f", "F"),
        (SEED, 2**61 + 1, 2**61 + 1),  # as a float it would lose its last digit
        (SEED, f" {2**53 + 1}", 2**53 + 1),
        (Option("first", "integer", 0), 2**53 + 1, 2**53 + 1),  # whatever its name, and without a range
        (Option("guidance", "number", 1.5, 0, 9), float("nan"), 1.5),
    ],
)
def test_a_good_value_is_typed(option, value, checked):
    found = option.check(value)
    assert found == checked and type(found) is type(checked)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        (AGE, "$1+1", "looks like a program"),
        (SEX, " @network", "looks like a program"),
        (AGE, 19, "between 20 and 90 years"),
        (AGE, float("inf"), "between"),
        (AGE, True, "number"),
        (AGE, [70], "is a list"),
        (STEPS, 1.5, "integer from 1 to 200"),
        (STEPS, {"a": 1}, "is a dict"),
        (SEX, 1, "one of F, M"),
        (SEX, "X" * 300, "300 characters"),
        (SEED, -1, "between 0"),
        (SEED, 2**62, f"seed is {2**62}, but must lie between 0 and {2**62 - 1}"),
        (SEED, float(2**53), "integer from 0 .* in digits"),  # may stand for its neighbour
        (STEPS, float("inf"), "integer from 1 to 200"),
        (STEPS, 10**400, "a number of 401 digits"),
        (AGE, 10**400, "number from 20 to 90"),
        (Option("store", "boolean", True), "perhaps", "true or false"),
    ],
)
def test_a_bad_value_is_refused_with_a_sentence(option, value, words):
    with pytest.raises(UserError, match=words):
        option.check(value)


def test_options_come_from_metadata_and_defaults_from_the_config(root):
    for folder in sorted((root / "bundles").iterdir()):
        metadata = json.loads((folder / "configs" / "metadata.json").read_text())
        config = json.loads((folder / "configs" / "inference.json").read_text())
        options = bundle_options(metadata, config)
        assert set(metadata["synthzoo"].get("options", {})) <= set(options), "an option that inference.json lacks"
        for option in options.values():
            described = option.describe()
            jsonschema.Draft202012Validator.check_schema(described)
            if option.default is not None:
                assert option.check(option.default) == option.default
                jsonschema.validate(option.default, described)
    with pytest.raises(UserError, match="no option 'x': the known ones are age"):
        check_options({"age": AGE}, {"x": 1}, "this bundle")


def test_texts_and_pictures_of_a_data_set_are_not_served(root):
    for folder in sorted((root / "bundles").iterdir()):
        config = json.loads((folder / "configs" / "inference.json").read_text())
        left = [item["_target_"] for item in config["handlers"] if is_served(item)]
        assert left == [], f"{folder.name}: a request would run {left}"
        steps = config["postprocessing"]["transforms"]
        served = [step["_target_"] for step in steps if is_served(step)]
        assert served and not [name for name in served if "Preview" in name], f"{folder.name}: {served}"


def test_the_schema_knows_the_kinds_of_output_of_the_registry(root):
    schema = json.loads(SCHEMA_FILE.read_text())
    assert set(schema["definitions"]["synthzoo"]["properties"]["outputs"]["propertyNames"]["enum"]) == set(OUTPUT_KINDS)
    stated = {"label": {"suffix": "dseg.nii.gz"}, "heat_map": {"suffix": "heatmap.nii.gz", "title": "confidence"}}
    described = describe_outputs(stated)
    assert list(described) == ["heat_map", "label"], "what lies behind labels comes first"
    assert described["heat_map"] == {
        "title": "confidence",
        "view": "overlay",
        "stored": "label",
        "suffix": "heatmap.nii.gz",
    }


def test_bands_are_consecutive_and_keep_the_order_of_the_heat():
    heat = np.linspace(0, 1, 101, dtype=np.float32)
    bands = heat_bands(heat)
    assert bands.dtype == np.uint8 and (np.diff(bands.astype(int)) >= 0).all()
    assert set(bands) == {0, *band_names().values()} == {0, 1, 2, 3, 4, 5}
    assert bands[9] == 0 and bands[10] == 1 and bands[90] == 5


@pytest.fixture
def two(root):
    """The first two bundles with one network of a known size each, so that no weights are read."""
    import torch

    class Served(ServedBundle):
        def load(self, version=None):
            self.network = self.network or torch.nn.Linear(1000, 250, bias=False)  # 1 MB

        def weights_bytes(self):
            return 1_000_000

        def working_bytes(self):
            return 1_000_000

    store = ModelStore([], memory_gb=0.0031)
    store.bundles = {folder.name: Served(folder) for folder in sorted((root / "bundles").iterdir())[:2]}
    return store


def test_what_rests_is_unloaded_when_memory_runs_short(two):
    two.limit = 2_500_000  # one network and its work, and half of the other
    first, second = two.bundles
    for name in (first, second, first):
        with two.use(two.new_job(name)) as item:
            item.load()
        assert two.loaded() == [name]
    two.limit = 3_000_000
    with two.use(two.new_job(second)) as item:
        item.load()
    assert set(two.loaded()) == {first, second}
    two.limit = 1_500_000
    with pytest.raises(UserError, match="memory_gb"):
        two.use(two.new_job(first)).__enter__()


def test_requests_run_in_the_order_of_their_arrival_and_never_two_at_once(two):
    order, running, most = [], [], []
    name = next(iter(two.bundles))

    def work(number):
        with two.use(jobs[number]):
            running.append(number)
            most.append(len(running))
            order.append(number)
            time.sleep(0.02)
            running.remove(number)

    jobs = [two.new_job(name) for _ in range(6)]
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
        time.sleep(0.005)
    for thread in threads:
        thread.join()
    assert order == sorted(order) and max(most) == 1
    assert {job.state for job in jobs} == {"done"}


def test_a_waiting_and_a_running_job_can_be_cancelled(two):
    name = next(iter(two.bundles))
    first, second = two.new_job(name, "first"), two.new_job(name, "second")
    with two.use(first):
        two.cancel("second")
        with pytest.raises(Cancelled):
            two.use(second).__enter__()
        two.cancel("first")
        with pytest.raises(Cancelled):
            first.report(0, 1, 1)
    assert second.state == "cancelled"
    with pytest.raises(UserError, match="no job 'third'"):
        two.cancel("third")


def test_a_stage_that_learns_from_a_table_of_scans_declares_it_and_has_a_reader(root):
    found = {bundle: training_stages(bundle) for bundle in find_bundles(root)}
    assert any(found.values())
    assert not any(stages for bundle, stages in found.items() if bundle.name.startswith("echo_")), "videos are no scans"
    for bundle, stages in found.items():
        for stage in stages:
            config = json.loads((bundle / "configs" / f"{stage}.json").read_text())
            assert find_reader(config) and isinstance(config["fine_tuning"], dict), f"{bundle.name}: {stage}"


def test_scans_of_the_datastore_become_a_training_set(tmp_path, root):
    bundle = root / "bundles" / "brain_mr_synthesis_ldm"
    assert "train_diffusion" in training_stages(bundle)
    config = json.loads((bundle / "configs" / "train_diffusion.json").read_text())
    assert find_reader(config).startswith("train#dataset")
    for name in ("a", "b"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"")
    schemas = {
        "age": {"type": "number", "minimum": 20, "maximum": 90, "unit": "years"},
        "sex": {"type": "string", "enum": ["F", "M"]},
    }
    scans = [
        Scan("a", tmp_path / "a.nii.gz", {"age": 61, "sex": "m"}),
        Scan("b", tmp_path / "b.nii.gz", {"age": 300}),
    ]
    version = new_version(tmp_path / "versions")
    assert version.name == "0001" and new_version(tmp_path / "versions").name == "0002"
    write_table(version / "data", scans, schemas, held_out=1)
    assert (version / "data" / "participants.tsv").read_text().splitlines() == [
        "id\tage\tsex\tsplit",
        "a\t61\tM\ttrain",
        "b\tn/a\tn/a\tvalidation",
    ]
    assert (version / "data" / "images" / "a.nii.gz").resolve() == (tmp_path / "a.nii.gz").resolve()


def test_the_newest_version_that_improved_is_served(tmp_path, root):
    bundle = root / "bundles" / "brain_mr_synthesis_ldm"
    served = ServedBundle(bundle, versions=tmp_path)
    assert served.weights() == bundle.resolve() / "models" / "model.pt"
    for name, improved in (("0001", True), ("0002", False)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.pt").write_bytes(b"")
        (tmp_path / name / "version.json").write_text(json.dumps({"improved": improved}))
    assert served.known_versions() == ["0002", "0001", "released"]
    assert served.weights() == tmp_path / "0001" / "model.pt"
    assert served.weights("0002") == tmp_path / "0002" / "model.pt"
    with pytest.raises(UserError, match="model_version is '0003'"):
        served.weights("0003")
    for damaged in ("", "null", "[]", "[" * 100_000, '{"settings": {"steps": "many"}}'):
        (tmp_path / "0001" / "version.json").write_text(damaged)
        assert served.chosen() == "released", "weights whose record is damaged are not the newest good ones"
