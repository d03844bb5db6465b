"""Routes that say what the datastore holds, change what is said of it, and remove from it."""

# ruff: noqa: B008 - FastAPI reads a route's parameters from calls in its defaults

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Form
from fastapi.responses import FileResponse
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.utils.others.generic import file_checksum, get_mime_type

from lib.requests import read_params
from lib.routes.common import ADMIN, ANNOTATOR, USER, Context, http_errors
from lib.table import checked_info
from synthzoo.errors import UserError

CHECKSUMS = ("SHA256", "SHA512", "MD5")


class Listed(str, Enum):
    """What a listing holds: counts, pairs of image and label, or everything."""

    train = "train"
    stats = "stats"
    all = "all"


def add_routes(router: APIRouter, context: Context) -> None:
    """Add `/datastore` but for uploads, with the stock parameters and answers; no path of the server is in them."""
    service = context.service

    def image_file(image: str) -> Path:
        path = service.image_path(image)
        if path is None or not path.is_file():
            raise LookupError(f"there is no image '{image[:80]}' in the datastore.")
        return path

    def label_file(label: str, tag: str) -> Path:
        path = service.datastore.get_label_uri(label, tag)
        if not os.path.isfile(path):
            raise LookupError(f"there is no label '{tag[:80]}' of an image '{label[:80]}' in the datastore.")
        return Path(path)

    @router.get("/datastore/", tags=["Datastore"], summary="Images and labels")
    @http_errors
    def get_datastore(output: Listed | None = None, user: User = Depends(RBAC(USER))) -> Any:
        if output == Listed.all:
            return service.datastore.json()
        return service.datastore.datalist(False) if output == Listed.train else service.datastore.status()

    @router.head("/datastore/image", tags=["Datastore"], summary="Whether an image is there", include_in_schema=False)
    @context.files.heavy(lambda request: request["check_sum"])
    @http_errors
    def has_image(image: str, check_sum: str | None = None, user: User = Depends(RBAC(USER))) -> dict:
        path = image_file(image)
        if check_sum:
            kind, _, digest = check_sum.rpartition(":")
            if (kind or "SHA256") not in CHECKSUMS:
                raise UserError(f"check_sum is of '{kind[:20]}', but must be of {', '.join(CHECKSUMS)}.")
            if file_checksum(str(path), kind or "SHA256").rpartition(":")[2] != digest:
                raise LookupError(f"image '{image[:80]}' has another checksum.")
        return {}

    @router.get("/datastore/image", tags=["Datastore"], summary="Download an image")
    @http_errors
    def get_image(image: str, user: User = Depends(RBAC(USER))) -> FileResponse:
        path = image_file(image)
        return FileResponse(path, media_type=get_mime_type(str(path)), filename=path.name)

    @router.delete("/datastore/", tags=["Datastore"], summary="Remove an image", include_in_schema=False)
    @router.delete("/datastore/image", tags=["Datastore"], summary="Remove an image with its labels")
    @http_errors
    def delete_image(id: str, user: User = Depends(RBAC(ADMIN))) -> dict:
        service.datastore.remove_image(id)
        return {}

    @router.get("/datastore/image/info", tags=["Datastore"], summary="What is said of an image")
    @http_errors
    def get_image_info(image: str, user: User = Depends(RBAC(USER))) -> dict:
        image_file(image)
        return service.datastore.get_image_info(image)

    @router.put("/datastore/image/info", tags=["Datastore"], summary="Join what is said of an image")
    @http_errors
    def put_image_info(image: str, info: str = Form("{}"), user: User = Depends(RBAC(ANNOTATOR))) -> None:
        service.datastore.update_image_info(image, said_by(info, "info", user))

    @router.head("/datastore/label", tags=["Datastore"], summary="Whether a label is there", include_in_schema=False)
    @http_errors
    def has_label(image: str, tag: str, user: User = Depends(RBAC(USER))) -> dict:
        label_file(image, tag)
        return {}

    @router.get("/datastore/label", tags=["Datastore"], summary="Download a label")
    @http_errors
    def get_label(label: str, tag: str, user: User = Depends(RBAC(USER))) -> FileResponse:
        path = label_file(label, tag)
        return FileResponse(path, media_type=get_mime_type(str(path)), filename=path.name)

    @router.delete("/datastore/label", tags=["Datastore"], summary="Remove a label")
    @http_errors
    def delete_label(id: str, tag: str, user: User = Depends(RBAC(ADMIN))) -> dict:
        service.datastore.remove_label(id, tag)
        return {}

    @router.get("/datastore/label/info", tags=["Datastore"], summary="What is said of a label")
    @http_errors
    def get_label_info(label: str, tag: str, user: User = Depends(RBAC(USER))) -> dict:
        label_file(label, tag)
        return service.datastore.get_label_info(label, tag)

    @router.put("/datastore/label/info", tags=["Datastore"], summary="Join what is said of a label")
    @http_errors
    def put_label_info(label: str, tag: str, info: str = Form("{}"), user: User = Depends(RBAC(ANNOTATOR))) -> None:
        service.datastore.update_label_info(label, tag, said_by(info, "info", user))

    @router.put("/datastore/updatelabelinfo", tags=["Datastore"], include_in_schema=False, deprecated=True)
    @http_errors
    def put_label_params(label: str, tag: str, params: str = Form("{}"), user: User = Depends(RBAC(ANNOTATOR))) -> None:
        service.datastore.update_label_info(label, tag, said_by(params, "params", user))


def said_by(text: str, name: str, user: User) -> dict[str, Any]:
    """The checked object of a form field, with the name of a user who has logged in."""
    info = checked_info(read_params(text, name), name)
    return {**info, "user": user.username} if user.username else info
