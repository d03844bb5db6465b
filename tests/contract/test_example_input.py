"""Every bundle that takes images finds one with nothing at hand: `images: example`."""

import pytest
from bundle_runs import FINISHED_NAMES, ROOT

from synthzoo.bundle.compose import load_config
from synthzoo.bundle.find import read_json, read_metadata

OF_IMAGES = [
    name for name in FINISHED_NAMES if "images" in read_json(ROOT / "bundles" / name / "configs" / "inference.json")
]


@pytest.mark.parametrize("name", OF_IMAGES)
def test_the_word_example_gives_the_network_its_input(name, tmp_path):
    bundle = ROOT / "bundles" / name
    parser = load_config(bundle, overrides={"images": "example", "output_dir": str(tmp_path)})
    table = parser.get_parsed_content("dataset#data")
    assert len(table) == 1 and table.cases[0].startswith("example-0") and not table.failures
    [taken] = (tmp_path / "example_input").iterdir()
    assert table.paths == [taken]
    image = parser.get_parsed_content("dataset")[0]["image"]
    inputs = read_metadata(bundle)["network_data_format"]["inputs"]
    stated = inputs.get("labels", inputs["image"])  # a generator that begins with noise may take label maps besides
    channels = 1 if stated["type"] == "latent" else stated["num_channels"]  # an autoencoder makes latents of an image
    assert image.shape[0] == channels and float(image.max()) > float(image.min())
