"""The route that fine-tunes a model."""

# ruff: noqa: B008 - FastAPI reads a route's parameters from calls in its defaults

from __future__ import annotations

from fastapi import APIRouter, Body, Depends
from monailabel.endpoints import train
from monailabel.endpoints.user.auth import RBAC, User

from lib.requests import expect_object
from lib.routes.common import ADMIN, Context, http_errors


def add_routes(router: APIRouter, context: Context) -> None:
    """Add `/train/{model}`, with the stock parameters and answers."""
    trainers = context.app._trainers

    @router.post("/train/{model}", tags=["Train"], summary="Fine-tune a model on the datastore")
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
        return train.run_model(model, dict(requested), run_sync, enqueue)
