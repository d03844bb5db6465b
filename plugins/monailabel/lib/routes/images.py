"""Routes that take uploads: images and labels of the datastore, and sessions."""

# ruff: noqa: B008 - FastAPI reads a route's parameters from calls in its defaults

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, File, Form, UploadFile
from fastapi.responses import FileResponse
from monailabel.endpoints.user.auth import RBAC, User

from lib.requests import expect_name, read_params
from lib.routes.common import ANNOTATOR, USER, Context, http_errors
from lib.sessions import shown
from lib.table import checked_info
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
        image: str | None = None,
        params: str = Form("{}"),
        file: UploadFile = File(...),
        user: User = Depends(RBAC(USER)),
    ):
        info = checked_info(read_params(params), "params")
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
        image: str,
        params: str = Form("{}"),
        tag: str = "final",
        label: UploadFile = File(...),
        user: User = Depends(RBAC(ANNOTATOR)),
    ):
        if service.image_path(image) is None:
            raise LookupError("name the image that the label belongs to, as ?image=ID.")
        tag = expect_name("tag", tag or "final")
        info = checked_info(read_params(params), "params")
        upload = keep_upload(label.file, label.filename)
        try:
            check_label(upload)
            label_id = service.datastore.save_label(image, str(upload), tag, info)
        finally:
            drop_upload(upload)
        return {**(context.app.on_save_label(image, label_id) or {}), "image": image, "label": label_id}

    @router.put("/session/", tags=["Session"], summary="Create a session with an image")
    @context.files.heavy()
    @http_errors
    def put_session(
        uncompress: bool = False,
        expiry: int = 0,
        files: list[UploadFile] = File(...),
        user: User = Depends(RBAC(USER)),
    ):
        if uncompress:
            raise UserError("uncompress is not offered: send the volume or its DICOM slices themselves.")
        sessions = context.sessions()
        session_id, info = sessions.create([(file.filename, file.file) for file in files], expiry)
        try:
            check_upload(Path(info.image))
        except BaseException:
            sessions.remove_session(session_id)
            raise
        return {"session_id": session_id, "session_info": shown(info)}

    @router.get("/session/{session_id}", tags=["Session"], summary="A session, or its image")
    @http_errors
    def get_session(
        session_id: str, update_ts: bool = False, image: bool = False, user: User = Depends(RBAC(USER))
    ) -> Any:
        info = context.session(session_id, update_ts)
        if not image:
            return shown(info)
        if Path(info.image).is_dir():
            raise UserError("this session is a series of several files, which has no one image to send.")
        return FileResponse(info.image, filename=Path(info.image).name)

    @router.delete("/session/{session_id}", tags=["Session"], summary="Remove a session")
    @http_errors
    def delete_session(session_id: str, user: User = Depends(RBAC(USER))):
        info = context.session(session_id)
        context.sessions().remove_session(session_id)
        return shown(info)
