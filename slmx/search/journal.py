"""The journal of a search: a line for each setting that was asked for and for each trial that ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slmx.errors import SlmxError

NAME = "journal.jsonl"


class Journal:
    """Appends lines to `journal.jsonl`; each is on its way to the disk before it is believed."""

    def __init__(self, directory: Path):
        self.path = directory / NAME

    def asked(self, trial: int, setting: dict[str, Any]) -> None:
        """A setting became a trial."""
        self._append({"event": "asked", "trial": trial, "setting": setting})

    def ended(self, trial: int, state: str, reason: str = "", score: float | None = None) -> None:
        """A trial ended: DONE with its score, FAILED or STOPPED with the reason."""
        self._append({"event": "ended", "trial": trial, "state": state, "reason": reason, "score": score})

    def _append(self, line: dict[str, Any]) -> None:
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise SlmxError(f"cannot write {self.path}: {error.strerror}") from error


def read_journal(directory: Path) -> list[dict[str, Any]]:
    """All whole lines of a journal, in order; a last line that was cut off by the end of its writer is left out."""
    path = directory / NAME
    lines = path.read_text().split("\n")
    try:
        return [json.loads(line) for line in lines[:-1]]
    except json.JSONDecodeError as error:
        raise SlmxError(f"{path}: not a journal: {error}") from None
