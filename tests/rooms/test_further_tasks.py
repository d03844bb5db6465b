"""Further tasks of a bundle are served beside it, each with its own config, weights, input and options."""

from __future__ import annotations

import json
import shutil

import jsonschema
import pytest

from synthzoo.bundle.schema import SCHEMA_FILE, metadata_problems
from synthzoo.cases.images import ImageTable
from synthzoo.errors import UserError
from synthzoo.serving.served import ServedBundle
from synthzoo.serving.store import ModelStore

NAME = "brain_mr_synthesis_mine"
MARK = {"config": "mark", "weights": "models/marker.pt", "task": "segmentation", "title": "Marks of a brain"}
MARK |= {"description": "Marks what is there.", "input": {"format": "magnitude", "modality": "MR"}}
MARK |= {"options": {"least_ml": {"type": "number", "minimum": 0, "maximum": 9, "description": "smallest mark"}}}
MARK |= {"outputs": {"label": {"suffix": "dseg.nii.gz", "description": "marks"}}, "example_input": "brain_flair"}
MARK |= {"mark": {"path": "marks", "values": "mark_values", "above": "above"}, "cost": [[1000]]}


@pytest.fixture
def bundle(root, tmp_path):
    """The anomaly map's bundle as one that takes label maps and has a task that takes scans."""
    source, folder = root / "bundles" / "brain_mr_anomaly_map_manytasks", tmp_path / NAME
    shutil.copytree(source / "configs", folder / "configs")
    config = json.loads((folder / "configs" / "inference.json").read_text())
    (folder / "configs" / "mark.json").write_text(json.dumps(config | {"least_ml": 0.5}))
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    inputs = metadata["network_data_format"]["inputs"]
    inputs["labels"] = inputs["image"] | {"format": "segmentation"}
    inputs["image"] = inputs["image"] | {"format": "noise"}
    metadata["synthzoo"] |= {"task": "synthesis", "example_input": "brain_labels", "tasks": {"mark": MARK}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return folder


def test_a_task_has_its_own_config_weights_input_and_options(bundle):
    whole, task = ServedBundle(bundle), ServedBundle(bundle, entry="mark")
    assert (whole.name, task.name) == (NAME, f"{NAME}_mark")
    assert whole.weights().name == "model.pt"
    assert task.weights() == bundle / "models" / "marker.pt"
    assert whole.takes_labels and not task.takes_labels and task.takes_images
    assert (task.task, task.metadata["name"], list(task.outputs)) == ("segmentation", "Marks of a brain", ["label"])
    assert task.options["least_ml"].default == 0.5 and "least_ml" not in whole.options
    assert task.mark == MARK["mark"] and whole.mark is None
    assert "tasks" not in task.block and task.block["example_input"] == "brain_flair"
    with pytest.raises(UserError, match=f"{NAME} has no task 'heal': it has mark"):
        ServedBundle(bundle, entry="heal")


def test_a_store_holds_a_bundle_and_its_tasks(bundle):
    assert list(ModelStore([bundle]).bundles) == [NAME, f"{NAME}_mark"]


def test_the_schema_says_what_a_task_lacks(bundle, root):
    assert not metadata_problems(bundle)
    schema = json.loads(SCHEMA_FILE.read_text())
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    for wrong, words in (
        ({"input": {}}, "'format' is a required property"),
        ({"config": "../mark"}, "does not match"),
        ({"weights": "/tmp/marker.pt"}, "does not match"),
        ({"sampler": "ddim"}, "Additional properties"),
    ):
        metadata["synthzoo"]["tasks"]["mark"] = MARK | wrong
        with pytest.raises(jsonschema.ValidationError, match=words):
            jsonschema.validate(metadata, schema)


def test_a_table_takes_an_example_of_its_own_kind(bundle, tmp_path):
    shared = {"bundle_root": bundle, "output_dir": tmp_path / "out"}
    for example, ending in ((None, "dseg.nii.gz"), ("brain_flair", "FLAIR.nii.gz")):
        [path] = ImageTable("example", example=example, kinds=("volume", "label"), **shared).paths
        assert path.name == f"example-0_{ending}"
