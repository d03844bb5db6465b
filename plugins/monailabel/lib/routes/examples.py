"""The route of a seeded example input, so that a client without an image can try a model."""

# ruff: noqa: B008 - FastAPI reads a route's parameters from calls in its defaults

from __future__ import annotations

import shutil

from fastapi import APIRouter, Depends
from fastapi.background import BackgroundTasks
from fastapi.responses import FileResponse
from monailabel.endpoints.user.auth import RBAC, User

from lib.examples import make_example
from lib.routes.common import USER, Context, http_errors


def add_routes(router: APIRouter, context: Context) -> None:
    """Add `/zoo/example`."""

    @router.get("/zoo/example/{model}", tags=["Zoo"], summary="A seeded phantom of the kind that the model takes")
    @context.files.heavy()
    @http_errors
    def zoo_example(
        background_tasks: BackgroundTasks, model: str, seed: int = 0, user: User = Depends(RBAC(USER))
    ) -> FileResponse:
        path = make_example(context.bundle(model), seed)
        background_tasks.add_task(shutil.rmtree, path.parent, ignore_errors=True)
        return FileResponse(path, filename=path.name, background=background_tasks)
