"""The validation of a search: its best settings and the spec's own, trained again on seeds that it has not seen.

It is a search itself, over a list of settings, in the folder `validation` of the search's directory, where trials keep
their numbers. All of them have the same random streams, so that they are compared pair by pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slmx.analysis.files import TrialFiles
from slmx.search.base import Searcher, Setting
from slmx.search.plan import Plan
from slmx.search.size import settings_a_program

if TYPE_CHECKING:
    from slmx.search.search import Search
    from slmx.spec.model import Spec, ValidateSpec
    from slmx.spec.search_space import SearchSpace


class ListedSearcher(Searcher):
    """Hands out settings that are known already."""

    def __init__(self, space: SearchSpace, settings: Sequence[Setting], mode: str):
        super().__init__(None, space, 0, 0, mode)
        self.total, self.settings = len(settings), list(settings)

    def ask(self) -> Setting:
        self.asked += 1
        return self.settings[self.asked - 1]


def fresh_spec(spec: Spec, asked: ValidateSpec) -> Spec:
    """The spec with the seeds of its validation. SpecError where they overlap with those of the search."""
    changes = {"max_session": asked.sessions, "seed": asked.seed_after(spec.meta.seed), "common_seeds": True}
    changes |= {"validation": None, "scheduler_spec": None}
    return spec.model_copy(update={"meta": spec.meta.model_copy(update=changes)})


def validation_plan(search: Search, fresh: Spec, best: Sequence[int], workers: int) -> Plan | None:
    """Which settings of a finished search are tested, under the numbers that they have; None where there are none.

    `fresh` is the spec with the seeds of the validation; `best` are the numbers of the trials that have an objective,
    from the best on.
    """
    trials = {number: TrialFiles(search.directory / f"trial_{number}") for number in {0, *best}}
    top = search.spec.meta.validation.top if search.spec.meta.validation else 0
    numbers = chosen({number: trial.record["spec"] for number, trial in trials.items()}, best, top)
    settings = [trials[number].replay for number in numbers]
    searcher = ListedSearcher(search.plan.searcher.space, settings, fresh.meta.objective.mode)
    size = settings_a_program(fresh, 1 + searcher.total, workers, searcher.learns)
    return Plan(fresh, searcher, size, numbers=(0, *numbers)) if numbers else None


def chosen(specs: dict[int, dict[str, Any]], best: Sequence[int], top: int) -> list[int]:
    """Which trials are tested beside trial 0: the `top` best whose settings differ from its own and from one another.

    `specs` are those of the trials, `best` their numbers from the best on.
    """
    different = [0]
    for number in best:
        if all(specs[number] != specs[other] for other in different):
            different.append(number)
    return different[1 : top + 1]
