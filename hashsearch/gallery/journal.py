"""What a build has encoded so far: it goes on from there if it is stopped.

One SQLite file beside the gallery, ``NAME.h5.encoded``, while the gallery is built. A batch is
there once it is committed; of one that was on its way when the process died nothing is.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashsearch.errors import GalleryDamaged, GalleryWriteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hashsearch.encoder import Encoder

__all__ = ["Encoded", "Found", "Journal", "resumable"]

_LAYOUT = 1  # of the tables; another is of another release
_TABLES = """
create table encoder (fingerprint text);
create table item (
    place integer primary key, id text unique, entry blob, content blob, code blob, picture blob
);
"""


@dataclass(frozen=True)
class Encoded:
    """An item that was encoded.

    Attributes:
        id: of the item.
        entry: see :func:`hashsearch.gallery.stamps.entry_stamp`.
        content: see :func:`hashsearch.gallery.stamps.content_stamp`.
        code: packed, ``code_bytes`` long.
        picture: its thumbnail, JPEG bytes; None: none was made.
    """

    id: str
    entry: int
    content: int
    code: bytes
    picture: bytes | None


@dataclass(frozen=True)
class Found:
    """What is known of an item that was encoded.

    Attributes:
        place: where it stands.
        entry: as for :class:`Encoded`.
        content: as for :class:`Encoded`.
        code: packed.
        picture_bytes: of its thumbnail; 0: it has none.
    """

    place: int
    entry: int
    content: int
    code: bytes
    picture_bytes: int


class Journal:
    """Encoded items by id, in a file or, with the name ``:memory:``, in memory.

    Args:
        path: of the file. What it holds of the same encoder stays; of another it goes, as
            does a file that is damaged.
        fingerprint: of the encoder.

    Raises:
        GalleryWriteError: the folder or the disk refuses it.
    """

    def __init__(self, path: Path | str, fingerprint: str) -> None:
        self._path = path
        try:
            self._connection = self._opened(fingerprint)
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise self._refused(error) from error
            # As after a crash of the whole machine; it only saves time.
            self._remove_files()
            try:
                self._connection = self._opened(fingerprint)
            except sqlite3.Error as again:
                raise self._refused(again) from again

    def _opened(self, fingerprint: str) -> sqlite3.Connection:
        # Thumbnails may be read in another thread, long after the build.
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            # Nobody else looks at it: the gallery's lock is held.
            connection.execute("pragma locking_mode = exclusive")
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = normal")
            (layout,) = connection.execute("pragma user_version").fetchone()
            if layout != _LAYOUT:
                # New, or of another release.
                names = connection.execute("select name from sqlite_master where type = 'table'")
                drops = "".join(f'drop table "{name}";' for (name,) in names.fetchall())
                connection.executescript(
                    f"begin; {drops} {_TABLES} pragma user_version = {_LAYOUT}; commit;"
                )
            if connection.execute("select fingerprint from encoder").fetchall() != [(fingerprint,)]:
                connection.execute("begin")
                connection.execute("delete from encoder")
                connection.execute("delete from item")
                connection.execute("insert into encoder values (?)", (fingerprint,))
                connection.execute("commit")
        except BaseException:
            connection.close()
            raise
        return connection

    def find(self, id_: str) -> Found | None:
        """What it holds of an item, if it does; what is no text is the id of none."""
        try:
            row = self._row(
                "select place, entry, content, code, coalesce(length(picture), 0) "
                "from item where id = ?",
                id_,
            )
        except UnicodeEncodeError:
            return None
        if row is None:
            return None
        place, entry, content, code, size = row
        return Found(place, _number(entry), _number(content), code, size)

    def add(self, encoded: Iterable[Encoded]) -> list[int]:
        """Keep a batch, all of it or nothing; an item that is there already is replaced.

        Returns:
            The place of each.

        Raises:
            GalleryWriteError: the disk refuses it.
        """
        places = []
        try:
            self._connection.execute("begin")
            for each in encoded:
                cursor = self._connection.execute(
                    "insert or replace into item (id, entry, content, code, picture) "
                    "values (?, ?, ?, ?, ?)",
                    (each.id, _bytes(each.entry), _bytes(each.content), each.code, each.picture),
                )
                places.append(int(cursor.lastrowid or 0))
            self._connection.execute("commit")
        except sqlite3.Error as error:
            raise self._refused(error) from error
        return places

    def picture(self, place: int) -> bytes:
        """The thumbnail at a place; empty: it has none."""
        row = self._row("select picture from item where place = ?", place)
        picture: bytes | None = row[0]
        return picture or b""

    def __len__(self) -> int:
        """How many items it holds."""
        return int(self._row("select count(*) from item")[0])

    def _row(self, query: str, *values: str | int) -> Any:
        """The one row that a query gives, or None.

        Raises:
            GalleryDamaged: a part of the file that was not looked at before is damaged.
        """
        try:
            return self._connection.execute(query, values).fetchone()
        except sqlite3.DatabaseError as error:
            raise GalleryDamaged(
                f"{self._path} is damaged ({error}); delete it, and run the same again"
            ) from error

    def close(self) -> None:
        """Leave the file as it is."""
        self._connection.close()

    def remove(self) -> None:
        """Close it, and remove the file: the gallery is written."""
        self.close()
        self._remove_files()

    def _remove_files(self) -> None:
        try:
            for ending in ("", "-wal", "-shm", "-journal"):
                Path(f"{self._path}{ending}").unlink(missing_ok=True)
        except OSError as error:
            raise GalleryWriteError(
                f"cannot remove {self._path}: {error.strerror}; remove it, and run it again"
            ) from error

    def _refused(self, error: sqlite3.Error) -> GalleryWriteError:
        return GalleryWriteError(
            f"cannot write {self._path}: {error}; free some space or choose another place, and "
            "run it again"
        )


@contextmanager
def resumable(path: Path, encoder: Encoder, ending: str = ".encoded") -> Iterator[Journal]:
    """The journal of a gallery file; it stays if the body fails or is stopped.

    Args:
        path: of the gallery, whose lock is held (:func:`hashsearch.gallery.writing`).
        encoder: that makes the codes.
        ending: of the journal's name; whatever is done to a gallery has one of its own.

    Raises:
        GalleryWriteError: the folder or the disk refuses it.
    """
    journal = Journal(path.with_name(f"{path.name}{ending}"), encoder.fingerprint)
    try:
        yield journal
    except BaseException:
        with suppress(GalleryDamaged):
            if not len(journal):
                journal.remove()
        journal.close()
        raise
    journal.remove()


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is no database, or no whole one; others are locks, disks and folders."""
    return type(error) is sqlite3.DatabaseError


def _bytes(stamp: int) -> bytes:
    return stamp.to_bytes(8, "little")


def _number(stamp: Any) -> int:
    return int.from_bytes(stamp, "little")
