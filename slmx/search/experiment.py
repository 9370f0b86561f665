"""A search from end to end: checked, searched on Ray, validated on fresh seeds, reported."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmx import checkpoint
from slmx.analysis.events import following
from slmx.analysis.files import TrialFiles
from slmx.analysis.objective import ranked
from slmx.analysis.validation import NAME
from slmx.errors import SpecError, WriteError
from slmx.footprint import refuse_what_cannot_fit
from slmx.lock import owning
from slmx.metric import NEED_FRAMES, NEED_STANDARD
from slmx.run_directory import SPACE, has_ended, write_spec, write_state
from slmx.search import cluster
from slmx.search.journal import ENDED, read_ended
from slmx.search.leave import leaving
from slmx.search.plan import Plan
from slmx.search.search import Search
from slmx.search.size import settings_a_program
from slmx.search.start import ray_for
from slmx.search.validate import fresh_spec, validation_plan
from slmx.spec.dump import dump
from slmx.spec.registry import REGISTRIES
from slmx.spec.search_space import checked_space
from slmx.storage import Store, mirrored, store_of
from slmx.whole import resumable, write_json, writing

if TYPE_CHECKING:
    import pandas as pd

    from slmx.search.base import Searcher
    from slmx.search.display import SearchDisplay
    from slmx.spec.model import Spec


LATER = ("slmx.search.on_tune", "slmx.analysis.analyze", "kaleido")
"""Modules that take a second to import, most of it Ray Tune: imported while Ray starts, which is mostly waiting."""


@dataclass(frozen=True)
class SearchRun:
    """What a search left: its directory, a row per trial, the spec of the best setting, and how it ended.

    `validation` has a row per setting that was tested on fresh seeds: none where there was no validation.
    """

    directory: Path
    table: pd.DataFrame
    validation: pd.DataFrame
    best: Path | None
    interrupted: bool

    @property
    def failed(self) -> bool:
        """Whether no trial came to its end."""
        return not self.interrupted and self.best is None


def searcher_of(spec: Spec) -> Searcher:
    """Who chooses the settings of a spec's search; SpecError where it has none."""
    space = checked_space(spec)
    if not space.domains:
        example = '{"agent.0.algorithm.gamma__uniform": [0.9, 0.999]}'
        raise SpecError("search", "there is nothing to search", f"for example {example}")
    meta = spec.meta
    kind = REGISTRIES["search_spec"].find(meta.search_spec.name)
    return kind(meta.search_spec, space, meta.max_trial, meta.seed, meta.objective.mode)


def judge(spec: Spec, fitness: dict[str, dict[str, Any]]) -> None:
    """SpecError where an objective cannot be known of these environments."""
    hint = 'search for "final_return" or "return_ma"'
    for (path, goal), (name, known) in itertools.product(spec.meta.goals.items(), fitness.items()):
        lacks = "standard return" if goal.metric in NEED_STANDARD and known["std_return"] is None else ""
        if goal.metric in NEED_FRAMES and known["std_frame"] is None:
            lacks = lacks or "number of standard frames"
        if lacks:
            raise SpecError(f"{path}.metric", f"{goal.metric} needs the {lacks} of {name}, which nobody knows", hint)


@dataclass
class Experiment:
    """A search and its validation: what their steps share. SpecError where they cannot be done as the spec says.

    `backends` and `fitness` are what is known of the environments.
    """

    spec: Spec
    searcher: Searcher
    backends: list[str]
    fitness: dict[str, Any]
    display: SearchDisplay
    graphs: bool
    tensorboard: bool = False
    fresh: Spec | None = field(init=False)
    """The spec with the seeds of the validation, if there is to be one."""
    store: Store | None = field(init=False, default=None)
    """Where the search is copied to, if it is."""

    def __post_init__(self) -> None:
        judge(self.spec, self.fitness)
        asked = self.spec.meta.validation
        self.fresh = fresh_spec(self.spec, asked) if asked and asked.top else None

    @property
    def _between(self) -> Store | None:
        """What carries files between this machine and a cluster's, where they share no folder."""
        return self.store if self.spec.meta.ray_address not in (None, "local") else None

    def run(self, place: Callable[[], Path], facts: dict[str, Any]) -> SearchRun | None:
        """Search, validate and report, in the directory that `place` makes or names.

        `facts`: what run.json says there of an earlier process; None where one has brought it to its end meanwhile.
        Ctrl-C ends the search or its validation, and keeps what there is.
        """
        spec, searcher = self.spec, self.searcher
        with leaving(ray_for(spec, meanwhile=LATER)) as (folder, leave):
            from slmx.search import on_tune

            workers = on_tune.workers(spec.meta.resources)
            size = settings_a_program(spec, 1 + searcher.total, workers, searcher.learns)
            if not spec.meta.ray_address:  # a cluster's nodes have memories of their own
                refuse_what_cannot_fit(spec, size * spec.meta.max_session, workers)
            facts = facts or {"workers": workers, "settings": size}
            directory = place()
            if not (directory / "spec.json").exists():
                write_spec(directory, dump(spec), self.backends, self.fitness)
                domains = searcher.space.domains
                write_json(directory / SPACE, {own.path: {"kind": own.kind, "args": own.args} for own in domains})
            self.store = store_of(spec.meta.storage, directory)
            with owning(directory), resumable(directory):
                if has_ended(directory):
                    return None
                self._catch_up(directory)
                return self._run(directory, facts, folder, leave)

    def _catch_up(self, directory: Path) -> None:
        """Bring here what workers have sent since an earlier process ended, before what it left is copied over it.

        Of trials that had ended here, nothing is newer there.
        """
        if self._between is None:
            return
        for place in (directory, directory / NAME):
            complete = {place / f"trial_{number}" for number in read_ended(place)}
            self._between.pull(place / ENDED, place / checkpoint.FOLDER)
            trials = {*place.glob("trial_*"), *(place / f"trial_{number}" for number in read_ended(place))}
            for trial in trials - complete:
                self._between.pull(trial)

    def _run(self, directory: Path, facts: dict[str, Any], folder: Path, leave: Callable[[], None]) -> SearchRun:
        """Likewise, in a directory that is this process's own; `leave`: called when Ray is needed no more."""
        state = "STOPPED"
        with mirrored(self.store), following(directory, self.tensorboard):
            write_state(directory, "search", "RUNNING", **facts)
            try:
                ended = self._conduct(directory, facts["settings"], facts["workers"], folder, leave)
                if not ended.interrupted:
                    state = "FAILED" if ended.failed else "DONE"
            finally:
                with contextlib.suppress(WriteError):
                    write_state(directory, "search", state, **facts)
            return ended

    def _conduct(self, directory: Path, size: int, workers: int, folder: Path, leave: Callable[[], None]) -> SearchRun:
        import pandas as pd

        from slmx.analysis.analyze import analyze, analyze_validation, read_trials

        plan = Plan(self.spec, self.searcher, size)
        search = Search(self.spec, directory, plan, self.backends, self.fitness, workers, self._between)
        self.display.begin(search, self.spec.meta.search_spec.name, size, workers)
        interrupted = self._train(search, workers, folder)
        if interrupted or not self.fresh:
            leave()
        if not read_trials(directory):  # it was told to stop before its first program began
            self.display.saved(search, None, interrupted)
            return SearchRun(directory, pd.DataFrame(), pd.DataFrame(), None, interrupted)
        known = {number: ended.row for number, ended in search.ended.items() if ended.row}
        table = analyze(directory, graphs=self.graphs, known=known)
        found = ranked(table, search.sign)
        best, validation = found["trial"].tolist(), None
        saved = save_best(search, best[0]) if best else None
        self.display.found(found, search)
        if self.fresh and not interrupted:
            validation, interrupted = self._validate(search, self.fresh, best, workers, folder)
        leave()
        tested = analyze_validation(directory, self.graphs)
        if validation and len(tested):
            if not interrupted and 1 in tested["rank"].tolist():
                best = tested["trial"].tolist()
                saved = save_best(search, best[0])
            self.display.compared(tested, validation, interrupted)
        self.display.saved(search, best[0] if best else None, interrupted)
        return SearchRun(directory, table, tested, saved, interrupted)

    def _validate(
        self, search: Search, fresh: Spec, best: list[int], workers: int, folder: Path
    ) -> tuple[Search | None, bool]:
        """Train the best settings again, and the spec's own; also whether that was interrupted."""
        directory, plan = search.directory / NAME, validation_plan(search, fresh, best, workers)
        if plan is None:
            self.display.skipped()
            return None, False
        with writing(directory):
            directory.mkdir(exist_ok=True)
        if not (directory / "spec.json").exists():
            write_spec(directory, dump(fresh), self.backends, self.fitness)
        with owning(directory):
            validation = Search(fresh, directory, plan, self.backends, self.fitness, workers, self._between)
            self.display.begin_validation(validation)
            return validation, self._train(validation, workers, folder / NAME)

    def _train(self, search: Search, workers: int, folder: Path) -> bool:
        """Train all trials; whether that was interrupted.

        KeyboardInterrupt where all is to end at once; SlmxError where a node of a cluster cannot run a program.
        """
        from slmx.search import on_tune

        cluster.inspect(search.directory, search.store)
        interrupted = True
        try:
            show = partial(self.display.progress, search)
            interrupted = on_tune.run(search, search.spec.meta.resources, workers, folder, show)
        finally:
            checkpoint.tidy(search.directory)
            self.display.end(search, interrupted)
        return interrupted


def save_best(search: Search, number: int) -> Path:
    """Write a trial's spec as best_spec.json, which can be trained as it is."""
    raw = TrialFiles(search.directory / f"trial_{number}").record["spec"]
    path = search.directory / "best_spec.json"
    write_json(path, {f"{search.spec.name}_best": {key: value for key, value in raw.items() if key != "name"}})
    return path
