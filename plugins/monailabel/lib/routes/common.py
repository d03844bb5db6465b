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
from monailabel.utils.sessions import SessionInfo

from lib.errors import refusal
from lib.line import Line
from lib.requests import read_params
from lib.sessions import SafeSessions
from lib.uploads import check_upload, drop_upload, keep_upload
from synthzoo.errors import UserError
from synthzoo.serving.served import ServedBundle
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
        except Exception as error:
            said = refusal(error)
            if said is None:
                logger.exception("a request failed")
                raise
            raise HTTPException(*said) from error

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

    def sessions(self) -> SafeSessions:
        """The sessions.

        Raises:
            LookupError: they are switched off.
        """
        found = self.app.sessions()
        if found is None:
            raise LookupError("this server keeps no sessions: send the image with each request.")
        return found

    def session(self, session_id: str, update_ts: bool = True) -> SessionInfo:
        """The session of an id.

        Raises:
            LookupError: there is none.
        """
        found = self.sessions().get_session(session_id, update_ts)
        if found is None:
            raise LookupError(f"there is no session '{session_id[:80]}'.")
        return found

    @contextmanager
    def checked_upload(
        self, model: str, params: str, image: str, file: UploadFile | None, session_id: str = ""
    ) -> Iterator[tuple[dict[str, Any], Path | None, Job]]:
        """The options of a request, its checked upload, which is removed in the end, and its job, which then ends.

        The job is there from the beginning, so that it can be watched and cancelled while the file waits to be read.
        """
        bundle, requested, upload = self.bundle(model), read_params(params), None
        for key in ("model", "image", "description"):
            if key in requested:
                raise UserError(f"{model} has no option '{key}': name the image in the address, as ?image=ID.")
        given = bool(image or file or session_id)
        job = self.service.store.new_job(model, self.service.read_request(bundle, requested, given).extras["job"])
        try:
            with self.service.store.ending(job):
                if bundle.takes_images and file:
                    upload = keep_upload(file.file, file.filename)
                elif bundle.takes_images and session_id:
                    upload = Path(self.session(session_id).image)
                if upload is not None:
                    check_upload(upload, bundle.modality, job=job)
                yield requested, upload, job
        except UserError as error:
            if upload is not None:  # our folders are nobody's matter
                error.args = (str(error).replace(f"{upload.parent}/", ""),)
            raise
        finally:
            drop_upload(upload)
