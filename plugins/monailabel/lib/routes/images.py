"""Routes that take uploads: images and labels of the datastore, and sessions."""

# ruff: noqa: B008 - FastAPI reads a route's parameters from calls in its defaults

from __future__ import annotations

import json
from pathlib import Path

from fastapi import APIRouter, Depends, File, Form, UploadFile
from fastapi.background import BackgroundTasks
from monailabel.endpoints import datastore, session
from monailabel.endpoints.user.auth import RBAC, User

from lib.requests import expect_name, read_params
from lib.routes.common import ANNOTATOR, USER, Context, http_errors
from lib.uploads import check_label, check_upload, drop_upload, keep_upload
from synthzoo.errors import UserError


def add_routes(router: APIRouter, context: Context) -> None:
    """Add the uploads of `/datastore` and `/session`, with the stock parameters and answers."""
    service = context.service

    @router.put("/datastore/", tags=["Datastore"], summary="Upload an image", deprecated=True)
    @router.put("/datastore/image", tags=["Datastore"], summary="Upload an image")
    @context.files.heavy()
    @http_errors
    def put_image(
        background_tasks: BackgroundTasks,
        image: str | None = None,
        params: str = Form("{}"),
        file: UploadFile = File(...),
        user: User = Depends(RBAC(USER)),
    ):
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

    @router.put("/datastore/label", tags=["Datastore"], summary="Save a label")
    @context.files.heavy()
    @http_errors
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
    @context.files.heavy()
    @http_errors
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
            file.filename = name_alone(file.filename)
        found = session.create_session(background_tasks, False, expiry, files)
        path = Path(found["session_info"]["image"])
        try:
            check_upload(path)
        except UserError:
            context.app.sessions().remove_session(found["session_id"])
            for task in background_tasks.tasks:  # they remove what was received, and run after a good answer only
                task.func(*task.args)
            raise
        return found


def name_alone(name: str | None) -> str:
    """A file's own name without folders."""
    return Path((name or "image.nii.gz").replace("\\", "/")).name or "image.nii.gz"
