"""One model over all images of the datastore, in the server's own process: what is done is not done again.

The request is kept beside the datastore while it runs, so that a server that was killed goes on when it starts again.
"""

from __future__ import annotations

import datetime
import json
import logging
import threading
import uuid
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib.paths import without_folders
from lib.requests import Request, read_request
from lib.service import Service, classes_of, scores_of
from synthzoo.bundle.outputs import OUTPUT_KINDS, kinds_shown_as, kinds_stored_as
from synthzoo.cases.images import stamp_of
from synthzoo.errors import UserError, find_user_error
from synthzoo.io.files import sha256, write_json
from synthzoo.io.volumes import is_nifti_video
from synthzoo.serving.served import Cancelled, ServedBundle

logger = logging.getLogger(__name__)
KEPT = ".synthzoo_batch.json"
SELECTIONS = ("all", "labeled", "unlabeled")
PARTS_OF_A_REQUEST = ("sampler", "settings", "requested")  # of a sidecar


class BatchRunner:
    """Batch inference with the stock endpoint's answers: submitted, running, done, stopped, error.

    Args:
        service: runs each image as a request of its own, so that other requests come in between.
    """

    def __init__(self, service: Service):
        self.service = service
        self.tasks: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._job: str | None = None

    @property
    def kept(self) -> Path:
        """Where the request stands while it runs."""
        return Path(self.service.studies) / KEPT

    def running(self) -> bool:
        """Whether a batch is on its way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, model: str, images: str = "all", params: dict | None = None, wait: bool = False) -> dict[str, Any]:
        """Begin a batch and give its task.

        Raises:
            UserError: a model without image input, or parameters that it does not take.
        """
        bundle = self.service.store[model]
        if not bundle.takes_images:
            raise UserError(f"{model} takes no images, so a batch has nothing to run over: request num_samples of it.")
        if images not in SELECTIONS:
            raise UserError(f"images is '{str(images)[:60]}', but must be one of {', '.join(SELECTIONS)}.")
        params = dict(params or {})
        self.service.read_request(bundle, params, with_image=True)
        limit = params.get("max_batch_size") or 0
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise UserError(f"max_batch_size is {limit!r}, but must be an integer of at least 0.")
        request = {"model": model, "images": str(getattr(images, "value", images)), "params": params}
        task = {"id": str(uuid.uuid4()), "status": "SUBMITTED", "request": request, "start_ts": now()}
        task |= {"details": deque(maxlen=20), "total": 0, "done": 0, "skipped": 0, "failed": {}}
        with self._starting:
            if self.running():
                raise UserError("a batch inference is running: wait for it or stop it first.")
            if not self.service.studies.startswith(("http://", "https://")):
                write_json(self.kept, request)
            self.tasks.append(task)
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, args=(task,), name="batch", daemon=True)
            self._thread.start()
        if wait:
            self._thread.join()
        return task

    def stop(self) -> dict[str, Any] | None:
        """End the batch; the image in work is given up, finished ones stay."""
        if not self.running():
            return None
        self._stop.set()
        if self._job:
            self.service.store.cancel(self._job)
        self._thread.join(timeout=60)
        return self.tasks[-1]

    def resume(self) -> None:
        """Go on with the request that a killed server left."""
        if self.service.studies.startswith(("http://", "https://")) or not self.kept.is_file():
            return
        try:
            request = json.loads(self.kept.read_text(encoding="utf-8"))
            self.start(request["model"], request["images"], request["params"])
            logger.info(f"batch of {request['model']}: goes on after an interruption")
        except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
            logger.warning(f"{self.kept}: not resumed ({error})")
            with suppress(OSError):
                self.kept.unlink(missing_ok=True)

    def _run(self, task: dict[str, Any]) -> None:
        task["status"] = "RUNNING"
        try:
            self._run_images(task)
            task["status"] = "STOPPED" if self._stop.is_set() else "DONE"
        except Exception as error:
            logger.exception("batch inference failed")
            task["status"] = "ERROR"
            task["details"].append(without_folders(str(error)))
        task["end_ts"] = now()
        self.kept.unlink(missing_ok=True)

    def _run_images(self, task: dict[str, Any]) -> None:
        model, params = task["request"]["model"], task["request"]["params"]
        bundle, datastore = self.service.store[model], self.service.datastore
        listed = datastore.list_images()
        left_out = {i for i in listed if datastore.get_image_info(i).get("bundle") == model}  # what it made itself
        if not kinds_shown_as("video", bundle.outputs):
            left_out |= {i for i in listed if is_nifti_video(datastore.get_image_uri(i))}
        image_ids = sorted(set(self._images(task["request"]["images"])) - left_out)
        image_ids = image_ids[: params.get("max_batch_size") or None]
        task["total"] = len(image_ids)
        for image_id in image_ids:
            if self._stop.is_set():
                return
            request = read_request(bundle, params)
            if self.is_done(bundle, request, image_id):
                task["skipped"] += 1
                self._report(task, f"{image_id}: done before")
                continue
            job = self.service.store.new_job(model)
            self._job = job.id
            try:
                self.service.infer({**params, "model": model, "image": image_id, "save_label": True}, job=job)
                task["done"] += 1
                score = scores_of(datastore.get_image_info(image_id)).get(model, {}).get("score")
                self._report(task, f"{image_id}: done" + ("" if score is None else f", score {score:g}"))
            except Cancelled:
                self._report(task, f"{image_id}: cancelled")
            except Exception as error:  # one bad image must not end the batch
                mistake = find_user_error(error)
                if mistake is None and not isinstance(error, LookupError):
                    logger.exception(f"batch: {image_id}")
                task["failed"][image_id] = without_folders(str(mistake or error))
                self._report(task, f"{image_id}: {task['failed'][image_id]}")
            finally:
                self._job = None

    def _images(self, selection: str) -> list[str]:
        datastore = self.service.datastore
        if selection == "labeled":
            return datastore.get_labeled_images()
        return datastore.get_unlabeled_images() if selection == "unlabeled" else datastore.list_images()

    def is_done(self, bundle: ServedBundle, request: Request, image_id: str) -> bool:
        """Whether the image has a result of this version, these settings and this very file."""
        datastore = self.service.datastore
        if kinds_stored_as("study", bundle.outputs):
            infos = [datastore.get_image_info(other) for other in datastore.list_images()]
            found = [info.get("sidecar") for info in infos if info.get("source") == image_id]
        elif kinds_stored_as("info", bundle.outputs):
            found = [classes_of(datastore.get_image_info(image_id)).get(bundle.name, {}).get("sidecar")]
        else:
            tags = [OUTPUT_KINDS[kind].tag for kind in kinds_stored_as("label", bundle.outputs)]
            tag = next(filter(None, tags), request.extras["label_tag"])  # the one that is stored last
            found = [datastore.get_label_info(image_id, tag).get("sidecar")]
        found = [sidecar for sidecar in found if sidecar and sidecar.get("bundle") == bundle.name]
        if not found:
            return False
        weights = sha256(bundle.weights(request.extras["model_version"]))
        scan = sha256(self.service.input_path(bundle, request, image_id))
        options = bundle.options_of(request.extras["model_version"])
        requested = {**{name: option.default for name, option in options.items()}, **request.values}
        files = self.service.with_images(bundle, request.values)
        requested |= {name: stamp_of(files[name]) for name, value in request.values.items() if files[name] != value}

        def same(sidecar: dict) -> bool:
            made = {key: value for part in PARTS_OF_A_REQUEST for key, value in (sidecar.get(part) or {}).items()}
            made |= {key: sidecar[key] for key in ("seed",) if key in sidecar}
            return (
                sidecar.get("weights_sha256") == weights
                and (sidecar.get("input") or {}).get("sha256") == scan
                and all(requested[name] == value for name, value in made.items() if name in requested)
            )

        return any(same(sidecar) for sidecar in found)

    def _report(self, task: dict[str, Any], line: str) -> None:
        count = task["done"] + task["skipped"] + len(task["failed"])
        line = f"{count} of {task['total']}: {line}"
        task["details"].append(line)
        logger.info(f"batch of {task['request']['model']}: {line}")


def snapshot(task: dict[str, Any] | None) -> dict[str, Any] | None:
    """A task as it is now, for an answer; the batch's thread goes on writing into the task itself."""
    return task and {**task, "details": list(task["details"]), "failed": dict(task["failed"])}


def now() -> str:
    """The time as the stock endpoints write it."""
    return datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S")
