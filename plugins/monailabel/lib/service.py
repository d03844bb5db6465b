"""What all tasks of the app share: the bundles, the datastore, and how one request becomes an answer."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import synthzoo
from lib import answers
from lib.datastore import Conflict
from lib.line import QUEUE_MAX
from lib.paths import know_folder
from lib.requests import Request, read_request
from lib.table import is_text
from synthzoo.bundle.download import download, open_source, read_index
from synthzoo.bundle.find import read_json
from synthzoo.bundle.index import INDEX
from synthzoo.bundle.outputs import OUTPUT_KINDS, can_be_shown, kinds_shown_as, kinds_stored_as
from synthzoo.errors import StorageError, UserError
from synthzoo.io.files import scratch_folder, sha256
from synthzoo.serving.cost import MOST_MILLIONS, check_cost
from synthzoo.serving.options import IMAGE
from synthzoo.serving.served import Case, ServedBundle
from synthzoo.serving.store import Job, ModelStore

logger = logging.getLogger(__name__)
CONF = (
    *("models", "zoo", "index", "bundle_dir", "models_dir", "memory_gb", "parallel", "device", "upload_mb"),
    *("queue_max", "cost_max", "public", "token", "hosts", "origins"),
)
UPLOAD_MB = 2000.0
LONGEST_QUEUE = 256
SCORES = "synthzoo_scores"  # key of an image's info: bundle -> {score, peak, threshold}
CLASSES = "synthzoo_classes"  # key of an image's info: bundle -> {class, probability, sidecar}


def scores_of(info: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Bundle -> {score, peak, threshold} of an image's info; what a client wrote there in another form is none."""
    found = info.get(SCORES)
    scores = found if isinstance(found, dict) else {}
    return {k: v for k, v in scores.items() if isinstance(v, dict) and isinstance(v.get("score"), (int, float))}


def classes_of(info: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Bundle -> {class, probability, sidecar} of an image's info; what has another form is none."""
    found = info.get(CLASSES)
    classes = found if isinstance(found, dict) else {}
    return {k: v for k, v in classes.items() if isinstance(v, dict) and isinstance(v.get("class"), str)}


@dataclass
class Result:
    """A request that has run.

    Args:
        bundle, request: what ran.
        cases: the results, in the table's order.
        params: model, job, studies (id in the datastore and sidecar of each result), seconds.
        saved: id of the label that was stored, or "".
    """

    bundle: ServedBundle
    request: Request
    cases: list[Case]
    params: dict[str, Any]
    saved: str = ""


class Service:
    """The bundles of the index behind one queue, and the datastore that their results go to.

    Args:
        app_dir: folder of the app.
        studies: folder of the datastore.
        conf: what `--conf` gave, see `main.py`.

    Raises:
        UserError: an unknown key or name, a bundle that is neither here nor in the zoo, an index that cannot be read.
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]):
        known = ("server_mode", *CONF)
        for key in conf:
            if key not in known:
                raise UserError(f"--conf {key}: unknown; the known ones are {', '.join(CONF)}.")
        self.version = synthzoo.__version__
        self.studies = studies
        self.models_dir = Path(conf.get("models_dir") or Path(app_dir) / "model").resolve()
        self.upload_bytes = int((positive(conf, "upload_mb") or UPLOAD_MB) * 1e6)
        self.queue_max = integer(conf, "queue_max", QUEUE_MAX, 0, LONGEST_QUEUE)
        self.cost_max = positive(conf, "cost_max") or MOST_MILLIONS
        self.datastore: Any = None
        folders = find_folders(Path(app_dir), conf)
        for name, folder in (("weights", self.models_dir), *((folder.name, folder) for folder in folders)):
            know_folder(name, folder)
        self.store = ModelStore(
            folders,
            device=conf.get("device") or None,
            memory_gb=positive(conf, "memory_gb"),
            parallel=int(positive(conf, "parallel") or 1),
            versions_dir=self.models_dir,
        )
        # Networks run in these threads alone, whoever waits for them: each thread has a team and an arena of its own.
        self._runs = ThreadPoolExecutor(self.store.parallel, thread_name_prefix="runs")

    @property
    def is_remote(self) -> bool:
        """Whether the studies lie on another server."""
        return self.studies.startswith(("http://", "https://"))

    def weights_folders(self) -> list[Path]:
        """The folders that weights are written to, those of the bundles and of their versions."""
        own = [bundle.folder / "models" for bundle in self.store.bundles.values()]
        return [*own, *(path for path in self.models_dir.glob("*/*") if path.is_dir())]

    def attach(self, datastore: Any) -> None:
        """Take the datastore, once the app has made it."""
        self.datastore = datastore

    # --- one request ----------------------------------------------------------------------------------------------

    def infer(self, requested: Mapping[str, Any], upload: Path | None = None, job: Job | None = None) -> dict[str, Any]:
        """Check a request, run it, store what belongs into the datastore, and give MONAI Label's answer.

        Args: see `run_request`.
        """
        with self.run_request(requested, upload, job) as result:
            file, more = answers.answer(result.bundle, result.request, result.cases[0])
            label = result.saved or file
            tag = result.request.extras["label_tag"]
            return {"label": label, "tag": tag, "file": file, "params": result.params | more}

    def read_request(self, bundle: ServedBundle, requested: Mapping[str, Any], with_image: bool) -> Request:
        """Check everything that a client sent, and what it would cost with an image or without one.

        Raises:
            UserError: see `lib.requests.read_request` and `with_images`; a request that costs more than `--conf
                cost_max`.
        """
        request = read_request(bundle, requested)
        self.with_images(bundle, request.values)
        check_cost(bundle, request.values, self.cost_max, request.extras["model_version"], with_image)
        return request

    @contextmanager
    def run_request(
        self, requested: Mapping[str, Any], upload: Path | None = None, job: Job | None = None
    ) -> Iterator[Result]:
        """Check a request, run it and store what belongs into the datastore; its files are there while the block runs.

        Args:
            requested: {"model", "image": id of the datastore or "", options ...}.
            upload: a checked file that takes the place of an image of the datastore.
            job: to watch and cancel it by; None makes one.
        """
        requested = dict(requested)
        bundle = self.store[str(requested.pop("model", ""))]
        image_id = requested.pop("image", "") or ""
        requested.pop("description", None)
        request = self.read_request(bundle, requested, with_image=bool(image_id or upload))
        if upload is None:
            request.values |= self.mark_of(bundle, request, image_id)
        source = upload or self.input_path(bundle, request, image_id)
        if bundle.needs_images and source is None:
            raise UserError(f"{bundle.name} needs an image: name one of the datastore or upload one.")
        folder = scratch_folder("run")
        try:
            started = time.time()
            job, cases = self.run(bundle, request, folder, source, job)
            known_image = image_id if upload is None else ""
            params: dict[str, Any] = {"model": bundle.name, "job": job.id}
            try:
                params["studies"] = self.store_studies(bundle, request, cases, known_image)
            except StorageError as error:
                raise StorageError(f"{error} With store false a result is sent without being stored.") from error
            saved = ""
            if request.extras["save_label"] and bundle.takes_images and known_image:
                saved = self.store_maps(bundle, request, cases[0], known_image)
            params["seconds"] = round(time.time() - started, 3)
            yield Result(bundle, request, cases, params, saved)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def run(
        self, bundle: ServedBundle, request: Request, folder: Path, source: Path | None = None, job: Job | None = None
    ) -> tuple[Job, list[Case]]:
        """Wait for the turn, run, and write the progress into the log."""
        job = job or self.store.new_job(bundle.name, request.extras["job"])
        logged: dict[str, float] = {"at": time.time(), "done": 0}

        def report(done: int, total: int, calls: int) -> None:
            job.report(done, total, calls)
            if time.time() - logged["at"] > 2 or done == total > logged["done"]:
                logged.update(at=time.time(), done=done)
                logger.info(f"{bundle.name} job {job.id}: {done} of {total} done, {calls} network calls")

        logger.info(f"{bundle.name} job {job.id}: waits with {request.values}")
        with self.store.use(job) as item:
            logger.info(f"{bundle.name} job {job.id}: runs")
            version = request.extras["model_version"]
            values = self.with_images(bundle, request.values)
            cases = self._runs.submit(item.run, values, folder, source, version, report).result()
        logger.info(f"{bundle.name} job {job.id}: done in {job.describe()['seconds']} s")
        return job, cases

    # --- the datastore --------------------------------------------------------------------------------------------

    def image_path(self, image_id: str) -> Path | None:
        """The file of an image of the datastore; None without an id.

        Raises:
            LookupError: there is no such image.
        """
        if not image_id:
            return None
        if not isinstance(image_id, str) or image_id not in self.datastore.list_images():
            raise LookupError(f"there is no image '{str(image_id)[:80]}' in the datastore.")
        return Path(self.datastore.get_image_uri(image_id))

    def with_images(self, bundle: ServedBundle, values: Mapping[str, Any]) -> dict[str, Any]:
        """Checked options, with the file of each image that an option names by its id in the datastore.

        Raises:
            UserError: a text that is neither a word of the option nor an id; a path never is.
        """
        found = dict(values)
        for name, option in bundle.options.items():
            value = found.get(name)
            if option.format != IMAGE or not value or value in option.examples:
                continue
            try:
                found[name] = str(self.image_path(value))
            except LookupError:
                shown = str(value)[:80]
                raise UserError(f"{name} is '{shown}', but must be {option.allowed()}.") from None
        return found

    def input_path(self, bundle: ServedBundle, request: Request, image_id: str) -> Path | None:
        """What the bundle shall read: the image, or its label map where the bundle makes something of a label map.

        Raises:
            LookupError: there is no such image, or it has no such label.
        """
        path = self.image_path(image_id) if bundle.takes_images else None
        if path is None or not bundle.takes_labels:
            return path
        have = self.datastore.get_labels_by_image_id(image_id)
        tag = request.extras["source_tag"] or next((tag for tag in ("final", "original") if tag in have), "final")
        if tag not in have:
            known = ", ".join(have) or "none"
            raise LookupError(
                f"{bundle.name} needs a label map, but image '{image_id}' has no '{tag}': it has {known}."
            )
        request.extras["source_tag"] = tag
        return Path(self.datastore.get_label_uri(have[tag], tag))

    def mark_of(self, bundle: ServedBundle, request: Request, image_id: str) -> dict[str, Any]:
        """What a bundle takes of the image's label under `source_tag`, by key of its config; nothing without a tag.

        Of a label map with names the lesions count, where it has any; of a heat map what lies above its threshold.

        Raises:
            LookupError: the image has no such label.
        """
        tag = request.extras["source_tag"]
        if bundle.mark is None or not tag or not image_id:
            return {}
        self.image_path(image_id)
        have = self.datastore.get_labels_by_image_id(image_id)
        if tag not in have:
            known = ", ".join(have) or "none"
            raise LookupError(f"image '{image_id}' has no label '{tag}' that could be the mark: it has {known}.")
        info = self.datastore.get_label_info(have[tag], tag)
        names = (info.get("params") or {}).get("label_names") or {}
        values = [int(value) for name, value in names.items() if str(name).startswith("lesion")]
        found = {bundle.mark["path"]: str(self.datastore.get_label_uri(have[tag], tag)), bundle.mark["values"]: values}
        threshold = (info.get("sidecar") or {}).get("threshold")
        if tag == OUTPUT_KINDS["heat_map"].tag and isinstance(threshold, (int, float)):
            found[bundle.mark["above"]] = float(threshold)
        return found

    def store_studies(self, bundle: ServedBundle, request: Request, cases: list[Case], source: str = "") -> list[dict]:
        """Add generated images and videos to the datastore, with label maps; gives their ids and sidecars."""
        stored = []
        for case in cases:
            entry: dict[str, Any] = {"id": None, "sidecar": case.sidecar}
            study = next(iter(kinds_stored_as("study", case.files)), None)
            if request.extras["store"] and study:
                image_id = answers.study_id(bundle, case, source)
                info = {"synthetic": True, "bundle": bundle.name, "sidecar": case.sidecar}
                if source:
                    info["source"] = source
                    info |= {"source_tag": request.extras["source_tag"]} if bundle.takes_labels else {}
                entry["id"] = image_id = self.store_study(image_id, case.files[study], info)
                for kind in kinds_shown_as("labels", case.files):
                    names = answers.label_names(bundle, case)
                    label_info = {"model": bundle.name, "params": {"label_names": names}}
                    self.datastore.save_label(image_id, str(case.files[kind]), "original", label_info)
            stored.append(entry)
        return stored

    def store_study(self, image_id: str, path: Path, info: dict[str, Any]) -> str:
        """Add one image; where its id stands for other bytes, as after an update, both stay under ids of their own."""
        try:
            return self.datastore.add_image(image_id, str(path), info)
        except Conflict:
            return self.datastore.add_image(f"{image_id}_{sha256(path)[:8]}", str(path), info)

    def store_maps(self, bundle: ServedBundle, request: Request, case: Case, image_id: str) -> str:
        """Store maps as labels, regions under the requested tag, floats under their own; keep classes in the info."""
        info = {"model": bundle.name, "sidecar": case.sidecar}
        labels = []
        if "score" in case.sidecar:
            scores = scores_of(self.datastore.get_image_info(image_id))
            keys = ("score", "peak", "threshold", "weights_sha256")
            scores[bundle.name] = {key: case.sidecar[key] for key in keys if key in case.sidecar}
            self.datastore.update_image_info(image_id, {SCORES: scores})
        if kinds_stored_as("info", case.files) and "class" in case.sidecar:
            classes = classes_of(self.datastore.get_image_info(image_id))
            found = {key: case.sidecar[key] for key in ("class", "probability") if key in case.sidecar}
            classes[bundle.name] = {**found, "sidecar": case.sidecar}
            self.datastore.update_image_info(image_id, {CLASSES: classes})
        # Maps with a tag of their own come last, for a batch that goes on takes an image that has one for done.
        for kind in sorted(kinds_stored_as("label", case.files), key=lambda name: bool(OUTPUT_KINDS[name].tag)):
            more = dict(info)
            if OUTPUT_KINDS[kind].view == "labels":
                more["params"] = {"label_names": answers.label_names(bundle, case)}
            tag = OUTPUT_KINDS[kind].tag or request.extras["label_tag"]
            labels.append(self.datastore.save_label(image_id, str(case.files[kind]), tag, more))
        return labels[0] if labels else ""


def positive(conf: Mapping[str, str], key: str) -> float | None:
    """A number above 0 from `--conf`, or None."""
    if not conf.get(key):
        return None
    try:
        value = float(conf[key])
        if not value > 0:
            raise ValueError
    except ValueError:
        raise UserError(f"--conf {key} is '{conf[key]}', but must be a number above 0.") from None
    return value


def integer(conf: Mapping[str, str], key: str, default: int, low: int, high: int) -> int:
    """An integer of a range from `--conf`, or the default."""
    text = str(conf.get(key) or default)
    if not text.isdecimal() or not low <= int(text) <= high:
        raise UserError(f"--conf {key} is '{text[:60]}', but must be an integer from {low} to {high}.")
    return int(text)


def find_folders(app_dir: Path, conf: Mapping[str, str]) -> list[Path]:
    """The folders of the bundles to serve; those that are not here are downloaded from the zoo and verified."""
    zoo = conf.get("zoo")
    path = Path(conf.get("index") or app_dir.resolve().parents[1] / INDEX)
    if path.is_file():
        index = read_json(path)
    elif zoo:
        index = read_index(open_source(zoo))
    else:
        raise UserError(f"{path}: there is no index of bundles; name one with --conf index, or a release with zoo.")
    bundle_dir = Path(conf.get("bundle_dir") or path.parent / "bundles")
    requested = conf.get("models") or "all"
    entries = index.get("bundles") if isinstance(index, dict) else None
    if not isinstance(entries, dict):
        raise UserError(f"{path}: is no index of bundles, it has no 'bundles'; run scripts/build_index.py.")
    whole = {name: entry for name, entry in entries.items() if isinstance(entry, dict)}
    for name in set(entries) - set(whole):
        logger.error(f"{path}: bundles#{name} is passed over, it is no object; run scripts/build_index.py")
    # An audit writes tables alone: no viewer has use for them.
    shown = [name for name, entry in whole.items() if can_be_shown(listed_outputs(entry))]
    names = shown if requested == "all" else [name.strip() for name in requested.split(",") if name.strip()]
    folders = []
    for name in names:
        if name not in whole:
            raise UserError(f"--conf models: {path} has no '{name}', it has {', '.join(whole) or 'none'}.")
        if name not in shown:
            raise UserError(f"--conf models: {name} writes tables alone; use it with `python -m monai.bundle run`.")
        folder = bundle_dir / name
        if not (folder / "configs" / "metadata.json").is_file():
            if not zoo:
                raise UserError(f"{folder} does not exist: name a release with --conf zoo, to download {name} from.")
            folder = download(name, zoo, bundle_dir)
        folders.append(folder)
    return folders


def listed_outputs(entry: Mapping[str, Any]) -> list[str]:
    """The kinds of output that an entry of the index names, an image where it names none."""
    outputs = entry.get("outputs")
    return [*filter(is_text, outputs)] if outputs and isinstance(outputs, (list, dict)) else ["image"]
