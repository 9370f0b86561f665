"""What a search writes down: a log of what happened, and, as the truth that it is resumed from, how trials ended."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from slmx.search.base import Score
from slmx.whole import write_json, writing

NAME = "journal.jsonl"
ENDED = "ended"


@dataclass(frozen=True)
class Ended:
    """How one trial ended: `score` is None unless it is DONE.

    `others`: what it reached of the objectives that the searcher weighs besides; None where that is no number.
    `rungs`: its objective at each rung that it came to, None where it had none; a CULLED one left at the last of them.
    `row`: its row of experiment.csv, of one that was judged since this process began; its files tell it again, so it is
    not kept beside them.
    """

    trial: int
    state: str
    reason: str = ""
    score: float | None = None
    rungs: list[float | None] = field(default_factory=list)
    others: list[float | None] = field(default_factory=list)
    row: dict[str, Any] = field(default_factory=dict, compare=False)  # some of it may be NaN, which equals nothing

    @property
    def kept(self) -> dict[str, Any]:
        """What is written down of it."""
        return {key: value for key, value in asdict(self).items() if key != "row"}

    @property
    def told(self) -> Score:
        """What the searcher is told of it: one number for each objective, or None where one is lacking."""
        if self.score is None or not self.others:
            return self.score
        others = [other for other in self.others if other is not None]
        return (self.score, *others) if len(others) == len(self.others) else None


def write_ended(run: Path, ended: Iterable[Ended]) -> None:
    """Keep how trials ended that were trained together: of all of them, or of none."""
    ended = sorted(ended, key=lambda own: own.trial)
    path = run / ENDED / f"program_{ended[0].trial}.json"
    with writing(path):
        path.parent.mkdir(exist_ok=True)
    write_json(path, [own.kept for own in ended], sync=True)


def read_ended(run: Path) -> dict[int, Ended]:
    """How trials ended, by number. What cannot be read has not ended, and will be trained again."""
    found: dict[int, Ended] = {}
    for path in sorted((run / ENDED).glob("program_*.json")):
        try:
            found |= {own["trial"]: Ended(**own) for own in json.loads(path.read_text())}
        except (OSError, json.JSONDecodeError, TypeError, KeyError):
            continue
    return found


class Journal:
    """Appends lines to `journal.jsonl`, for whoever wants to know what happened; nothing depends on them."""

    def __init__(self, directory: Path):
        self.path = directory / NAME

    def resumed(self) -> None:
        """Another process goes on from here."""
        self._append({"event": "resumed"})

    def asked(self, trial: int, setting: dict[str, Any]) -> None:
        """A setting became a trial."""
        self._append({"event": "asked", "trial": trial, "setting": setting})

    def lost(self, trials: list[int], reason: str) -> None:
        """The worker died that trained these trials together."""
        self._append({"event": "lost", "trials": trials, "reason": reason})

    def ended(self, ended: Ended) -> None:
        """A trial ended: DONE with its score, or otherwise, with the reason."""
        self._append({"event": "ended", **ended.kept})

    def _append(self, line: dict[str, Any]) -> None:
        with writing(self.path), self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
