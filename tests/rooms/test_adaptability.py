"""One table for generators of every modality: its measures see what controls do, and its rows are measured once."""

import json

import numpy as np
import pytest
from bundle_runs import ROOT

from synthzoo.bundle.adaptability import (
    NOT_MEASURED,
    NOT_THERE,
    OUTDATED,
    adaptability_text,
    configs_text,
    ldm_settings,
)
from synthzoo.bundle.compose import run_bundle
from synthzoo.bundle.find import find_bundles, read_json
from synthzoo.errors import UserError
from synthzoo.evaluation.adaptability.features import frechet, image_features
from synthzoo.evaluation.adaptability.modalities import (
    GROUPS,
    ROWS,
    EditedVideos,
    PaintedSlices,
    Phantoms,
    PromptedRadiographs,
    Row,
    Volumes,
    groups,
    no_labels,
    prompt_of,
    request_table,
)
from synthzoo.evaluation.adaptability.table import AdaptabilityTable, controls
from synthzoo.evaluation.brain_subjects import Brains
from synthzoo.metrics.fidelity import fid, pairwise_ms_ssim
from synthzoo.phantoms.chest.findings import KINDS

BUNDLES = {bundle.name: bundle for bundle in find_bundles(ROOT)}


@pytest.fixture(scope="module")
def videos() -> Phantoms:
    return EditedVideos().phantoms(64, 90_000)


def test_the_distance_is_that_of_fid_and_exact_for_few_images():
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((200, 12)), 0.3 + 1.5 * rng.standard_normal((200, 12))
    assert frechet(first, second) == pytest.approx(fid(first, second), rel=1e-6)
    few, shift = rng.standard_normal((5, 12)), np.linspace(-1, 1, 12)
    assert frechet(few, few) < 1e-6 and frechet(few + shift, few) == pytest.approx(shift @ shift, rel=1e-6)


def test_features_keep_the_shape_of_an_image_and_do_not_depend_on_the_batch():
    wide = np.linspace(0, 1, 32 * 40, dtype=np.float32).reshape(1, 32, 40)
    square = np.pad(wide, ((0, 0), (4, 4), (0, 0)))
    found = image_features(np.concatenate([wide, wide[:, ::-1]]))
    assert found.shape == (2, 96) and np.abs(found[0] - found[1]).max() > 0.05
    np.testing.assert_allclose(found[:1], image_features(square), atol=1e-4)


def test_fid_tells_controls_from_other_real_images_and_ms_ssim_sees_repetition(videos):
    real, asked, look = videos[:32], videos[32:], EditedVideos()
    target = image_features(look.planes(real.images))
    sets = {"real": asked.images, **controls(asked.images, look.axes, 0)}
    found = {name: frechet(image_features(look.planes(images)), target) for name, images in sets.items()}
    assert all(found[name] > 1.5 * found["real"] for name in ("blurred", "noisy", "mixed")), found
    pairs = {name: pairwise_ms_ssim(look.units(sets[name]), 40)["mean"] for name in ("real", "repeated")}
    assert pairs["repeated"] > pairs["real"] + 0.05
    assert all(
        images.shape == asked.images.shape and 0 <= images.min() <= images.max() <= 1 for images in sets.values()
    )
    again = controls(asked.images, look.axes, 0)
    assert all(np.array_equal(again[name], sets[name]) for name in again)


def test_requests_are_those_of_the_phantoms_within_the_bundles_bounds():
    rules = {"age": {"minimum": 20, "maximum": 90}, "sex": {"enum": ["F", "M"]}}
    asked = Phantoms(np.zeros((2, 1)), ("age", "sex", "other"), np.array([[95.5, 1, 3], [30.25, 0, 4]]), no_labels(2))
    assert request_table(asked, rules) == "age\tsex\n90\tM\n30.25\tF\n"


def test_groups_share_all_out():
    assert sorted(np.concatenate(groups(19)).tolist()) == list(range(19)) and len(groups(19)) == GROUPS
    assert len(groups(3)) == 3


def test_each_prompt_is_a_run_of_its_own_with_noise_of_its_own(tmp_path):
    values = np.zeros((5, len(KINDS) + 1))
    values[0, KINDS.index("effusion")] = values[3, KINDS.index("effusion")] = 1
    asked = Phantoms(np.zeros((5, 1)), (*KINDS, "sex"), values, no_labels(5))
    runs = PromptedRadiographs().runs(asked, {}, tmp_path, 7)
    assert {run["prompt"]: run["num_samples"] for run in runs} == {prompt_of([]): 3, "pleural effusion": 2}
    assert len({run["seed"] for run in runs}) == 2


def test_every_prompt_of_a_phantom_is_one_that_the_bundle_takes():
    from synthzoo.networks.word_tokens import WordTokenizer
    from synthzoo.systems.chest_distillation.cases import checked_prompt

    config = read_json(BUNDLES[ROWS["chest_xr"].bundle] / "configs" / "inference.json")
    tokenizer = WordTokenizer(config["vocabulary"], 32)
    for kinds in ([], list(KINDS[:4]), list(KINDS[4:])):
        assert checked_prompt(prompt_of(kinds), tokenizer, may_be_empty=True)


def test_a_painter_is_given_label_maps_that_its_bundle_reads(tmp_path):
    from synthzoo.datasets.brain.label_cases import ReadLabelMapd

    look = PaintedSlices()
    asked = look.phantoms(look.each, 90_000)
    runs = look.runs(asked, {}, tmp_path, 3)
    assert len(asked.images) == len(runs) == look.each and [run["seed"] for run in runs] == [3, 4, 5, 6, 7]
    maps = ReadLabelMapd(runs[0]["label_table"])({"image": runs[0]["images"][0]})["image"]
    assert maps.shape[1:] == asked.images.shape[1:]
    inside = (maps[0] < 0.5).numpy()
    assert asked.images[0][inside].mean() > 5 * asked.images[0][~inside].mean()


@pytest.mark.parametrize(
    "task, look", [("synthesis", Volumes(Brains(), "T1w.nii.gz")), ("counterfactual", EditedVideos())]
)
def test_a_row_is_measured_through_the_bundles_own_config_and_once(task, look, skeletons, tmp_path, capsys):
    bundle, runs = skeletons(task), []

    def run(folder, **given):
        runs.append(given["overrides"])
        return run_bundle(folder, **given)

    rows = {"own": Row("own", bundle.name, "LDM", look, "so"), "other": Row("other", "not_there", "GAN", look, "so")}
    kept = {"save_to": tmp_path / "report.json", "work_dir": tmp_path / "work", "count": 8, "pairs": 2, "rows": rows}
    report = AdaptabilityTable(run, {bundle.name: bundle}, **kept).measure()
    measured = report["rows"]["own"]["measured"]
    assert {"generated", "real", "blurred", "noisy", "mixed", "repeated"} == set(measured["sets"])
    assert measured["sets"]["generated"]["fid"] > 0 and report["rows"]["other"]["measured"] is None
    assert sum(len(one.get("images", [8] * 8)) for one in runs) == 8
    before = len(runs)
    assert AdaptabilityTable(run, {bundle.name: bundle}, **kept).measure()["rows"] == report["rows"]
    assert len(runs) == before and "measured before" in capsys.readouterr().out
    other = AdaptabilityTable(run, {bundle.name: bundle}, **kept | {"pairs": 3}).measure(["own"])
    assert other["rows"]["own"]["measured"]["sets"]["generated"]["fid"] == measured["sets"]["generated"]["fid"]
    text = adaptability_text(report, {bundle.name: bundle})
    assert NOT_THERE in text and f"| 8 of {' x '.join(map(str, measured['shape']))} |" in text
    measured["settings"]["weights_sha256"] = "of another network"
    assert OUTDATED in adaptability_text(report, {bundle.name: bundle})


def test_a_row_that_cannot_be_measured_is_refused_in_a_sentence(tmp_path):
    table = AdaptabilityTable(run_bundle, {}, tmp_path / "report.json", tmp_path)
    with pytest.raises(UserError, match="'nonsense' is unknown; the rows are brain_mr"):
        table.measure(["nonsense"])
    with pytest.raises(UserError, match="echo needs echo_us_cine_synthesis_ldm and its weights"):
        table.measure(["echo"])
    with pytest.raises(UserError, match="at least 8"):
        AdaptabilityTable(run_bundle, {}, tmp_path / "report.json", tmp_path, count=4)


def test_a_closed_form_is_a_control_of_what_it_takes_part_in(tmp_path):
    table = AdaptabilityTable(run_bundle, BUNDLES, tmp_path / "report.json", tmp_path)
    held = {name: table.has_closed_form(row) for name, row in ROWS.items() if row.bundle in BUNDLES}
    assert held["brain_mr"] and not held["brain_mr_gan"] and not held["echo"]


def test_a_row_appears_with_its_bundle(tmp_path):
    report = AdaptabilityTable(run_bundle, {}, tmp_path / "report.json", tmp_path).measure([])
    assert list(report["rows"]) == list(ROWS) and json.loads((tmp_path / "report.json").read_text()) == report
    every = {row.bundle: tmp_path for row in ROWS.values()}
    assert adaptability_text(report, every).count(NOT_MEASURED) == len(ROWS)
    every.pop(ROWS["chest_ct"].bundle)
    assert adaptability_text(report, every).count(NOT_THERE) == 1


def test_every_row_names_a_file_that_its_bundle_states():
    for row in ROWS.values():
        if row.bundle in BUNDLES:
            outputs = read_json(BUNDLES[row.bundle] / "configs" / "metadata.json")["synthzoo"]["outputs"]
            assert row.modality.suffix in [output["suffix"] for output in outputs.values()], row.bundle


def test_what_configs_differ_in_is_read_from_them(tmp_path):
    report = AdaptabilityTable(run_bundle, {}, tmp_path / "report.json", tmp_path).measure([])
    text = configs_text(report, BUNDLES)
    config = read_json(BUNDLES["brain_mr_synthesis_ldm"] / "configs" / "inference.json")
    assert ldm_settings(config)["denoiser: channels"] == "32, 96" and ldm_settings(config)["sampling: steps"] == "5"
    assert "| schedule: num_steps | 1000 |" in text and "second denoiser: channels" in text
    assert f"`{ROWS['brain_mr'].bundle}`" in text and f"`{ROWS['brain_mr_gan'].bundle}`" not in text
