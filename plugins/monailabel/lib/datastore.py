"""MONAI Label's local datastore, made safe: for several threads, a second process, a kill or a full disk at any moment.

A change is written beside what is there, flushed, renamed, and only then believed: first the file of the image or
label, then the table. An id names a study and a table entry says which file is its own; ids never are paths.
"""

from __future__ import annotations

import copy
import errno
import filecmp
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore, LocalDatastoreModel

from lib.table import LABEL_ENDINGS, NoTable, checked_info, is_bare_name, read_table, split_name
from lib.watcher import Watcher
from synthzoo.errors import StorageError, UserError
from synthzoo.io.files import FULL, atomic_path, flush, sweep
from synthzoo.io.kinds import ENDINGS, format_of, format_of_name, is_input

logger = logging.getLogger(__name__)
TABLE = "datastore_v2.json"
STUDIES = ("volume", "image", "video")
PATIENCE_S = 60
DISK_IS_FULL = (
    "the server's disk is full: nothing was stored, and what was there before is unchanged; free some space there and "
    "send it again."
)


class Conflict(UserError):
    """An id that stands for another file already."""


class SafeDatastore(LocalDatastore):
    """Studies and labels of one folder: `<id><ending>`, `labels/<tag>/<id><ending>`, and the table.

    Listed is what the library reads, however its ending is spelled. Where two files would have one id, the second one's
    id is its whole name.

    Args:
        datastore_path: the folder.
        auto_reload: take notice of files that others put there.
        read_only: never write.
    """

    def __init__(self, datastore_path: str, auto_reload: bool = False, read_only: bool = False):
        logging.getLogger("filelock").setLevel(logging.ERROR)
        self._changing = threading.RLock()
        self._datastore_path = datastore_path
        self._datastore_config_path = os.path.join(datastore_path, TABLE)
        self._lock_file = os.path.join(datastore_path, ".lock")
        self._file_lock = FileLock(self._lock_file, timeout=PATIENCE_S)
        self._extensions = [f"*{ending}" for ending in LABEL_ENDINGS]
        self._auto_reload, self._read_only = auto_reload, read_only
        self._seen: tuple[int, ...] | None = None  # the table's file as it was last read or written
        self._kinds: dict[str, tuple[tuple[int, ...], bool]] = {}  # name -> its file, whether it is a study
        self._told: set[str] = set()
        self._datastore = LocalDatastoreModel(
            name="new-dataset", description="New Dataset", images_dir=".", labels_dir="labels"
        )
        self._datastore.base_path = datastore_path
        if not read_only:
            try:
                for folder in (".", "labels", "labels/final", "labels/original"):
                    os.makedirs(os.path.join(datastore_path, folder), exist_ok=True)
                    sweep(os.path.join(datastore_path, folder))
            except OSError as error:
                logger.warning(f"{datastore_path}: cannot be written ({error.strerror}), so nothing will be stored")
        self.refresh()
        self._watcher = None
        if auto_reload:
            try:
                polling = self._is_on_mount(os.path.abspath(datastore_path))
                self._watcher = Watcher(datastore_path, TABLE, self.refresh, polling)
            except OSError as error:
                logger.error(f"{datastore_path}: cannot be watched ({error}): new files are found at the next start")

    def close(self) -> None:
        """Stop watching the folder."""
        if self._watcher is not None:
            self._watcher.close()

    # --- changes --------------------------------------------------------------------------------------------------

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Store an image under an id, and give the id.

        The same file again keeps its labels and joins what is said of it.

        Args:
            image_id: "" takes the file's name.
            image_filename: what to copy.
            image_info: what is said of it.

        Raises:
            Conflict: the id, or its file, stands for another image.
            StorageError: the disk is full or the folder read-only; nothing has changed.
            UserError: an id that is no name, or info that could not be read again.
        """
        source = Path(image_filename)
        ending = ending_of(source)
        image_id = image_id or split_name(source.name)[0]
        if not is_bare_name(f"{image_id}{ending}") or split_name(f"{image_id}{ending}")[0] != image_id:
            raise UserError(
                f"image is {image_id[:60]!a}, but must be a plain name of at most 255 bytes with its ending."
            )
        info = checked_info(image_info or {}, "the info")
        with self._alone():
            before = self._datastore.objects.get(image_id)
            here = self._image_file(image_id, before.image) if before else self._folder / f"{image_id}{ending}"
            if here.exists() and not (before and here.is_file() and filecmp.cmp(here, source, shallow=False)):
                raise Conflict(
                    f"there is another image '{image_id[:80]}' already: choose another id, or delete that one first "
                    "with its labels (DELETE /datastore/image?id=ID)."
                )
            if before and here.exists():
                info = checked_info(
                    {**before.image.info, **info, "name": here.name, "ts": int(time.time())}, "the info"
                )
                self._put(
                    image_id, ImageLabelModel(image=DataModel(ext=before.image.ext, info=info), labels=before.labels)
                )
                return image_id
            self._put_labels_aside(image_id)
            target = self._folder / f"{image_id}{ending}"
            info |= {"ts": int(time.time()), "name": target.name}
            self._put(image_id, ImageLabelModel(image=DataModel(ext=ending, info=info)), {target: source})
        return image_id

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Store a label of an image in place of the one with the same tag, and give its id, the image's.

        Raises:
            LookupError: there is no such image.
            StorageError: the disk is full or the folder read-only; the old label is whole.
            UserError: a tag that is no name, or info that could not be read again.
        """
        source = Path(label_filename)
        ending = split_name(source.name)[1].lower() or ending_of(source)
        if not is_bare_name(label_tag):
            raise UserError(f"tag is {str(label_tag)[:60]!a}, but must be a plain name.")
        info = checked_info(label_info or {}, "the info")
        with self._alone():
            entry = self._entry(image_id)
            target = self._labels / label_tag / f"{image_id}{ending}"
            info |= {"ts": int(time.time()), "name": target.name}
            labels = {**entry.labels, label_tag: DataModel(ext=ending, info=info)}
            self._put(image_id, ImageLabelModel(image=entry.image, labels=labels), {target: source})
            for old in self._label_files(image_id, label_tag):
                if old != target:
                    with suppress(OSError):
                        old.unlink()
        return image_id

    def remove_image(self, image_id: str) -> None:
        """Remove an image with all its labels.

        Raises:
            LookupError: there is no such image.
            StorageError: the folder is read-only.
        """
        with self._alone():
            entry = self._entry(image_id)
            files = [self._image_file(image_id, entry.image)]
            files += [file for tag in self._tags() for file in self._label_files(image_id, tag)]
            self._unlink(files)
            self._put(image_id, None)

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove one label of an image.

        Raises:
            LookupError: there is no such label.
            StorageError: the folder is read-only.
        """
        with self._alone():
            entry = self._entry(label_id, label_tag)
            self._unlink(self._label_files(label_id, label_tag))
            labels = {tag: label for tag, label in entry.labels.items() if tag != label_tag}
            self._put(label_id, ImageLabelModel(image=entry.image, labels=labels), removed=True)

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Join what is said of an image.

        Raises:
            LookupError: there is no such image.
            StorageError: the disk is full or the folder read-only; nothing has changed.
            UserError: info that could not be read again.
        """
        with self._alone():
            entry = self._entry(image_id)
            info = checked_info({**entry.image.info, **info, **own_keys(entry.image)}, "the info")
            self._put(image_id, ImageLabelModel(image=DataModel(ext=entry.image.ext, info=info), labels=entry.labels))

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Join what is said of a label; see `update_image_info`."""
        with self._alone():
            entry = self._entry(label_id, label_tag)
            label = entry.labels[label_tag]
            info = checked_info({**label.info, **info, **own_keys(label)}, "the info")
            labels = {**entry.labels, label_tag: DataModel(ext=label.ext, info=info)}
            self._put(label_id, ImageLabelModel(image=entry.image, labels=labels))

    def refresh(self) -> None:
        """Bring the table in line with the files that are there."""
        with self._alone():
            try:
                objects = self._reconciled()
            except OSError as error:
                logger.error(f"{self._datastore_path}: cannot be read ({error.strerror}), so nothing is changed")
                return
            if objects != self._datastore.objects or (self._seen is None and not self._read_only):
                try:
                    self._commit(objects)
                except StorageError as error:
                    logger.warning(f"{self._datastore_config_path}: not written ({error})")
                    self._believe(objects)

    # --- what is there --------------------------------------------------------------------------------------------

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is said of an image, a copy; the path of its file is `get_image_uri`'s."""
        entry = self._datastore.objects.get(image_id)
        return copy.deepcopy(entry.image.info) if entry else {}

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """What is said of a label, a copy."""
        label = self._datastore.label(label_id, label_tag)
        return copy.deepcopy(label.info) if label else {}

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """The images with a final label: {"image", "label"}, absolute paths or names below the folder."""
        found = []
        for image_id, entry in self._datastore.objects.items():
            if "final" in entry.labels:
                image, label = f"{image_id}{entry.image.ext}", f"{image_id}{entry.labels['final'].ext}"
                pair = {"image": self._folder / image, "label": self._labels / "final" / label}
                shown = {key: path if full_path else path.relative_to(self._folder) for key, path in pair.items()}
                found.append({key: str(path) for key, path in shown.items()})
        return found

    @property
    def _folder(self) -> Path:
        return Path(os.path.abspath(self._datastore_path))

    @property
    def _labels(self) -> Path:
        return self._folder / "labels"

    def _image_file(self, image_id: str, image: DataModel) -> Path:
        return self._folder / f"{image_id}{image.ext}"

    def _entry(self, image_id: str, tag: str = "") -> ImageLabelModel:
        entry = self._datastore.objects.get(image_id)
        if entry is None:
            raise LookupError(f"there is no image '{str(image_id)[:80]}' in the datastore.")
        if tag and tag not in entry.labels:
            known = ", ".join(entry.labels) or "none"
            raise LookupError(f"image '{image_id[:80]}' has no label '{tag[:80]}': it has {known}.")
        return entry

    def _tags(self) -> list[str]:
        with suppress(FileNotFoundError, NotADirectoryError):
            return sorted(path.name for path in self._labels.iterdir() if is_bare_name(path.name) and path.is_dir())
        return []

    def _label_files(self, image_id: str, tag: str) -> list[Path]:
        """Every file with a tag that is a label of an image, by its name, or would be one if the others went."""
        folder = self._labels / tag
        with suppress(OSError):
            names = [name for name in os.listdir(folder) if name.startswith(image_id)]
            return [folder / name for name in sorted(names) if split_name(name)[0] == image_id]
        return []

    def _files(self, folder: Path) -> list[Path]:
        """The files directly in a folder, hidden ones and those with impossible names left out.

        Raises:
            OSError: the folder is there and cannot be read, which does not mean that its files are gone.
        """
        found = []
        with suppress(FileNotFoundError, NotADirectoryError):
            for path in sorted(folder.iterdir()):
                if path.name.startswith(".") or not path.is_file():
                    continue
                if is_bare_name(path.name):
                    found.append(path)
                else:
                    self._tell_once(f"{ascii(path.name)[:100]}: not listed, its name cannot be sent: rename it")
        return found

    def _is_study(self, path: Path) -> bool:
        """Whether a file is what the library reads; asked once for each state of a file."""
        with suppress(OSError):
            state = path.stat()
            key = (state.st_mtime_ns, state.st_size, state.st_ino)
            if self._kinds.get(path.name, ((), False))[0] != key:
                self._kinds[path.name] = (key, path.name != TABLE and is_input(path, STUDIES))
            return self._kinds[path.name][1]
        return False

    def _tell_once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            logger.warning(line)

    def _reconciled(self) -> dict[str, ImageLabelModel]:
        """The table's entries whose files are there, and an entry for every other file that is a study or a label."""
        files = {path.name: path for path in self._files(self._folder)}
        objects: dict[str, ImageLabelModel] = {}
        for image_id, entry in self._datastore.objects.items():
            if files.pop(f"{image_id}{entry.image.ext}", None) is not None:
                objects[image_id] = ImageLabelModel(image=entry.image, labels=entry.labels)
            else:
                logger.warning(f"{TABLE}: entry '{image_id}' is passed over: {image_id}{entry.image.ext} is not there")
        for name, path in files.items():
            if self._is_study(path):
                image_id, ending = split_name(name)
                image_id, ending = (name, "") if image_id in objects else (image_id, ending)
                if image_id not in objects:
                    logger.info(f"new image: {image_id}")
                    info = {"ts": int(time.time()), "name": name}
                    objects[image_id] = ImageLabelModel(image=DataModel(ext=ending, info=info))
        kept: dict[str, dict[str, DataModel]] = {image_id: {} for image_id in objects}
        for tag in sorted({*self._tags(), *(tag for entry in objects.values() for tag in entry.labels)}):
            there = {path.name for path in self._files(self._labels / tag)}
            for name in sorted(there):
                image_id, ending = split_name(name)
                if image_id not in objects or not ending:
                    continue
                known = objects[image_id].labels.get(tag)
                if known is not None and f"{image_id}{known.ext}" in there:
                    kept[image_id][tag] = known
                elif tag not in kept[image_id]:
                    kept[image_id][tag] = DataModel(ext=ending, info={"ts": int(time.time()), "name": name})
            for image_id, entry in objects.items():
                if tag in entry.labels and tag not in kept[image_id]:
                    logger.warning(f"{TABLE}: label '{tag}' of '{image_id}' is passed over: its file is not there")
        return {key: ImageLabelModel(image=entry.image, labels=kept[key]) for key, entry in objects.items()}

    # --- the disk -------------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One change at a time, of this process and of others, on the table as it is now."""
        with self._changing, ExitStack() as stack:
            if not self._read_only:
                try:
                    stack.enter_context(self._file_lock)
                except TimeoutError:
                    raise StorageError(f"another process has held the studies folder for {PATIENCE_S} s.") from None
                except OSError as error:  # read-only, or full: a change says so when it writes
                    logger.debug(f"{self._lock_file}: {error}")
            self._reload()
            yield

    def _put(
        self,
        image_id: str,
        entry: ImageLabelModel | None,
        files: Mapping[Path, Path] | None = None,
        removed: bool = False,
    ) -> None:
        """Take an entry into the table, with the files that it needs; None removes it.

        What was removed is gone even where the table cannot be written any more: the next start finds no file.
        """
        objects = {**self._datastore.objects, **({image_id: entry} if entry else {})}
        if entry is None:
            objects.pop(image_id, None)
        try:
            self._commit(objects, files or {})
        except StorageError as error:
            if entry is not None and not removed:
                raise
            logger.warning(f"{self._datastore_config_path}: not written ({error})")
            self._believe(objects)

    def _commit(self, objects: dict[str, ImageLabelModel], files: Mapping[Path, Path] | None = None) -> None:
        """Write new files and the table, and believe them then: all is on the disk before the first name changes."""
        table = self._datastore.model_copy(update={"objects": objects})
        text = json.dumps(table.model_dump(exclude={"base_path"}), indent=2, default=str)
        with self._storing(), ExitStack() as stack:
            made = stack.enter_context(atomic_path(self._datastore_config_path))  # renamed last
            made.write_text(text, encoding="utf-8")
            flush(made)
            for target, source in (files or {}).items():
                shutil.copyfile(source, stack.enter_context(atomic_path(target)))
        self._believe(objects)
        self._seen = self._state()

    def _believe(self, objects: dict[str, ImageLabelModel]) -> None:
        self._datastore = self._datastore.model_copy(update={"objects": objects})

    def _update_datastore_file(self, lock: bool = True) -> None:
        """Write the table, for the stock methods that change its name and description."""
        with self._alone():
            self._commit(self._datastore.objects)

    @contextmanager
    def _storing(self) -> Iterator[None]:
        """What the disk refuses, as a sentence for the client without the server's paths."""
        if self._read_only:
            raise StorageError("the studies folder of this server is read-only, so nothing in it is changed.")
        try:
            yield
        except (StorageError, OSError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            code = getattr(cause, "errno", None)
            if code in FULL:
                raise StorageError(DISK_IS_FULL) from error
            if code == errno.ENAMETOOLONG:
                raise UserError("the name is longer than the server's disk takes: choose a shorter one.") from error
            said = getattr(cause, "strerror", None) or "it cannot be written"
            raise StorageError(
                f"the studies folder of this server cannot be written ({said}), so nothing has changed: whoever runs "
                "the server can mend that."
            ) from error

    def _unlink(self, files: list[Path]) -> None:
        with self._storing():
            for file in files:
                file.unlink(missing_ok=True)

    def _put_labels_aside(self, image_id: str) -> None:
        """Hide label files that an image of this id has left: they never belong to another image."""
        for tag in self._tags():
            for file in self._label_files(image_id, tag):
                with self._storing():
                    file.rename(file.with_name(f".aside-{time.time_ns()}_{file.name}"))
                logger.warning(f"labels/{tag}/{file.name} belongs to no image: hidden before a new '{image_id}' comes")

    def _state(self) -> tuple[int, ...] | None:
        try:
            state = os.stat(self._datastore_config_path)
        except OSError:
            return None
        return state.st_mtime_ns, state.st_size, state.st_ino

    def _reload(self) -> None:
        """Read the table again if another process, or a hand, has written it."""
        state = self._state()
        if state is None or state == self._seen:
            return
        try:
            table = read_table(Path(self._datastore_config_path).read_bytes())
        except IsADirectoryError:
            logger.error(f"{self._datastore_config_path}: is a folder; {self._set_aside(os.replace)}")
            return
        except OSError as error:
            logger.error(f"{self._datastore_config_path}: cannot be read ({error.strerror})")
            return
        except NoTable as error:
            logger.error(f"{self._datastore_config_path}: {error}; {self._set_aside(os.replace)}")
            self._seen = None
            return
        for fault in table.faults:
            logger.error(f"{TABLE}: {fault}, so it is passed over")
        if table.faults:
            logger.error(f"{TABLE}: {self._set_aside(shutil.copyfile)}")
        self._seen = state
        self._datastore = self._datastore.model_copy(update={**table.said, "objects": table.objects})

    def _set_aside(self, how: Any) -> str:
        """Keep a damaged table under another name; says which."""
        aside = f"datastore_v2.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06d}.json"
        try:
            if self._read_only:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            how(self._datastore_config_path, self._folder / aside)
        except OSError as error:
            return f"it could not be kept under another name ({error.strerror})"
        return f"the damaged table is kept as {aside}"


def ending_of(path: Path) -> str:
    """The ending under which a file is stored: that of its name in small letters, if its content does not disagree."""
    form = format_of(path)
    if form is None or format_of_name(path.name) == form:
        return split_name(path.name)[1].lower()
    return ENDINGS[form][0]


def own_keys(data: DataModel) -> dict[str, Any]:
    """What the datastore itself says of a file, which no client changes."""
    return {key: data.info[key] for key in ("ts", "name") if key in data.info}
