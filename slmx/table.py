"""Tables that grow on disk, row by row."""

from __future__ import annotations

import csv
import itertools
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from slmx.errors import SlmxError
from slmx.whole import whole, writing


class Table:
    """A CSV file that grows; NaN is an empty field. A new column rewrites the file with the union header.

    Rows wait for `flush`, and the file is open only while they are written: hundreds of sessions may run at once.
    """

    def __init__(self, path: Path, columns: Sequence[str], kept: tuple[int, Sequence[str]] | None = None):
        """A new file with a header; or, with `kept`, the first lines and the columns of what lies there already."""
        self.path, self.columns = path, list(columns if kept is None else kept[1])
        self._waiting: list[list[Any]] = []
        if kept is None:
            self.lines = 0
            self._rewrite([self.columns])
        else:
            self.lines = kept[0]
            self._cut()

    def add(self, row: Sequence[Any]) -> None:
        self._waiting.append([written(value) for value in row])

    def add_named(self, values: dict[str, Any]) -> None:
        if fresh := [name for name in values if name not in self.columns]:
            self._widen(fresh)
        self.add([values.get(name, math.nan) for name in self.columns])

    def flush(self) -> None:
        if self._waiting:
            with writing(self.path), self.path.open("a", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(self._waiting)
            self.lines += len(self._waiting)
            self._waiting = []

    def sync(self) -> None:
        """Wait until the disk has what was flushed."""
        with writing(self.path), self.path.open("a") as file:
            os.fsync(file.fileno())

    def _rewrite(self, rows: Iterable[list[Any]]) -> None:
        """Write the whole file anew: a reader sees the old one or the new one."""
        with whole(self.path) as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    def _widen(self, fresh: list[str]) -> None:
        """Numbers that an algorithm first has later (before its first update it has no loss) become columns."""
        self.flush()
        with self.path.open(newline="") as old:
            rows = list(csv.reader(old))
        self.columns += fresh
        self._rewrite([self.columns, *([*row, *[""] * len(fresh)] for row in rows[1:])])

    def _cut(self) -> None:
        """Drop what was written later; SlmxError where the file has not even what is to be kept."""
        try:
            with self.path.open(newline="") as old:
                rows = list(itertools.islice(csv.reader(old), self.lines + 1))
        except OSError as error:
            raise SlmxError(f"{self.path}: cannot read: {error.strerror}") from error
        width = len(self.columns)
        if len(rows) <= self.lines or rows[0][:width] != self.columns:
            raise SlmxError(f"{self.path}: not what a run had written here")
        self._rewrite(row[:width] for row in rows)


def written(value: Any) -> Any:
    """A value as tables show it: ten digits of a number, nothing where there is none."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.10g}"
    return value
