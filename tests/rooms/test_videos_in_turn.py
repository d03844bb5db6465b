"""What one bundle makes of a heart another one takes: videos that are generated, and then requested another beat."""

import pytest
from bundle_runs import ROOT

from synthzoo.io.videos import read_video
from synthzoo.serving.served import ServedBundle

BUNDLES = ROOT / "bundles"
FEW = {"steps": 2, "upsampling_steps": 2}


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """A video as a server keeps it: a volume in time."""
    served = ServedBundle(BUNDLES / "echo_us_cine_synthesis_ldm")
    [case] = served.run({"ef": 60.0, "seed": 4, "steps": 8}, tmp_path_factory.mktemp("generated"))
    return case.files["video"]


@pytest.mark.parametrize("name", ["echo_us_counterfactual_twin", "echo_us_cine_synthesis_edm"])
def test_a_generated_study_may_be_requested_another_ejection_fraction(name, generated, tmp_path):
    served = ServedBundle(BUNDLES / name)
    values = {"ef": 25.0, **{key: value for key, value in FEW.items() if key in served.options}}
    [case] = served.run(values, tmp_path, image=generated)
    assert case.sidecar["requested"]["ef"] == 25.0
    avi = next(tmp_path.glob("*/*.avi"))
    assert read_video(avi).frames.shape == (16, 32, 32)
