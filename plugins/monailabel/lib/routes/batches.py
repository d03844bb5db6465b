"""Routes that start, watch and stop batch inference."""

# ruff: noqa: B008 - FastAPI reads a route's parameters from calls in its defaults

from __future__ import annotations

from fastapi import APIRouter, Body, Depends, HTTPException
from monailabel.endpoints.user.auth import RBAC, User

from lib.batch import snapshot
from lib.requests import expect_object
from lib.routes.common import ADMIN, USER, Context, http_errors


def add_routes(router: APIRouter, context: Context) -> None:
    """Add `/batch/infer`, with the stock parameters and answers."""
    batch = context.app._batch_infer

    @router.get("/batch/infer", tags=["Infer"], summary="Status of batch inference")
    @http_errors
    def batch_status(all: bool = False, check_if_running: bool = False, user: User = Depends(RBAC(USER))):
        if not batch.tasks or (check_if_running and not batch.running()):
            raise LookupError("no batch inference is running." if check_if_running else "there was no batch inference.")
        return [snapshot(task) for task in batch.tasks] if all else snapshot(batch.tasks[-1])

    @router.post("/batch/infer/{model}", tags=["Infer"], summary="Run a model over the datastore, with resume")
    @context.work.heavy(lambda request: request["run_sync"])
    @http_errors
    def batch_run(
        model: str,
        images: str = "all",
        params: dict | None = Body(None),
        run_sync: bool = False,
        user: User = Depends(RBAC(ADMIN)),
    ):
        context.bundle(model)
        if batch.running():
            raise HTTPException(status_code=429, detail="a batch inference is running: wait for it or stop it first.")
        return snapshot(batch.start(model, images, expect_object(params), wait=run_sync))

    @router.delete("/batch/infer", tags=["Infer"], summary="Stop batch inference; what is done stays")
    @http_errors
    def batch_stop(user: User = Depends(RBAC(ADMIN))):
        return snapshot(batch.stop())
