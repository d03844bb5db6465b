"""Our HTTP routes before the stock ones: checked, with mistakes as one sentence, and off the event loop.

The stock server runs an inference inside its event loop, so that nothing else is answered meanwhile; it answers a
user's mistake with 500; and it takes any path of the server as an image. These routes have the same addresses and
parameters. Added are `/zoo/index`, `/zoo/run` (all outputs in one answer) and `/zoo/jobs` (progress and cancel).
"""

# ruff: noqa: B008 - FastAPI reads a route's parameters from calls in its defaults

from __future__ import annotations

import functools
import gc
import ipaddress
import json
import logging
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Body, Depends, File, Form, HTTPException, UploadFile
from fastapi.background import BackgroundTasks
from fastapi.responses import FileResponse
from monailabel.config import settings
from monailabel.endpoints import (
    activelearning,
    batch_infer,
    datastore,
    infer,
    model,
    scoring,
    session,
    train,
    wsi_infer,
)
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.exception import MONAILabelException

from lib.answers import pack
from lib.batch import snapshot
from lib.guard import is_public
from lib.requests import expect_name, expect_object, read_params
from lib.uploads import check_label, check_upload, drop_upload, keep_upload, limited_to
from synthzoo.errors import UserError, find_user_error
from synthzoo.serving.served import Cancelled

logger = logging.getLogger(__name__)
USER = settings.MONAI_LABEL_AUTH_ROLE_USER
ADMIN = settings.MONAI_LABEL_AUTH_ROLE_ADMIN
ANNOTATOR = settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR
REPLACED = {
    infer: [("POST", "/infer/{model}")],
    activelearning: [("POST", "/activelearning/{strategy}")],
    batch_infer: [("GET", "/batch/infer"), ("POST", "/batch/infer/{model}"), ("DELETE", "/batch/infer")],
    datastore: [("PUT", "/datastore/"), ("PUT", "/datastore/image"), ("PUT", "/datastore/label")],
    session: [("PUT", "/session/")],
    train: [("POST", "/train/{model}"), ("POST", "/train/")],
}
# Stock routes with no use here that would run a request's own folder as Python, or change released weights.
REMOVED = {
    model: [("PUT", "/model/{model}"), ("DELETE", "/model/{model}")],
    scoring: [("POST", "/scoring/"), ("POST", "/scoring/{method}")],
    wsi_infer: [("POST", "/infer/wsi/{model}"), ("POST", "/infer/wsi_v2/{model}")],
}


def said(function):
    """Turn a mistake into its HTTP status with one sentence; what we did not foresee stays a 500 and is logged."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except HTTPException:
            raise
        except Cancelled as error:
            raise HTTPException(status_code=409, detail=str(error)) from error
        except LookupError as error:
            if type(error) is not LookupError:
                raise
            raise HTTPException(status_code=404, detail=str(error)) from error
        except MONAILabelException as error:
            raise HTTPException(status_code=404, detail=error.msg) from error
        except Exception as error:
            mistake = find_user_error(error)
            if mistake is None:
                logger.exception("a request failed")
                raise
            raise HTTPException(status_code=400, detail=str(mistake)) from error

    return run


def build_router(app) -> APIRouter:
    """The routes over one app."""
    service, batch = app.service, app._batch_infer
    router = APIRouter(route_class=limited_to(service.upload_bytes))

    def served(model: str):
        if model not in service.store.bundles:
            raise LookupError(f"there is no model '{model[:80]}': the models are {', '.join(service.store.bundles)}.")
        return service.store[model]

    @contextmanager
    def taken(model: str, params: str, file: UploadFile | None, session_id: str = ""):
        """The options of a request and its checked upload, which is removed in the end."""
        item, requested, upload = served(model), read_params(params), None
        try:
            if item.takes_images and file:
                upload = keep_upload(file.file, file.filename)
            elif item.takes_images and session_id:
                found = app.sessions().get_session(session_id) if app.sessions() else None
                if found is None:
                    raise LookupError(f"there is no session '{session_id[:80]}'.")
                upload = Path(found.image)
            for key in ("model", "image", "description"):
                if key in requested:
                    raise UserError(f"{model} has no option '{key}': name the image in the address, as ?image=ID.")
            if upload is not None:
                check_upload(upload, item.modality)
            yield requested, upload
        except UserError as error:
            if upload is None:
                raise
            raise UserError(str(error).replace(f"{upload.parent}/", "")) from error  # our folders are nobody's matter
        finally:
            drop_upload(upload)

    @router.post("/infer/{model}", tags=["Infer"], summary="Run one model", responses=infer.router.responses)
    @said
    def run_infer(
        background_tasks: BackgroundTasks,
        model: str,
        image: str = "",
        session_id: str = "",
        params: str = Form("{}"),
        file: UploadFile = File(None),
        label: UploadFile = File(None),
        output: infer.ResultType | None = None,
        user: User = Depends(RBAC(USER)),
    ):
        with taken(model, params, file, session_id) as (requested, upload):
            result = service.infer({**requested, "model": model, "image": image}, upload)
        if output == infer.ResultType.dicom_seg:
            raise UserError("output dicom_seg is not offered: float maps and synthetic studies are no DICOM SEG.")
        return infer.send_response(service.datastore, result, output, background_tasks)

    @router.post("/activelearning/{strategy}", tags=["ActiveLearning"], summary="Open the next sample")
    @said
    def run_sample(strategy: str, params: dict | None = Body(None), user: User = Depends(RBAC(USER))):
        if strategy not in app._strategies:
            raise LookupError(f"there is no strategy '{strategy[:80]}': known are {', '.join(app._strategies)}.")
        return activelearning.sample(strategy, expect_object(params), user.username)

    @router.get("/batch/infer", tags=["Infer"], summary="Status of batch inference")
    @said
    def batch_status(all: bool = False, check_if_running: bool = False, user: User = Depends(RBAC(USER))):
        if not batch.tasks or (check_if_running and not batch.running()):
            raise LookupError("no batch inference is running." if check_if_running else "there was no batch inference.")
        return [snapshot(task) for task in batch.tasks] if all else snapshot(batch.tasks[-1])

    @router.post("/batch/infer/{model}", tags=["Infer"], summary="Run a model over the datastore, with resume")
    @said
    def batch_run(
        model: str,
        images: str = "all",
        params: dict | None = Body(None),
        run_sync: bool = False,
        user: User = Depends(RBAC(ADMIN)),
    ):
        served(model)
        if batch.running():
            raise HTTPException(status_code=429, detail="a batch inference is running: wait for it or stop it first.")
        return snapshot(batch.start(model, images, expect_object(params), wait=run_sync))

    @router.delete("/batch/infer", tags=["Infer"], summary="Stop batch inference; what is done stays")
    @said
    def batch_stop(user: User = Depends(RBAC(ADMIN))):
        return snapshot(batch.stop())

    def add_image(background_tasks, image, params, file, user) -> dict[str, Any]:
        info = read_params(params)
        upload = keep_upload(file.file, file.filename)
        try:
            if image:
                expect_name("image", image)
            check_upload(upload)
            if user.username:
                info["user"] = user.username
            return {"image": service.datastore.add_image(image or "", str(upload), info)}
        finally:
            drop_upload(upload)

    @router.put("/datastore/", tags=["Datastore"], summary="Upload an image", deprecated=True)
    @router.put("/datastore/image", tags=["Datastore"], summary="Upload an image")
    @said
    def put_image(
        background_tasks: BackgroundTasks,
        image: str | None = None,
        params: str = Form("{}"),
        file: UploadFile = File(...),
        user: User = Depends(RBAC(USER)),
    ):
        return add_image(background_tasks, image, params, file, user)

    @router.put("/datastore/label", tags=["Datastore"], summary="Save a label")
    @said
    def put_label(
        background_tasks: BackgroundTasks,
        image: str,
        params: str = Form("{}"),
        tag: str = "final",
        label: UploadFile = File(...),
        user: User = Depends(RBAC(ANNOTATOR)),
    ):
        if service.image_path(image) is None:
            raise LookupError("name the image that the label belongs to, as ?image=ID.")
        expect_name("tag", tag or "final")
        text = json.dumps(read_params(params))
        upload = keep_upload(label.file, label.filename)
        try:
            check_label(upload)
        finally:
            drop_upload(upload)
        label.file.seek(0)
        return datastore.save_label(background_tasks, image, text, tag, label, user.username)

    @router.put("/session/", tags=["Session"], summary="Create a session with an image")
    @said
    def put_session(
        background_tasks: BackgroundTasks,
        uncompress: bool = False,
        expiry: int = 0,
        files: list[UploadFile] = File(...),
        user: User = Depends(RBAC(USER)),
    ):
        if uncompress:
            raise UserError("uncompress is not offered: send the volume or its DICOM slices themselves.")
        for file in files:
            file.filename = keep_name(file.filename)
        found = session.create_session(background_tasks, False, expiry, files)
        path = Path(found["session_info"]["image"])
        try:
            check_upload(path)
        except UserError:
            app.sessions().remove_session(found["session_id"])
            raise
        return found

    @router.post("/train/{model}", tags=["Train"], summary="Fine-tune a model on the datastore")
    @said
    def run_train(
        model: str,
        params: dict | None = Body(None),
        run_sync: bool = False,
        enqueue: bool = False,
        user: User = Depends(RBAC(ADMIN)),
    ):
        if model not in app._trainers:
            known = ", ".join(app._trainers) or "none"
            raise LookupError(f"there is no trainer '{model[:80]}': the trainers are {known}.")
        requested = expect_object(params)
        requested = requested.get(model, requested) if isinstance(requested.get(model), dict) else requested
        app._trainers[model].check(requested)
        return train.run_model(model, dict(requested), run_sync, enqueue)

    @router.get("/zoo/index", tags=["Zoo"], summary="Every model with its options, outputs and version")
    @said
    def zoo_index(user: User = Depends(RBAC(USER))) -> dict:
        models = {name: task.info() for name, task in app._infers.items()}
        return {"models": models, "loaded": service.store.loaded(), "memory_limit_bytes": service.store.limit}

    @router.post("/zoo/run/{model}", tags=["Zoo"], summary="Run one model; every output of every result in one zip")
    @said
    def zoo_run(
        background_tasks: BackgroundTasks,
        model: str,
        image: str = "",
        params: str = Form("{}"),
        file: UploadFile = File(None),
        user: User = Depends(RBAC(USER)),
    ) -> FileResponse:
        with taken(model, params, file) as (requested, upload):
            with service.solve({**requested, "model": model, "image": image}, upload) as done:
                path = pack(done.served, done.cases, done.params)
        background_tasks.add_task(path.unlink, missing_ok=True)
        return FileResponse(path, media_type="application/zip", filename=f"{model}.zip", background=background_tasks)

    @router.get("/zoo/jobs", tags=["Zoo"], summary="Requests that wait, run and have ended")
    @said
    def zoo_jobs(user: User = Depends(RBAC(USER))) -> list[dict]:
        return [job.describe() for job in list(service.store.jobs.values())]

    @router.delete("/zoo/jobs/{job}", tags=["Zoo"], summary="Cancel a request")
    @said
    def zoo_cancel(job: str, user: User = Depends(RBAC(USER))) -> dict:
        if job not in service.store.jobs:
            raise LookupError(f"there is no job '{job[:60]}'.")
        return service.store.cancel(job).describe()

    return router


def keep_name(name: str | None) -> str:
    """A file's own name without folders."""
    return Path((name or "image.nii.gz").replace("\\", "/")).name or "image.nii.gz"


def install_routes(app) -> None:
    """Put our routes first and take the stock ones of the same address away, so that each has one owner."""
    server = getattr(sys.modules.get("monailabel.app"), "app", None)
    if server is None:
        return
    gone = {**REPLACED, **REMOVED}
    for module, replaced in gone.items():
        keep = [r for r in module.router.routes if not any(m in r.methods and r.path == p for m, p in replaced)]
        module.router.routes[:] = keep
        getattr(module.router, "_mark_routes_changed", lambda: None)()
    flat = [pair for pairs in gone.values() for pair in pairs]
    routes = server.router.routes
    routes[:] = [r for r in routes if not any(m in (getattr(r, "methods", 0) or ()) and r.path == p for m, p in flat)]
    before = len(routes)
    server.include_router(build_router(app))
    ours = routes[before:]
    del routes[before:]
    routes[:0] = ours
    getattr(server.router, "_mark_routes_changed", lambda: None)()
    server.openapi_schema = None


def listen_on_loopback(conf: dict[str, str]) -> None:
    """Bind the server to the loopback, unless `--conf public yes` stands there.

    The stock command listens on all addresses by default, and the app is made before the socket is.
    """
    if is_public(conf):
        return
    uvicorn = sys.modules.get("uvicorn")
    if uvicorn is None:
        return
    for found in gc.get_objects():
        if type(found) is uvicorn.Config and not is_loopback(found.host):
            logger.info(f"listening on 127.0.0.1 instead of {found.host}; --conf public yes lets other machines in")
            found.host = "127.0.0.1"


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
