"""Which settings become which trials, and which trials train together. Knows no ray and no file."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slmx.errors import SlmxError
from slmx.search.base import Searcher, Setting
from slmx.search.journal import Ended
from slmx.spec.dump import static, with_settings

if TYPE_CHECKING:
    from slmx.spec.model import Spec


@dataclass
class Trial:
    """One setting; `spec` is None where the values do not fit one another, which `reason` then says."""

    number: int
    setting: Setting
    spec: Spec | None
    reason: str = ""


@dataclass
class Plan:
    """Asks a searcher for settings and groups them by equal static part into programs of at most `size` trials.

    A searcher that does not learn is asked for everything at once; one that learns is asked for `size` settings
    whenever nothing waits. So programs are always the same ones, where `tell` comes between the same calls of `next`.
    Trial 0 is the spec as it stands.
    """

    spec: Spec
    searcher: Searcher
    size: int
    numbers: Sequence[int] = ()
    """The trials' numbers, where they are not 0, 1, 2, ... in the order of asking."""
    asked: int = 0
    waiting: list[list[Trial]] = field(default_factory=list)
    misfits: list[Trial] = field(default_factory=list)
    """Trials that cannot be run, for whoever reports them."""

    @property
    def total(self) -> int:
        """How many trials there will be."""
        return 1 + self.searcher.total

    @property
    def exhausted(self) -> bool:
        """Whether every trial was handed out."""
        return self.asked == self.total and not self.waiting

    @property
    def asks(self) -> bool:
        """Whether a searcher that learns will be asked for the next program."""
        return self.searcher.learns and not self.waiting and self.asked < self.total

    def next(self) -> list[Trial]:
        """The trials of the next program; none where all are handed out."""
        while not self.waiting and self.asked < self.total:
            left = self.total - self.asked
            trials = [self._ask() for _ in range(min(self.size, left) if self.searcher.learns else left)]
            self.misfits += [trial for trial in trials if trial.spec is None]
            self.waiting = grouped([trial for trial in trials if trial.spec is not None], self.size)
        return self.waiting.pop(0) if self.waiting else []

    def tell(self, trial: Trial, ended: Ended) -> None:
        """How a trial ended."""
        self.searcher.tell(trial.number, trial.setting, ended.told, ended.rungs, ended.state == "CULLED")

    def _ask(self) -> Trial:
        number = self.numbers[self.asked] if self.numbers else self.asked
        self.asked += 1
        setting = self.searcher.ask() if number else {}
        try:
            return Trial(number, setting, with_settings(self.spec, setting))
        except SlmxError as error:
            return Trial(number, setting, None, str(error))


def grouped(trials: list[Trial], size: int) -> list[list[Trial]]:
    """Trials by equal static part, each group in as few programs of at most `size` as it takes, evenly."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        assert trial.spec is not None
        groups.setdefault(static(trial.spec), []).append(trial)
    programs = []
    for group in groups.values():
        count = math.ceil(len(group) / size)
        bounds = [len(group) * i // count for i in range(count + 1)]
        programs += [group[start:end] for start, end in itertools.pairwise(bounds)]
    return programs
