"""The route that fine-tunes a model."""

# ruff: noqa: B008 - FastAPI reads a route's parameters from calls in its defaults

from __future__ import annotations

from fastapi import APIRouter, Body, Depends, HTTPException
from monailabel.endpoints import train
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.utils.async_tasks.utils import tasks
from torch.nn import Identity

from lib.requests import expect_object
from lib.routes.common import ADMIN, Context, http_errors
from synthzoo.serving.watching import CallCounter, watched


def add_routes(router: APIRouter, context: Context) -> None:
    """Add `/train/{model}`, with the stock parameters and answers."""
    trainers, store = context.app._trainers, context.service.store

    @router.post("/train/{model}", tags=["Train"], summary="Fine-tune a model on the datastore")
    @context.work.heavy(lambda request: request["run_sync"])
    @http_errors
    def run_train(
        model: str,
        params: dict | None = Body(None),
        run_sync: bool = False,
        enqueue: bool = False,
        user: User = Depends(RBAC(ADMIN)),
    ):
        if model not in trainers:
            known = ", ".join(trainers) or "none"
            raise LookupError(f"there is no trainer '{model[:80]}': the trainers are {known}.")
        requested = expect_object(params)
        requested = requested.get(model, requested) if isinstance(requested.get(model), dict) else requested
        trainers[model].check(requested)
        if not run_sync:
            waiting = sum(task["status"] == "SUBMITTED" for task in tasks("train"))
            if enqueue and waiting >= context.service.queue_max:
                raise HTTPException(
                    status_code=429,
                    detail=f"{waiting} trainings wait already, and queue_max is {context.service.queue_max}: stop one.",
                    headers={"Retry-After": "600"},
                )
            return train.run_model(model, dict(requested), run_sync, enqueue)
        job = store.new_job(model)
        with store.use(job), watched(CallCounter(Identity()), lambda: job.report(0, 1, 0)):
            return train.run_model(model, dict(requested), run_sync, enqueue)
