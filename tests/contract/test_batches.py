"""Every bundle that takes images goes on after a bad one, whether it cannot be read or cannot be saved."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from bundle_runs import BUNDLE_NAMES, ROOT, SKELETON_NAMES, input_of, quick

from synthzoo.bundle.compose import run_bundle
from synthzoo.bundle.find import read_json
from synthzoo.bundle.skeletons import SKELETONS
from synthzoo.errors import find_user_error
from synthzoo.io.kinds import stem


def takes_images(name: str) -> bool:
    if name in SKELETON_NAMES:
        return SKELETONS[SKELETON_NAMES[name]].source != "requests"
    return "images" in read_json(ROOT / "bundles" / name / "configs" / "inference.json")


OF_IMAGES = [name for name in BUNDLE_NAMES if takes_images(name)]
OF_VIDEOS = [name for name in OF_IMAGES if name.startswith("echo_us_counterfactual")]


def inputs(bundle, phantom_nifti, folder, names="abc"):
    """Copies of a good input under these names, the last one cut short; gives their endings."""
    folder.mkdir()
    good = input_of(bundle, phantom_nifti)
    ending = good.name[len(stem(good.name)) :]
    for name in names:
        content = good.read_bytes()
        (folder / f"{name}{ending}").write_bytes(content[: len(content) // 2] if name == names[-1] else content)
    return ending


def cases(out) -> list[str]:
    return [line.split("\t")[0] for line in (out / "participants.tsv").read_text(encoding="utf-8").splitlines()[1:]]


@pytest.mark.parametrize("bundle", OF_IMAGES, indirect=True, scope="session")
def test_bad_images_are_named_and_left_out_and_the_others_are_done(bundle, phantom_nifti, tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    ending = inputs(bundle, phantom_nifti, folder)
    out.mkdir()
    (out / "b").write_text("a file where the folder of the second case belongs", encoding="utf-8")
    overrides = quick(bundle, phantom_nifti, out, images=str(folder))
    with pytest.raises(Exception) as caught:
        run_bundle(bundle, overrides=overrides)
    assert "2 inputs could not be used, the others are done: " in str(find_user_error(caught.value))
    assert cases(out) == ["a"]
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: left out: ")]
    assert len(told) == 2 and f"c{ending}" in told[0] and f"b{ending}" in told[1], told


@pytest.mark.parametrize("bundle", OF_VIDEOS, indirect=True, scope="session")
def test_the_same_command_again_does_what_is_missing_and_keeps_the_rest(bundle, phantom_nifti, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    inputs(bundle, phantom_nifti, folder)
    out.mkdir()
    (out / "b").write_text("a file where the folder of the second case belongs", encoding="utf-8")
    overrides = quick(bundle, phantom_nifti, out, images=str(folder))
    with pytest.raises(Exception, match="2 inputs could not be used|Fail"):
        run_bundle(bundle, overrides=overrides)
    assert cases(out) == ["a"]
    kept = {path: path.stat().st_mtime_ns for path in (out / "a").rglob("*")}
    (out / "b").unlink()
    with pytest.raises(Exception) as caught:
        run_bundle(bundle, overrides=overrides)
    assert str(find_user_error(caught.value)).startswith("1 inputs could not be used, the others are done")
    assert cases(out) == ["a", "b"] and all(path.stat().st_mtime_ns == at for path, at in kept.items())


@pytest.mark.parametrize("bundle", OF_VIDEOS, indirect=True, scope="session")
def test_two_processes_do_the_good_ones_and_none_waits(bundle, phantom_nifti, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    ending = inputs(bundle, phantom_nifti, folder, "abcde")
    out.mkdir()
    (out / "b").write_text("a file where the folder of the second case belongs", encoding="utf-8")
    config = bundle / "configs" / "inference.json"
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    words += ["monai.bundle", "run", "--config_file", config, "--bundle_root", bundle, "--images", folder]
    done = subprocess.run(
        [*map(str, words), "--output_dir", str(out)],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=250,
    )
    assert done.returncode != 0 and cases(out) == ["a", "c", "d"], done.stderr
    said = [line for line in done.stderr.splitlines() if "inputs could not be used, the others are done" in line]
    assert any(line.startswith("error: 2 inputs") for line in said), done.stderr
    assert f"b{ending}" in done.stderr and f"e{ending}" in done.stderr
    assert not list(out.glob(".*"))
