"""What a client is told when a request fails, on our routes and stock ones: a status and one sentence, no traceback."""

from __future__ import annotations

import errno
import json
import logging
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from monailabel.interfaces.exception import MONAILabelException
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from lib.datastore import DISK_IS_FULL, Conflict
from lib.paths import without_folders
from synthzoo.errors import StorageError, find_user_error
from synthzoo.io.files import FULL
from synthzoo.serving.served import Cancelled

logger = logging.getLogger(__name__)
UNFORESEEN = "the server failed at this request, and its log says why; it goes on."


def refusal(error: BaseException) -> tuple[int, str] | None:
    """Status and sentence, on one line, for a mistake or a fault of the disk; None for what nobody has foreseen."""
    said = _refusal(error)
    return said and (said[0], " ".join(without_folders(said[1]).split()))


def _refusal(error: BaseException) -> tuple[int, str] | None:
    if isinstance(error, Cancelled):
        return 409, str(error)
    if type(error) is LookupError:
        return 404, str(error)
    if isinstance(error, MONAILabelException):
        return 404, error.msg
    mistake = find_user_error(error)
    if isinstance(mistake, Conflict):
        return 409, str(mistake)
    if (isinstance(mistake, StorageError) and is_full(mistake)) or (mistake is None and is_full(error)):
        return 507, DISK_IS_FULL
    if isinstance(mistake, StorageError):
        return 507, str(mistake)
    if mistake is not None:
        return 400, str(mistake)
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return 400, "a name is longer than the server's disk takes: choose a shorter one."
    return None


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is at the root of an error."""
    seen = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def answer_errors(server: FastAPI) -> None:
    """Let every route, stock ones too, answer with a sentence; to be called before the middleware is built again."""

    def told(request: Request, error: Exception) -> Response:
        said = refusal(error)
        if said is None:
            logger.error("a request failed", exc_info=error)
        status, sentence = said or (500, UNFORESEEN)
        return Response(json.dumps({"detail": sentence}), status, media_type="application/json")

    def told_of_http(request: Request, error: Any) -> Response:
        if is_full(error):  # of the parser that spools an upload
            return told(request, OSError(errno.ENOSPC, ""))
        headers = getattr(error, "headers", None)
        return Response(json.dumps({"detail": error.detail}), error.status_code, headers, "application/json")

    def told_of_fields(request: Request, error: Any) -> Response:
        found = [f"{'.'.join(str(part)[:60] for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        return Response(json.dumps({"detail": "; ".join(found[:5])}), 422, media_type="application/json")

    server.add_exception_handler(HTTPException, told_of_http)
    server.add_exception_handler(RequestValidationError, told_of_fields)
    for kind in (MONAILabelException, ValueError, OSError, LookupError, Exception):
        server.add_exception_handler(kind, told)
