"""What the routes of all subjects share: roles, mistakes as HTTP errors, and a request's model and upload."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import HTTPException, UploadFile
from monailabel.config import settings
from monailabel.interfaces.exception import MONAILabelException

from lib.line import Line
from lib.requests import read_params
from lib.uploads import check_upload, drop_upload, keep_upload
from synthzoo.errors import UserError, find_user_error
from synthzoo.serving.served import Cancelled, ServedBundle
from synthzoo.serving.store import Job

logger = logging.getLogger(__name__)
USER = settings.MONAI_LABEL_AUTH_ROLE_USER
ADMIN = settings.MONAI_LABEL_AUTH_ROLE_ADMIN
ANNOTATOR = settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR
FILES_AT_ONCE = 2


def http_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a mistake into its HTTP status with one sentence; what we did not foresee stays a 500 and is logged."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except HTTPException:
            raise
        except Cancelled as error:
            raise HTTPException(status_code=409, detail=str(error)) from error
        except LookupError as error:
            if type(error) is not LookupError:
                raise
            raise HTTPException(status_code=404, detail=str(error)) from error
        except MONAILabelException as error:
            raise HTTPException(status_code=404, detail=error.msg) from error
        except Exception as error:
            mistake = find_user_error(error)
            if mistake is None:
                logger.exception("a request failed")
                raise
            raise HTTPException(status_code=400, detail=str(mistake)) from error

    return run


class Context:
    """The app that the routes answer for.

    Args:
        app: MONAI Label's, with our service.
    """

    def __init__(self, app: Any):
        self.app, self.service = app, app.service
        parallel, queue_max = self.service.store.parallel, self.service.queue_max
        self.work = Line("work", "requests", parallel, queue_max, own_threads=True)
        self.files = Line("files", "files", FILES_AT_ONCE, queue_max)

    def bundle(self, model: str) -> ServedBundle:
        """The bundle of a name.

        Raises:
            LookupError: there is none.
        """
        bundles = self.service.store.bundles
        if model not in bundles:
            raise LookupError(f"there is no model '{model[:80]}': the models are {', '.join(bundles)}.")
        return bundles[model]

    @contextmanager
    def checked_upload(
        self, model: str, params: str, file: UploadFile | None, session_id: str = ""
    ) -> Iterator[tuple[dict[str, Any], Path | None, Job]]:
        """The options of a request, its checked upload, which is removed in the end, and its job, which then ends.

        The job is there from the beginning, so that it can be watched and cancelled while the file waits to be read.
        """
        bundle, requested, upload = self.bundle(model), read_params(params), None
        for key in ("model", "image", "description"):
            if key in requested:
                raise UserError(f"{model} has no option '{key}': name the image in the address, as ?image=ID.")
        job = self.service.store.new_job(model, self.service.read_request(bundle, requested).extras["job"])
        try:
            with self.service.store.ending(job):
                if bundle.takes_images and file:
                    upload = keep_upload(file.file, file.filename)
                elif bundle.takes_images and session_id:
                    sessions = self.app.sessions()
                    found = sessions.get_session(session_id) if sessions else None
                    if found is None:
                        raise LookupError(f"there is no session '{session_id[:80]}'.")
                    upload = Path(found.image)
                if upload is not None:
                    check_upload(upload, bundle.modality, job=job)
                yield requested, upload, job
        except UserError as error:
            if upload is None:
                raise
            raise UserError(str(error).replace(f"{upload.parent}/", "")) from error  # our folders are nobody's matter
        finally:
            drop_upload(upload)
