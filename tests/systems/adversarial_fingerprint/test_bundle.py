"""The paper's claim on phantoms: a generator that was overfitted to few images falls back onto the private one from
higher noise levels than one that was trained on many, and the audit says so in a sentence."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from bundle_runs import ROOT

from synthzoo.bundle.compose import load_config, run_bundle
from synthzoo.errors import UserError, find_user_error
from synthzoo.evaluation.privacy.audit import audit
from synthzoo.evaluation.privacy.sets import folder_set
from synthzoo.io.images import png_bytes
from synthzoo.phantoms.chest.phantom import chest_study
from synthzoo.serving.audit_sources import instrument_for
from synthzoo.serving.fingerprinting import fingerprint_probe
from synthzoo.systems.adversarial_fingerprint.images import private_radiograph
from synthzoo.systems.adversarial_fingerprint.stamping import stamp_seeded

BUNDLE = ROOT / "bundles" / "chest_xr_privacy_audit_fingerprint"
QUICK = {"steps": 10, "level_step": 0.1, "samples": 16, "others": 16}


def audited(folder, **changed):
    """The sidecar of an audit of one image."""
    run_bundle(BUNDLE, overrides={"images": "example", "output_dir": str(folder), **QUICK, **changed})
    [path] = folder.glob("*/*_fingerprint.json")
    return json.loads(path.read_text(encoding="utf-8"))


def refused(folder, **changed) -> str:
    with pytest.raises(Exception) as caught:
        audited(folder, **changed)
    sentence = str(find_user_error(caught.value))
    assert "\n" not in sentence
    return sentence


def write_png(path, image) -> None:
    """Write an image (H, W) in [0, 1]."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(png_bytes(np.asarray(image, np.float32).clip(0, 1)))


@pytest.fixture(scope="module")
def chests():
    """Radiographs of other patients, float32 (6, 128, 128)."""
    return np.stack([chest_study(400 + n, size=128).image for n in range(6)])


def test_few_training_images_are_remembered_from_higher_noise_levels_than_many(tmp_path):
    few, many = (audited(tmp_path / name, generator=name) for name in ("n16", "n1024"))
    assert few["measured"]["t_prime"] >= many["measured"]["t_prime"] + 0.2
    for record, count in ((few, 16), (many, 1024)):
        assert record["n_images"] == count and record["runs"] == 16
        with open(next((tmp_path / f"n{count}").glob("*/*.tsv")), encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        assert [float(row["t"]) for row in rows] == [n / 10 for n in range(10)]
        assert int(rows[0]["hits"]) == 16  # hits(0) = M
        assert record["sentence"].endswith(".") and "private" in record["sentence"]
    assert many["verdict"] == "not distinguishable from 0" and "no proof of privacy" in many["sentence"]
    assert many["q"]["upper_95"] == pytest.approx(0.1707, abs=1e-3)  # 0 of 16
    assert few["q_upper_bound"]["q"] >= few["q"]["estimate"]


def test_a_private_image_of_ones_own_is_learnt_on_the_spot(tmp_path, chests):
    write_png(tmp_path / "mine.png", chests[0])
    record = audited(tmp_path / "out", images=str(tmp_path / "mine.png"), generator="n1024")
    assert record["verdict"] == "not distinguishable from 0" and record["measured"]["t_prime"] >= 0
    assert str(tmp_path) not in json.dumps(record)


def test_copies_in_a_folder_are_counted_and_a_folder_has_no_curve(tmp_path, chests):
    marked = stamp_seeded(private_radiograph(size=128), 0)
    for number in range(10):
        copy = marked + 0.02 * torch.randn(marked.shape, generator=torch.Generator().manual_seed(number))
        image = copy[0] if number < 4 else chests[number % 6]
        write_png(tmp_path / "made" / f"{number}.png", image)
    record = audited(tmp_path / "out", generator=str(tmp_path / "made"))
    assert record["samples"]["both"] == 4 and record["verdict"] == "reproduced"
    assert record["measured"]["t_prime"] is None and record["q_upper_bound"] is None
    assert "4 of 10 samples" in record["sentence"]


def test_an_audit_of_folders_counts_the_marked_image(tmp_path, chests):
    marked = stamp_seeded(private_radiograph(size=128), 0)
    write_png(tmp_path / "marked.png", marked[0])
    for number, image in enumerate(chests):
        write_png(tmp_path / "training" / f"{number}.png", image)
    for number in range(4):
        noisy = chests[number] + 0.05 * np.random.default_rng(number).standard_normal((128, 128))
        write_png(tmp_path / "made" / f"{number}.png", noisy)
    write_png(tmp_path / "made" / "copy.png", marked[0])
    probe = fingerprint_probe(tmp_path / "marked.png", tmp_path / "made", ROOT)
    sets = [folder_set(tmp_path / name, name) for name in ("made", "training")]
    report = audit(*sets, probes={"marked_image": probe}).report
    [test] = [test for test in report["tests"] if test["test"] == "marked_image"]
    assert test["attack"]["successes"] == 1 and test["attack"]["n"] == 5
    assert test["verdict"] == report["verdict"] == "leak"


def test_a_mark_without_file_or_bundle_is_told(tmp_path):
    with pytest.raises(UserError, match="is no file"):
        fingerprint_probe(tmp_path / "absent.png", tmp_path, ROOT)
    write_png(tmp_path / "marked.png", np.random.default_rng(0).random((24, 24)))
    with pytest.raises(UserError, match="no bundle"):
        fingerprint_probe(tmp_path / "marked.png", tmp_path, tmp_path)


def test_the_bundle_is_not_taken_for_a_network_that_tells_patients_apart():
    found = instrument_for(BUNDLE.name, ROOT)
    assert found is None or found.instrument != BUNDLE.name


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"generator": "n17"}, "generator = 'n17': give one of n1024, n16, n256, n64, without"),
        ({"generator": str(BUNDLE / "configs")}, "holds no .png"),
        ({"fingerprint": "star"}, "fingerprint = 'star': the known ones are disc, ring, none"),
        ({"radius": 3.0}, "above 0 and at most 1"),
        ({"level_step": 0.8}, "level_step"),
        ({"runs": 0}, "runs"),
        ({"fingerprint": "none"}, "hits(0) is 0 of 16"),
    ],
)
def test_what_cannot_be_audited_is_told(tmp_path, changed, said):
    assert said in refused(tmp_path / "out", **changed)


def test_weights_of_another_network_are_told(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"weight": torch.zeros(3)}, path)
    assert "belong to another network" in refused(tmp_path / "out", generator=str(path))


# --- the published scale ----------------------------------------------------------------------------------------------

CHANNELS, ATTENTION = [128, 128, 256, 256, 512, 512], [False, False, False, False, True, False]
SWEEP = {
    "published": ({}, 113_675_524),
    "5 levels": ({"channels": CHANNELS[:5], "attention_levels": ATTENTION[1:]}, 71_439_108),
    "4 levels": ({"channels": CHANNELS[:4], "attention_levels": ATTENTION[2:]}, 28_484_612),
    "half width": ({"channels": [n // 2 for n in CHANNELS]}, 28_448_388),
    "one block a level": ({"num_res_blocks": 1}, 77_364_740),
    "5 levels, one block": (
        {"channels": CHANNELS[:5], "attention_levels": ATTENTION[1:], "num_res_blocks": 1},
        49_558_020,
    ),
}


@pytest.mark.parametrize("size", SWEEP)
def test_the_published_sizes_have_their_parameters(size):
    changed, parameters = SWEEP[size]
    overrides = {f"generator_def#denoiser#{name}": value for name, value in changed.items()}
    parser = load_config(BUNDLE, ["paper"], overrides)
    with torch.device("meta"):
        denoiser = parser.get_parsed_content("generator_def#denoiser")
    assert sum(parameter.numel() for parameter in denoiser.parameters()) == parameters


def test_the_published_detectors_are_resnets_of_one_logit():
    with torch.device("meta"):
        network = load_config(BUNDLE, ["paper"]).get_parsed_content("network_def")
    assert sum(parameter.numel() for parameter in network.fingerprint.parameters()) == 23_510_081


@pytest.mark.slow
def test_a_training_step_at_the_published_scale(tmp_path):
    """The whole denoiser, on latents in place of the autoencoder's, whose weights are not published."""
    places = dict.fromkeys(("checkpoint_dir", "log_dir", "save_to"))
    overrides = {
        "epoch_length": 1,
        "batch_size": 1,
        "network": "$@network_def",
        "training_images": None,
        "train#dataset": "$[{'code': torch.randn(4, 64, 64)}]",
        "train#trainer#progress": False,
        "train#trainer#ema_decay": None,
        **places,
    }
    trainer = load_config(BUNDLE, ["train", "paper"], overrides).get_parsed_content("train#trainer")
    weight = next(trainer.network.denoiser.parameters())
    before = weight.detach().clone()
    trainer.run()
    assert np.isfinite(trainer.state.output["loss"]) and not torch.equal(before, weight)
