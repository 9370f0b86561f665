"""Results at a URI (meta.storage): what a run leaves is copied there as it goes, and from there to wherever it goes on.

The folder here is what is worked with; the one at the URI is its copy. Files are copied whole, those last that say how
far the rest is; what is newer than the rest nevertheless is found damaged by whoever resumes, as after a crash: it is
trained again.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slmx.alongside import alongside
from slmx.errors import SlmxError
from slmx.whole import whole, writing

URI = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]+)://")
SECONDS = 10.0  # between two copies
LAST = ("checkpoint", "ended", "run.json")
"""What says how far the rest is, by name: copied there after all else, in this order, and from there before it."""
STAMPS = ("size", "mtime", "ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "updated")
"""What file systems say of a file that tells whether it has changed."""


class StorageError(SlmxError):
    """What lies at a URI cannot be read or written."""

    code = 1


def is_uri(text: str) -> bool:
    """Whether this is a URI rather than a path."""
    return URI.match(text) is not None


class Store:
    """A folder here, and its copy at `{uri}/{the folder's name}`. StorageError where that cannot be reached.

    One of the two is written by whoever calls: `push` copies what has changed here, `pull` what has changed there. What
    was pulled is not pushed again unless it changes here.
    """

    def __init__(self, uri: str, folder: Path):
        import fsspec

        self.uri, self.folder = f"{uri.rstrip('/')}/{folder.name}", folder
        try:
            self.fs, root = fsspec.core.url_to_fs(self.uri)
        except (ImportError, ValueError) as error:
            raise StorageError(f"{uri}: {error}") from error
        self.root = str(root).rstrip("/")
        # what files were here and there when they were the same
        self._here: dict[str, tuple[int, int]] = {}
        self._there: dict[str, tuple[str, ...]] = {}
        self._lock = threading.RLock()

    @classmethod
    def at(cls, uri: str, parent: Path) -> Store:
        """The store whose copy is at this URI, and whose folder lies, by the same name, in `parent`."""
        place, _, name = uri.rstrip("/").rpartition("/")
        return cls(place, parent / name)

    def push(self, *parts: Path) -> None:
        """Copy what has changed here, and remove what is gone; of these files and folders alone if any are named."""
        with self._lock, self._reaching():
            found = self._stamps(parts or (self.folder,))
            inside = tuple(self._name(part) for part in parts)
            for name, stamp in sorted(found.items(), key=lambda file: _turn(file[0])):
                if self._here.get(name) == stamp:
                    continue
                if _turn(name) and self._stamps((self.folder / name,)).get(name) != stamp:
                    continue  # it says more by now than what was copied before it, with which it comes next time
                self._put(name)
                self._here[name] = stamp
            for name in [name for name in self._here if name not in found and _within(name, inside)]:
                self._remove(name)

    def remove(self, file: Path) -> None:
        """Remove a file there, whoever has copied it there."""
        with self._lock, self._reaching():
            self._remove(self._name(file))

    def pull(self, *parts: Path) -> None:
        """Copy what has changed there; of these files and folders alone if any are named."""
        with self._lock, self._reaching():
            self.fs.invalidate_cache()
            for part in sorted(map(self._name, parts or [self.folder]), key=_turn, reverse=True):
                found: dict[str, Any] = self.fs.find(f"{self.root}/{part}".rstrip("/"), detail=True)
                for path in sorted(found, key=lambda path: _turn(self._below(path)), reverse=True):
                    self._get(path, _stamp(found[path]))

    def there(self, *files: Path) -> tuple[tuple[str, ...] | None, ...]:
        """What tells of each of these files whether its copy at the URI has changed; None where there is none."""
        with self._lock, self._reaching():
            self.fs.invalidate_cache()
            return tuple(self._stamp_there(f"{self.root}/{self._name(file)}") for file in files)

    def uri_of(self, folder: Path) -> str:
        """Where a folder inside of this one is copied to."""
        return f"{self.uri}/{self._name(folder)}".rstrip("/")

    def exists(self) -> bool:
        """Whether there is anything at the URI."""
        with self._reaching():
            return bool(self.fs.exists(self.root))

    def _stamp_there(self, place: str) -> tuple[str, ...] | None:
        try:
            return _stamp(self.fs.info(place))
        except FileNotFoundError:
            return None

    def _put(self, name: str) -> None:
        there = f"{self.root}/{name}"
        self.fs.makedirs(there.rpartition("/")[0], exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile
            self.fs.put_file(str(self.folder / name), there)

    def _remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(f"{self.root}/{name}")
        self._here.pop(name, None)

    def _get(self, there: str, stamp: tuple[str, ...]) -> None:
        name = self._below(there)
        if self._there.get(name) == stamp:
            return
        here = self.folder / name
        with writing(here):
            here.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # likewise
            content: Any = self.fs.cat_file(there)
            with whole(here, "wb") as file:
                file.write(content)
            self._here |= self._stamps((here,))
            self._there[name] = stamp

    def _stamps(self, parts: tuple[Path, ...]) -> dict[str, tuple[int, int]]:
        """Size and time of these files and of those in these folders, but for what is being written."""
        found = {}
        for file in (file for part in parts for file in ([part] if part.is_file() else part.rglob("*"))):
            with contextlib.suppress(FileNotFoundError):
                if file.is_file() and not file.name.startswith("."):
                    found[self._name(file)] = (file.stat().st_size, file.stat().st_mtime_ns)
        return found

    def _below(self, there: str) -> str:
        """The name of a file at the URI."""
        return there[len(self.root) :].lstrip("/")

    def _name(self, path: Path) -> str:
        name = path.relative_to(self.folder).as_posix()
        return "" if name == "." else name

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except SlmxError:
            raise
        except Exception as error:  # each file system has errors of its own
            reason = " ".join(str(error).split()) or type(error).__name__
            left = f"; what there is lies in {self.folder}"
            raise StorageError(f"{self.uri}: cannot be reached: {reason}{left}") from error


def _stamp(known: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(known.get(key)) for key in STAMPS)


def _turn(name: str) -> int:
    """When a file or folder is copied there: what says nothing of others is first."""
    return max((turn for turn, last in enumerate(LAST, 1) if last in name.split("/")), default=0)


def _within(name: str, parts: tuple[str, ...]) -> bool:
    return not parts or any(name == part or name.startswith(f"{part}/") for part in parts)


def store_of(storage: str | None, folder: Path) -> Store | None:
    """Where the run in a folder is copied to, if meta.storage is a URI. StorageError where that cannot be reached."""
    return Store(storage, folder) if storage is not None and is_uri(storage) else None


@contextlib.contextmanager
def mirrored(store: Store | None) -> Iterator[None]:
    """While this lasts, copy what a run leaves to its URI now and then; at the end, all of it.

    StorageError at once where the URI cannot be reached. Later the run goes on, is copied as soon as that can be, and
    StorageError is raised at its end if it still cannot.
    """
    if store is None:
        yield
        return
    store.push()

    def copy(over: threading.Event) -> None:
        while not over.wait(SECONDS):
            with contextlib.suppress(StorageError, FileNotFoundError):
                store.push()

    try:
        with alongside(copy, "storage"):
            yield
    finally:
        store.push()


def fetch(uri: str, data: Path) -> Path:
    """Copy the run at a URI into the data folder; where it lies there. StorageError where there is none."""
    store = Store.at(uri, data)
    if not store.exists():
        raise StorageError(f"{uri}: there is nothing")
    store.pull()
    return store.folder
