"""Options that are free text: what the library, the server's options, the panel in Slicer and the page make of them."""

from __future__ import annotations

import sys

import pytest
from bundle_runs import ROOT

sys.path.insert(0, str(ROOT / "plugins" / "slicer" / "SynthZoo" / "SynthZoo"))
sys.path.insert(0, str(ROOT / "plugins" / "web"))

from panel import panel_fields, request_of, start_values
from SynthZooLib.errors import ZooError
from SynthZooLib.models import read_models

from synthzoo.bundle.keys import check_key
from synthzoo.cases.values import allowed, check_value
from synthzoo.errors import UserError
from synthzoo.serving.options import bundle_options

RULE = {"type": "string", "maxLength": 20, "description": "what is sought"}
METADATA = {"synthzoo": {"options": {"prompt": RULE}}}


def models():
    """The models of an index with one that takes a text and may do without an image."""
    option = bundle_options(METADATA, {"prompt": "nodule"})["prompt"]
    zoo = {"task": "grounding", "takes_images": True, "needs_images": False, "options": {"prompt": option.describe()}}
    return read_models({"find": {"synthzoo": zoo}, "old": {"synthzoo": {"takes_images": True}}})


def test_a_text_up_to_its_length_is_taken_as_it_is():
    assert check_value("prompt", " left Nodule ", RULE) == "left Nodule"
    assert allowed(RULE) == "a text of at most 20 characters"
    option = bundle_options(METADATA, {"prompt": "nodule"})["prompt"]
    assert option.check("left nodule") == "left nodule" and option.check("") == "nodule"


@pytest.mark.parametrize("value", ["n" * 21, 7, True])
def test_another_type_or_a_longer_text_is_refused_with_what_is_allowed(value):
    for check in (
        lambda: check_value("prompt", value, RULE),
        lambda: bundle_options(METADATA, {"prompt": "nodule"})["prompt"].check(value),
        lambda: check_key("prompt", value, METADATA, "nodule"),
    ):
        with pytest.raises(UserError, match="prompt is '.*', but must be a text of at most 20 characters"):
            check()


@pytest.mark.parametrize("value", ["$__import__('os')", "@weights", "%file::key"])
def test_a_text_that_a_config_would_evaluate_is_refused_by_the_server(value):
    with pytest.raises(UserError, match="looks like a program"):
        bundle_options(METADATA, {"prompt": "nodule"})["prompt"].check(value)


def test_the_command_line_leaves_an_empty_text_to_the_bundle():
    check_key("prompt", "", METADATA, "nodule")


def test_panels_show_a_line_and_send_what_was_typed():
    model = models()["find"]
    assert model.takes_images and not model.needs_images and models()["old"].needs_images
    (field,) = panel_fields(model)
    assert field["widget"] == "text" and field["longest"] == 20
    values, given = start_values(model)
    assert values == {"prompt": "nodule"} and given == {"prompt": True}
    assert request_of(model, {"prompt": "left effusion"}, given) == {"prompt": "left effusion"}
    with pytest.raises(ZooError, match="at most 20 characters"):
        request_of(model, {"prompt": "e" * 21}, given)
