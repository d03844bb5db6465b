"""Routes that run one model on one image, or open the next sample."""

# ruff: noqa: B008 - FastAPI reads a route's parameters from calls in its defaults

from __future__ import annotations

from fastapi import APIRouter, Body, Depends, File, Form, UploadFile
from fastapi.background import BackgroundTasks
from monailabel.endpoints import activelearning, infer
from monailabel.endpoints.user.auth import RBAC, User

from lib.guard import is_public
from lib.requests import expect_object
from lib.routes.common import USER, Context, http_errors
from lib.strategies import Generate
from synthzoo.errors import UserError


def add_routes(router: APIRouter, context: Context) -> None:
    """Add `/infer` and `/activelearning`, with the stock parameters and answers."""
    app, service = context.app, context.service
    generates = {name for name, strategy in app._strategies.items() if isinstance(strategy, Generate)}

    @router.post("/infer/{model}", tags=["Infer"], summary="Run one model", responses=infer.router.responses)
    @context.work.heavy()
    @http_errors
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
        if output == infer.ResultType.dicom_seg:
            raise UserError("output dicom_seg is not offered: float maps and synthetic studies are no DICOM SEG.")
        with context.checked_upload(model, params, image, file, session_id) as (requested, upload, job):
            result = service.infer({**requested, "model": model, "image": image}, upload, job)
        return infer.send_response(service.datastore, result, output, background_tasks)

    @router.post("/activelearning/{strategy}", tags=["ActiveLearning"], summary="Open the next sample")
    @context.work.heavy(lambda request: request["strategy"] in generates)
    @http_errors
    def run_sample(strategy: str, params: dict | None = Body(None), user: User = Depends(RBAC(USER))):
        if strategy not in app._strategies:
            raise LookupError(f"there is no strategy '{strategy[:80]}': known are {', '.join(app._strategies)}.")
        found = activelearning.sample(strategy, expect_object(params), user.username)
        if is_public(app.conf):  # Slicer's stock module opens the file itself where it runs on the same machine
            found.pop("path", None)
        return found
