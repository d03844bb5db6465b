"""Routes of our own below `/zoo`: the index of models, every output of a run in one answer, and jobs on their way."""

# ruff: noqa: B008 - FastAPI reads a route's parameters from calls in its defaults

from __future__ import annotations

from fastapi import APIRouter, Depends, File, Form, UploadFile
from fastapi.background import BackgroundTasks
from fastapi.responses import FileResponse
from monailabel.endpoints.user.auth import RBAC, User

from lib.answers import pack
from lib.routes.common import USER, Context, http_errors


def add_routes(router: APIRouter, context: Context) -> None:
    """Add `/zoo/index`, `/zoo/run` and `/zoo/jobs` (progress and cancel)."""
    service = context.service

    @router.get("/zoo/index", tags=["Zoo"], summary="Every model with its options, outputs and version")
    @http_errors
    def zoo_index(user: User = Depends(RBAC(USER))) -> dict:
        models = {name: task.info() for name, task in context.app._infers.items()}
        return {"models": models, "loaded": service.store.loaded(), "memory_limit_bytes": service.store.limit}

    @router.post("/zoo/run/{model}", tags=["Zoo"], summary="Run one model; every output of every result in one zip")
    @context.work.heavy()
    @http_errors
    def zoo_run(
        background_tasks: BackgroundTasks,
        model: str,
        image: str = "",
        params: str = Form("{}"),
        file: UploadFile = File(None),
        user: User = Depends(RBAC(USER)),
    ) -> FileResponse:
        with context.checked_upload(model, params, image, file) as (requested, upload, job):
            with service.run_request({**requested, "model": model, "image": image}, upload, job) as result:
                path = pack(result.bundle, result.cases, result.params)
        background_tasks.add_task(path.unlink, missing_ok=True)
        return FileResponse(path, media_type="application/zip", filename=f"{model}.zip", background=background_tasks)

    @router.get("/zoo/jobs", tags=["Zoo"], summary="Requests that wait, run and have ended")
    @http_errors
    def zoo_jobs(user: User = Depends(RBAC(USER))) -> list[dict]:
        return [job.describe() for job in list(service.store.jobs.values())]

    @router.delete("/zoo/jobs/{job}", tags=["Zoo"], summary="Cancel a request")
    @http_errors
    def zoo_cancel(job: str, user: User = Depends(RBAC(USER))) -> dict:
        if job not in service.store.jobs:
            raise LookupError(f"there is no job '{job[:60]}'.")
        return service.store.cancel(job).describe()
