"""MONAI Label's local datastore, made safe: for several threads, for a second process, and for a kill at any moment."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import LocalDatastore

from synthzoo.io.files import write_text


class SafeDatastore(LocalDatastore):
    """The stock datastore with its table written to a temporary name and renamed, and one change at a time.

    The stock one writes its table in place (a kill leaves half of it, and the server does not start again), and its
    watcher rebuilds the table from another thread while an image is being added. Before a change the table is read
    again if another process has written it.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self._changing = threading.RLock()
        super().__init__(*args, **kwargs)
        if hasattr(self, "_handler"):
            self._handler.on_moved = self._on_moved

    def _on_moved(self, event: Any) -> None:
        if event.dest_path == self._datastore_config_path:
            self._init_from_datastore_file()

    def _update_datastore_file(self, lock: bool = True) -> None:
        with self._changing:
            if lock:
                with FileLock(self._lock_file):
                    self._write_table()
            else:
                self._write_table()

    def _write_table(self) -> None:
        text = json.dumps(self._datastore.model_dump(exclude={"base_path"}), indent=2, default=str)
        write_text(self._datastore_config_path, text)
        self._config_ts = os.stat(self._datastore_config_path).st_mtime

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        with self._changing:
            super()._init_from_datastore_file(throw_exception)

    def _reconcile_datastore(self) -> None:
        with self._changing:
            super()._reconcile_datastore()

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """As the stock one; an image that is added again keeps its labels."""
        with self._changing:
            self._init_from_datastore_file()
            before = self._datastore.objects.get(image_id)
            labels = dict(before.labels) if before else {}
            image_id = super().add_image(image_id, image_filename, image_info)
            if labels:
                self._datastore.objects[image_id].labels.update(labels)
                self._update_datastore_file()
            return image_id

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """As the stock one."""
        with self._changing:
            self._init_from_datastore_file()
            return super().save_label(image_id, label_filename, label_tag, label_info)

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """As the stock one."""
        with self._changing:
            self._init_from_datastore_file()
            super().update_image_info(image_id, info)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """As the stock one."""
        with self._changing:
            self._init_from_datastore_file()
            super().update_label_info(label_id, label_tag, info)

    def remove_image(self, image_id: str) -> None:
        """As the stock one."""
        with self._changing:
            super().remove_image(image_id)

    def json(self) -> dict[str, Any]:
        """The whole table."""
        with self._changing:
            return super().json()

    def list_images(self) -> list[str]:
        """The ids of all images."""
        with self._changing:
            return super().list_images()
