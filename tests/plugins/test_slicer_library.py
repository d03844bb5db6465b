"""SynthZooLib without Slicer: the client against a real server, and what the extension's files promise."""

from __future__ import annotations

import ast
import functools
import gzip
import re
import socket
import sys
import threading
import time
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from bundle_runs import ROOT
from PIL import Image, ImageOps
from small_image_bundles import FINER, TWIN

sys.path.insert(0, str(ROOT / "plugins" / "slicer" / "SynthZoo" / "SynthZoo"))

from SynthZooLib.answer import unpack
from SynthZooLib.batch import BatchRun, Tally
from SynthZooLib.client import ZooClient
from SynthZooLib.errors import Cancelled, NotFound, ZooError
from SynthZooLib.exif import orientation_of, upright
from SynthZooLib.jobs import Run
from SynthZooLib.models import read_models
from SynthZooLib.scores import lines_of, read_scores
from SynthZooLib.stored import fetch_study, map_sidecar
from SynthZooLib.videos import read_frames

SYNTHESIS, MAP = "brain_mr_synthesis_ldm", "phantom_mr_anomaly_map_tiny"
EXTENSION = ROOT / "plugins" / "slicer" / "SynthZoo"
MODULE = EXTENSION / "SynthZoo"
SCRIPTS = sorted(path for path in MODULE.rglob("*.py") if "Testing" not in path.parts)


# --- classes ---------------------------------------------------------------------------------------------------------


def test_class_scores_become_lines_with_the_likeliest_first():
    found = read_scores("class\tprobability\nboat neck\t0.2000\nround neck\t0.8000\n", "x_classes.tsv")
    assert found == [("round neck", 0.8), ("boat neck", 0.2)]
    first, second = lines_of(found)
    assert first.startswith(" 80 %") and first.endswith("round neck") and first.count("\u2588") == 10
    assert len(first) - len("round neck") == len(second) - len("boat neck"), "the names stand below each other"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "has not the columns class and probability"),
        ("class\tscore\na\t1\n", "has not the columns class and probability"),
        ("class\tprobability\na\n", "a line that is no class"),
        ("class\tprobability\na\thigh\n", "a line that is no class"),
        ("class\tprobability\na\t1.5\n", "the probability 1.5"),
        ("class\tprobability\na\tnan\n", "the probability nan"),
    ],
)
def test_a_table_that_is_no_class_scores_is_told(text, part):
    with pytest.raises(ZooError, match=part):
        read_scores(text, "/folder/x_classes.tsv")


# --- photographs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_photograph_stands_as_pillow_turns_it_by_its_exif(turn, ending, order, tmp_path):
    path, exif = str(tmp_path / f"held.{ending}"), Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", turn
    exif.endian = order
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)
    with Image.open(path) as stored:
        assert np.array_equal(upright(np.asarray(stored), path), np.asarray(ImageOps.exif_transpose(stored)))
    assert orientation_of(path) == turn


def test_a_file_whose_exif_is_missing_or_damaged_stays_as_it_is(tmp_path):
    path, exif = tmp_path / "held.jpg", Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 5)).save(path, exif=exif)
    whole = path.read_bytes()
    at = whole.index(b"Exif") + 6
    for data in (b"", whole[:30], whole[: at + 9], whole.replace(whole[at : at + 2], b"XX", 1), b"\x89PNG" + whole):
        path.write_bytes(data)
        assert orientation_of(str(path)) == 1
    assert orientation_of(str(tmp_path / "absent.jpg")) == 1


# --- files -----------------------------------------------------------------------------------------------------------


def test_cmake_lists_every_script_and_resource_once():
    text = (MODULE / "CMakeLists.txt").read_text().replace("${MODULE_NAME}", "SynthZoo")
    scripts, resources = (re.search(rf"set\({key}\s([^)]*)\)", text).group(1).split()
                          for key in ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"))  # fmt: skip
    assert scripts[0] == "SynthZoo.py" and len(scripts) == len(set(scripts))
    assert sorted(scripts) == sorted(path.relative_to(MODULE).as_posix() for path in SCRIPTS)
    there = [path.relative_to(MODULE).as_posix() for path in (MODULE / "Resources").rglob("*") if path.is_file()]
    assert sorted(resources) == sorted(name for name in there if not name.endswith(".svg"))
    tests = (MODULE / "Testing" / "Python" / "CMakeLists.txt").read_text()
    for path in (MODULE / "Testing" / "Python").glob("*Test.py"):
        assert f"SCRIPT {path.name}" in tests


def test_the_extension_s_pictures_are_there():
    text = (EXTENSION / "CMakeLists.txt").read_text()
    names = re.findall(r"[\w/]+\.png", text)
    assert len(names) >= 3
    for name in names:
        assert (EXTENSION / name).read_bytes()[:4] == b"\x89PNG", name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(MODULE).as_posix())
def test_a_script_runs_on_slicer_s_python_and_imports_only_what_slicer_has(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    allowed = {"numpy", "slicer", "vtk", "SynthZooLib"} | set(sys.stdlib_module_names)
    if "SynthZooLib" not in path.parts:
        allowed |= {"qt", "ctk", "SynthZooWidgets", "SynthZooSceneTest"}
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        assert {name.split(".")[0] for name in names} <= allowed, (path.name, names)
    annotated = [node for node in ast.walk(tree) if getattr(node, "returns", None) is not None]
    assert not annotated or "from __future__ import annotations" in path.read_text(), "X | None needs it on 3.9"


# --- the client ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def zoo_client(server) -> ZooClient:
    return ZooClient(server.url)


def test_an_upload_is_answered_with_every_output_of_every_result(zoo_client, client, scans, tmp_path):
    seen = []
    path = zoo_client.run(
        MAP, {"threshold": 0.55}, str(tmp_path), upload=str(scans[2]), watch=lambda *it: seen.append(it)
    )
    answer = unpack(path, str(tmp_path / "in"))
    (case,) = answer.cases
    assert set(case.outputs) == {"heat_map", "label"} and answer.task == "anomaly_map"
    assert case.outputs["label"].names and case.sidecar["regions"]
    floats, _ = client.infer(MAP, "", {"threshold": 0.55}, file=str(scans[2]))
    with open(floats, "rb") as one, open(case.outputs["heat_map"].path, "rb") as two:
        assert one.read() == two.read(), "the same bytes as by the stock address"
    sent = [(done, total) for phase, done, total in seen if phase == "sends"]
    assert sent[-1][0] == sent[-1][1] > scans[2].stat().st_size
    assert [phase for phase, *_ in seen][-1] == "receives"


def test_a_refusal_is_the_server_s_own_sentence(zoo_client, scans, tmp_path):
    with pytest.raises(ZooError, match="between 20 and 90"):
        zoo_client.run(SYNTHESIS, {"age": 200}, str(tmp_path))
    with pytest.raises(ZooError, match="looks like a program"):
        zoo_client.run(SYNTHESIS, {"age": "$quit()"}, str(tmp_path))
    with pytest.raises(NotFound, match="no image"):
        zoo_client.run(MAP, {}, str(tmp_path), image="/etc/passwd")
    with pytest.raises(NotFound, match="no model"):
        zoo_client.run("nothing", {}, str(tmp_path))
    letter = tmp_path / "letter.nii.gz"
    letter.write_text("a letter")
    with pytest.raises(ZooError, match=r"letter\.nii\.gz"):
        zoo_client.run(MAP, {}, str(tmp_path), upload=str(letter))
    with pytest.raises(ZooError, match="cannot be read"):
        zoo_client.run(MAP, {}, str(tmp_path), upload=str(tmp_path / "absent.nii.gz"))


def test_sample_data_is_the_same_for_a_seed_and_refused_in_a_sentence_where_there_is_none(zoo_client, tmp_path):
    files = []
    for number, seed in enumerate((1, 1, 2)):
        (tmp_path / str(number)).mkdir()
        files.append(Path(zoo_client.fetch_example(TWIN, seed, str(tmp_path / str(number)))))
    first, again, other = (path.read_bytes() for path in files)
    assert first == again != other
    frames, affine, frame_ms = read_frames(str(files[0]))
    assert frames.shape == (50, 1, 112, 112) and frame_ms == 31.25
    assert affine[0, 0] < 0 and affine[1, 1] < 0, "upright in an axial view"
    for model, seed, words in (
        (SYNTHESIS, 0, "it needs no image"),
        ("nothing", 0, "no model 'nothing'"),
        (FINER, 0, "upload an image instead"),
        (TWIN, -1, "seed is -1, but must be an integer from 0"),
    ):
        with pytest.raises(ZooError, match=words):
            zoo_client.fetch_example(model, seed, str(tmp_path))


@pytest.mark.parametrize("url", ["", "http://", "ftp://x", "http://a:port", "http://a b", "http://[::1"])
def test_what_is_no_address_is_said(url):
    with pytest.raises(ZooError, match="no address"):
        ZooClient(url)


def test_a_server_of_another_kind_is_told_from_the_zoo_s(web):
    with pytest.raises(ZooError, match="not the zoo's"):
        ZooClient(web).index()


@pytest.fixture
def web(tmp_path):
    """A plain web server."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(SimpleHTTPRequestHandler, directory=tmp_path))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()


def test_a_server_that_hangs_up_in_the_middle_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            link, _ = listener.accept()
            link.recv(65536)
            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            link.close()

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(ZooError, match="No server answers"):
            ZooClient(f"http://127.0.0.1:{listener.getsockname()[1]}").fetch_image("x", str(tmp_path))


def test_a_run_is_followed_and_cancelled_and_leaves_no_files(zoo_client, server):
    run = Run(zoo_client, SYNTHESIS, {"steps": 200, "num_samples": 4, "store": False}).start()
    end, texts = time.monotonic() + 120, set()
    while "network calls" not in run.tick().text and time.monotonic() < end:
        texts.add(run.tick().phase)
    run.cancel()
    with pytest.raises(Cancelled):
        run.wait(60)
    assert run.tick().phase == "cancelled"
    folder = Path(run.folder)
    run.close()
    assert not folder.exists()
    state = next(job["state"] for job in server.get("/zoo/jobs") if job["id"] == run.job)
    assert state == "cancelled"


def test_a_server_that_dies_ends_the_run_with_a_sentence():
    """A process that takes the request and then is gone."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        link, _ = listener.accept()
        link.recv(65536)
        listener.close()
        time.sleep(0.3)
        link.close()

    threading.Thread(target=serve, daemon=True).start()
    run = Run(ZooClient(f"http://127.0.0.1:{listener.getsockname()[1]}"), SYNTHESIS, {}).start()
    with pytest.raises(ZooError, match="No server answers"):
        run.wait(60)
    assert run.tick().phase == "failed"
    run.close()


def test_a_batch_skips_what_is_done_and_names_the_study_that_failed(zoo_client, server, scans):
    broken = server.studies / "broken.nii.gz"
    broken.write_bytes(scans[0].read_bytes()[:5000])
    try:
        end = time.monotonic() + 60
        while "broken" not in zoo_client.studies() and time.monotonic() < end:
            time.sleep(0.2)
        # The scans, and what other tests have stored; videos are no matter of a map of volumes.
        sound = sum("_video_" not in study for study in zoo_client.studies()) - 1
        batch = BatchRun(zoo_client, MAP, {"threshold": 0.41}).start()
        tally = batch.wait(120)
        assert (tally.total, tally.done, tally.skipped) == (sound + 1, sound, 0) and set(tally.failed) == {"broken"}
        assert re.fullmatch(rf"1 of {sound + 1} studies failed: broken: .*broken\.nii\.gz.*\.", tally.complaint())
        assert batch.tick().text.startswith(f"{sound} of {sound + 1} studies done, 1 failed, ")
        again = BatchRun(zoo_client, MAP, {"threshold": 0.41}).start().wait(120)
        assert (again.done, again.skipped, len(again.failed)) == (0, sound, 1)
    finally:
        broken.unlink()


def test_a_batch_that_is_refused_or_gone_is_told_in_one_sentence(zoo_client):
    for model, options, words in (
        (SYNTHESIS, {}, "takes no images"),
        (MAP, {"threshold": 7}, "between 0 and 1"),
        ("nothing", {}, "no model 'nothing'"),
        (MAP, None, "does not work on its studies .* press the button again"),
    ):
        with pytest.raises(ZooError, match=words):
            BatchRun(zoo_client, model, options).start().wait(60)
    with pytest.raises(ZooError, match="No server answers"):
        BatchRun(ZooClient("http://127.0.0.1:9"), MAP, {}).start().wait(60)


def test_what_many_studies_complain_about_stays_short():
    tally = Tally(9, 4, 0, {f"scan_{number}": "is cut short." for number in range(5)})
    assert tally.complaint() == (
        "5 of 9 studies failed: scan_0: is cut short; scan_1: is cut short; scan_2: is cut short; and 2 more."
    )
    assert Tally(2, 2).complaint() == ""


def test_a_stored_study_comes_with_its_map_and_the_label_that_a_reader_has_made_final(zoo_client, client, tmp_path):
    def remove_final():
        url = f"{zoo_client.url}/datastore/label?id=scan_1&tag=final"
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=60).close()

    if "final" in zoo_client.studies()["scan_1"]["labels"]:  # other tests share the server
        remove_final()
    made, _ = client.infer(MAP, "scan_1", {"save_label": True, "result": "label"})
    tags = zoo_client.studies()["scan_1"]["labels"]
    found = fetch_study(zoo_client, "scan_1", tags, str(tmp_path))
    assert set(found) == {"image", "heat_map", "label"}
    assert len({output.path for output in found.values()}) == 3, "whatever names the server gives"
    assert map_sidecar(tags)["bundle"] == MAP and map_sidecar({}) == {}
    stored, answered = (gzip.decompress(Path(path).read_bytes()) for path in (found["label"].path, made))
    assert stored == answered, "the same volume to the byte; whoever packed it"
    assert found["label"].names == tags["original"]["info"]["params"]["label_names"]
    client.save_label("scan_1", made, "final")
    try:
        tags = zoo_client.studies()["scan_1"]["labels"]
        (tmp_path / "again").mkdir()
        found = fetch_study(zoo_client, "scan_1", tags, str(tmp_path / "again"), have=("image", "heat_map"))
        assert set(found) == {"label"} and "final" in Path(found["label"].path).parts
    finally:
        remove_final()
    assert fetch_study(zoo_client, "scan_1", {}, str(tmp_path), have=("image",)) == {}


def test_every_model_of_the_server_is_read(zoo_client):
    index = zoo_client.index()
    models = read_models(index)
    assert set(models) == set(index)
    assert models[MAP].takes_images and not models[SYNTHESIS].takes_images
    age = models[SYNTHESIS].options["age"]
    assert (age.minimum, age.maximum, age.unit, age.may_be_unset) == (20, 90, "years", True)
    found = models[MAP]
    assert {kind: found.outputs[kind]["view"] for kind in found.outputs} == {"heat_map": "overlay", "label": "labels"}
    assert found.view_of("heat_map") == "overlay" and found.title_of("label") == "labels"
    assert models[SYNTHESIS].view_of("image") == "image" and found.view_of("of a newer server") == "text"
