"""Schedules: which specs to run in which modes, one after another, `{spec_file: {spec_name: mode}}`.

All is checked before anything starts. What is finished is skipped, what was left halfway goes on, and a failure stops
nothing but itself: to run a schedule again is to go on with it.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from slmx import benchmark
from slmx.display import clock, wide_console
from slmx.errors import SlmxError, SpecError, SpecErrors, counted, did_you_mean
from slmx.once import Outcome, once
from slmx.run_directory import folder_of, read_state
from slmx.spec.benchmark import Benchmark, check_benchmark
from slmx.spec.check import check_one
from slmx.spec.load import SUFFIXES, in_spec, read
from slmx.spec.model import Spec
from slmx.spec.search_space import checked_space
from slmx.spec.words import show

DEFAULT = Path("config/experiments.json")
MODES = ("train", "search", "benchmark", "dev")


@dataclass(frozen=True)
class Job:
    """One line of a schedule, checked."""

    source: str
    mode: str
    what: Spec | Benchmark


@dataclass(frozen=True)
class ScheduleRun:
    """How each job of a schedule ended, as far as it came."""

    outcomes: list[Outcome]
    interrupted: bool

    @property
    def failed(self) -> bool:
        """Whether any job FAILED."""
        return not self.interrupted and any(outcome.state == "FAILED" for outcome in self.outcomes)


def is_schedule(raw: Any) -> bool:
    """Whether a file's content is a schedule, which is known by the names of files."""
    return isinstance(raw, Mapping) and any(str(key).endswith(SUFFIXES) for key in raw)


def default() -> Path:
    """The schedule that is run where none is named. SlmxError where there is none."""
    if DEFAULT.is_file():
        return DEFAULT
    raise SlmxError(
        f"{DEFAULT}: no such file here; `slmx run SPEC_FILE` runs a spec, `slmx run FILE` a schedule "
        "{spec_file: {spec_name: mode}}, and without a name that of this file is run"
    )


def check(path: Path, overrides: Mapping[str, Any] | None = None) -> list[Job]:
    """The jobs of a schedule in order, ready to run; SpecErrors holds everything that is wrong in any of them.

    `overrides` are set in every spec.
    """
    jobs: list[Job] = []
    errors: list[SpecError] = []
    for file, entries in read(path).items():
        if not file.endswith(SUFFIXES):
            errors.append(SpecError(file, "is no spec file", f"one ends in {', '.join(SUFFIXES)}"))
        elif not isinstance(entries, Mapping) or not entries:
            errors.append(SpecError(file, f"must be a mapping {{spec_name: mode}}, not {show(entries)}"))
        else:
            for name, mode in entries.items():
                job, wrong = _job(_locate(path, file), str(name), mode, overrides or {})
                jobs += [job] if job else []
                errors += wrong
    if errors:
        raise SpecErrors(str(path), errors)
    return jobs


def _locate(path: Path, file: str) -> Path:
    """A named file: beside the schedule, or from the working directory."""
    beside = path.parent / file
    return beside if beside.exists() else Path(file)


def _job(file: Path, name: str, mode: Any, overrides: Mapping[str, Any]) -> tuple[Job | None, list[SpecError]]:
    """One job, or None and what is wrong with it."""
    if mode not in MODES:
        hint = did_you_mean(mode, MODES) if isinstance(mode, str) else f"known: {', '.join(MODES)}"
        return None, [in_spec(str(file), SpecError(name, f"unknown mode {show(mode)}", hint))]
    try:
        if mode == "benchmark":
            what: Spec | Benchmark = check_benchmark(file, name, None, overrides)
        else:
            what = check_one(file, name, None, overrides)
            if mode == "search" and not checked_space(what).domains:
                return None, [in_spec(f"{file}: {name}", SpecError("search", "there is nothing to search"))]
    except SpecErrors as error:
        return None, [in_spec(error.source, each) for each in error.errors]
    except SlmxError as error:
        return None, [SpecError("", str(error))]
    return Job(f"{file}: {name}", mode, what), []


def run(jobs: Sequence[Job], data: Path | None, quiet: bool = False, graphs: bool = True) -> ScheduleRun:
    """Run jobs one after another, those aside of which there is a finished run; end with a table of all.

    `data`: where the runs lie; None where each spec's meta.storage says.

    What breaks is told and the others go on. Ctrl-C ends the schedule.
    """
    console = wide_console(quiet)
    outcomes: list[Outcome] = []
    interrupted = False
    try:
        for place, job in enumerate(jobs, 1):
            console.print(Text(f"[{place}/{len(jobs)}] {job.source}, {job.mode}", style="bold"))
            outcomes.append(_run_job(job, data, quiet, graphs))
            if outcomes[-1].earlier:
                console.print(Text(f"DONE earlier: {outcomes[-1].directory}"))
            elif outcomes[-1].state == "FAILED":
                console.print(Text(f"FAILED: {outcomes[-1].reason}"))
            console.print()
            if interrupted := outcomes[-1].state == "STOPPED":
                break
    except KeyboardInterrupt:
        interrupted = True
    ended = ScheduleRun(outcomes, interrupted)
    console.print(summary(jobs, outcomes))
    failed = [(job, outcome) for job, outcome in zip(jobs, outcomes, strict=False) if outcome.state == "FAILED"]
    for job, outcome in failed:
        console.print(Text(f"{job.source} FAILED: {outcome.reason}"))
    if ended.interrupted:
        console.print("stopped; to go on, run the same command again")
    elif failed:
        console.print(f"to try again what FAILED ({len(failed)} of {len(jobs)}), run the same command again")
    return ended


def _run_job(job: Job, data: Path | None, quiet: bool, graphs: bool) -> Outcome:
    if isinstance(job.what, Spec):
        return once(job.what, job.mode, folder_of(data, [job.what]), quiet, graphs)
    started, directory = time.perf_counter(), None
    try:
        data = folder_of(data, [cell.spec for cell in job.what.cells])
        found = benchmark.find(data, job.what)
        ended = benchmark.resume(found[0], quiet, graphs) if found else benchmark.run(job.what, data, quiet, graphs)
        if found and ended is None:
            return Outcome("DONE", "", found[0], 0.0, earlier=True)
        assert ended is not None
        directory = ended.directory
        state = read_state(directory)[1]
        left = [cell for cell in ended.table["state"].tolist() if cell != "DONE"]
        reason = f"{len(left)} of {counted(len(ended.table), 'cell')} not DONE" if state == "FAILED" else ""
    except KeyboardInterrupt:
        state, reason = "STOPPED", ""
    except SlmxError as error:
        state, reason = "FAILED", str(error)
    except Exception as error:  # whatever breaks one job, the others go on
        traceback.print_exc()
        state, reason = "FAILED", f"{type(error).__name__}: {error}"
    return Outcome(state, reason, directory, time.perf_counter() - started)


def summary(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> Table:
    """A row per job: how it ended and what it reached; those that were not reached are OPEN."""
    table = Table(box=None, pad_edge=False)
    for column in ("spec", "mode", "state", "reached"):
        table.add_column(column)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("directory", overflow="fold")
    for job, outcome in zip(jobs, [*outcomes, *[None] * (len(jobs) - len(outcomes))], strict=True):
        if outcome is None:
            table.add_row(job.source, job.mode, "OPEN")
            continue
        style = {"FAILED": "red", "STOPPED": "yellow"}.get(outcome.state, "")
        when = "earlier" if outcome.earlier else clock(outcome.seconds)
        place = outcome.directory or ""
        what = reached(place, job.mode) if place and outcome.state == "DONE" else ""
        table.add_row(job.source, job.mode, Text(outcome.state, style), Text(what), when, Text(str(place), "dim"))
    return table


def reached(directory: Path, mode: str) -> str:
    """What a run that is DONE reached, in a few words, from its tables."""
    from slmx.analysis.files import TrialFiles, read_table
    from slmx.analysis.objective import objective_of, ranked

    if mode == "benchmark":
        return counted(len(read_table(directory / "benchmark.csv")), "cell")
    table = read_table(directory / "experiment.csv", ("state",))
    if mode == "search":
        objective = objective_of(TrialFiles(directory / "trial_0"))
        if (directory / "validation.csv").exists():
            tested = read_table(directory / "validation.csv", ("rank", "test_score")).set_index("rank")["test_score"]
            return f"{objective.metric} {tested[1]:.4g} on fresh seeds" if 1 in tested else ""
        return f"{objective.metric} {ranked(table, objective.sign)['objective'].iloc[0]:.4g}"
    row = table.iloc[0]
    known = [(word, row[key]) for word, key in (("return", "final_return"), ("strength", "strength_corrected"))]
    return next((f"{word} {value:.4g}" for word, value in known if value == value), "")
