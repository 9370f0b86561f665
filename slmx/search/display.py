"""What a search shows: a live table while it runs, or plain lines where there is no terminal; then its best trials."""

from __future__ import annotations

import itertools
import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from slmx.analysis.files import TrialFiles, read_table
from slmx.analysis.objective import objective_of, ranked, short_names
from slmx.analysis.seen import IMPORTANCE
from slmx.analysis.validation import COLUMNS, alike, verdict
from slmx.display import PLAIN_SECONDS, clock, wide_console
from slmx.errors import counted

if TYPE_CHECKING:
    import pandas as pd

    from slmx.search.search import Search

SHOWN = 5  # trials in the table of the best
FRONT = 12  # and where there are several objectives
WIDE = 24  # characters of a value
REASONS = 3  # of failures that are spelled out


class SearchDisplay:
    """The terminal during a search."""

    def __init__(self, quiet: bool = False, console: Console | None = None):
        self.quiet = quiet
        # the stream itself: while Tune runs, what it prints goes nowhere
        self.console = console or wide_console(file=sys.stdout)
        self._live: Live | None = None
        self._done = "searched"
        self._started = self._printed = time.perf_counter()

    def begin(self, search: Search, searcher: str, size: int, workers: int) -> None:
        """Say what is about to be searched."""
        if self.quiet:
            return
        meta, plan = search.spec.meta, search.plan
        trials = f"{counted(plan.total, 'trial')} x {counted(meta.max_session, 'session')}"
        keys = counted(len(plan.searcher.space.domains), "key")
        self.console.print(f"[bold]{search.spec.name}[/]: {searcher} search over {keys}, {trials}")
        self.console.print(f"up to {counted(size, 'trial')} a program, {counted(workers, 'program')} at once")
        self.console.print(Text(str(search.directory), style="dim"))
        self._start()

    def progress(self, search: Search) -> None:
        """Show how far the search is."""
        if self.quiet:
            return
        now = time.perf_counter()
        if self._live:
            self._live.update(Group(Text(self._line(search)), self._programs(search)))
        elif now - self._printed >= PLAIN_SECONDS or search.finished:
            self._printed = now
            self.console.print(self._line(search))

    def end(self, search: Search, interrupted: bool) -> None:
        """Leave the live table."""
        if self._live:
            self._live.stop()
            self._live = None
        if not self.quiet:
            seconds = time.perf_counter() - self._started
            rate = search.frames / max(seconds, 1e-9)
            self.console.print(
                f"{'interrupted' if interrupted else self._done} after {clock(seconds)}, {rate:,.0f} frames/s"
            )

    def found(self, best: pd.DataFrame, search: Search) -> None:
        """A table of the best trials with their settings; `best` holds rows of experiment.csv, best first."""
        if self.quiet:
            return
        names = short_names([domain.path for domain in search.plan.searcher.space.domains])
        goals = [goal.metric for goal in search.spec.meta.goals.values()]
        columns = ["objective", *(f"objective_{metric}" for metric in goals[1:])]
        table = Table(box=None, pad_edge=False)
        for column in ("trial", *goals, *names.values()):
            table.add_column(column, justify="right")
        for row in self._to_show(best).to_dict("records"):
            values = (*(f"{row[column]:.4g}" for column in columns), *(_shown(row[path]) for path in names))
            table.add_row(called(int(row["trial"])), *values)
        if len(best):
            self.console.print(table)
        if (path := search.directory / IMPORTANCE).exists():
            shares = read_table(path, ("key", "importance")).head(SHOWN).to_dict("records")
            said = (f"{names[row['key']]} {100 * row['importance']:.0f} %" for row in shares)
            self.console.print(f"what matters: {', '.join(said)}")
        self._failures(search)

    def _to_show(self, best: pd.DataFrame) -> pd.DataFrame:
        """Which of the trials are shown: the best, or where there are several objectives those of the front."""
        if "pareto" not in best:
            return best.head(SHOWN)
        front = best.loc[best["pareto"].eq(True)]
        more = f", of which these are the first {FRONT}" if len(front) > FRONT else ""
        self.console.print(f"{len(front)} of {counted(len(best), 'trial')} beaten by no other in all objectives{more}")
        return front.head(FRONT)

    def skipped(self) -> None:
        """Say that there is no validation."""
        if not self.quiet:
            self.console.print("validation: skipped, for there is no setting to compare with the spec's own")

    def begin_validation(self, search: Search) -> None:
        """Say what is about to be tested on fresh seeds."""
        if self.quiet:
            return
        self._done = "validated"
        settings, seeds = counted(search.plan.total, "setting"), counted(search.spec.meta.max_session, "fresh seed")
        self.console.print(f"\n[bold]validation[/]: the default and the best beside it, {settings} x {seeds}")
        self._start()

    def compared(self, table: pd.DataFrame, search: Search, interrupted: bool) -> None:
        """What the settings reached on fresh seeds; `table` is validation.csv of the validation `search`."""
        if self.quiet:
            return
        self._failures(search)
        print_comparison(self.console, table, search.sign)
        if interrupted:
            self.console.print("the validation was interrupted: best_spec.json is the best by its tuned score")

    def saved(self, search: Search, best: int | None, interrupted: bool) -> None:
        """Where the graphs are, and what can be done with the trial whose spec was saved as the best."""
        if self.quiet:
            return
        if interrupted:
            self.console.print(Text(f"to go on: slmx resume {search.directory}"))
        for name in ("experiment_graph", "validation_graph"):
            pictures = (search.directory / f"{name}{suffix}" for suffix in (".png", ".html"))
            if picture := next((path for path in pictures if path.exists()), None):
                self.console.print(Text(f"graph: {picture}"))
        if best is not None:
            self.console.print(Text(f"to see the best play: slmx enjoy {search.directory}/trial_{best}"))
            self.console.print(Text(f"to train it: slmx run {search.directory}/best_spec.json train"))

    def _start(self) -> None:
        self._started = self._printed = time.perf_counter()
        if self.console.is_terminal:
            self._live = Live(
                console=self.console, refresh_per_second=4, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start()

    def _failures(self, search: Search) -> None:
        """Why trials failed, the most frequent reasons first."""
        reasons: dict[str, list[int]] = {}
        for ended in search.ended.values():
            if ended.state == "FAILED":
                reasons.setdefault(ended.reason, []).append(ended.trial)
        for reason, trials in list(reasons.items())[:REASONS]:
            which = ", ".join(map(str, sorted(trials)[:8])) + (" ..." if len(trials) > 8 else "")
            self.console.print(Text(f"{counted(len(trials), 'trial')} FAILED ({which}): {reason}"))

    def _line(self, search: Search) -> str:
        elapsed = max(time.perf_counter() - self._started, 1e-9)
        running = sum(len(program.trials) for program in search.running.values() if not program.rests)
        done, total = search.frames, search.total_frames
        text = f"{search.count('DONE')} of {search.plan.total} trials done, {running} running"
        for state in ("CULLED", "FAILED"):
            if count := search.count(state):
                text += f", {count} {state.lower()}"
        if search.best:
            text += f"; best {search.best[0]:.4g} (trial {search.best[1].number})"
        text += f"; {done / elapsed:,.0f} frames/s"
        # how many will stay at their rungs is guessed: where more did, there is nothing to tell of what is left
        return text + (f", {clock(elapsed * (total - done) / done)} left" if 0 < done < total else "")

    def _programs(self, search: Search) -> Table:
        table = Table(box=None, pad_edge=False)
        for column in ("program", "trials", "sessions", "done", "return"):
            table.add_column(column, justify="right")
        for program in search.running.values():
            if program.rests:
                continue
            numbers = [trial.number for trial in program.trials]
            label = f"{numbers[0]}" if len(numbers) == 1 else f"{min(numbers)} ... {max(numbers)}"
            mean = "" if program.mean is None else f"{program.mean:.1f}"
            share = f"{100 * program.frames / max(program.total, 1):.0f} %"
            table.add_row(label, str(len(numbers)), str(len(numbers) * search.spec.meta.max_session), share, mean)
        return table


def print_validation(directory: Path) -> None:
    """What the validation of a search found, if there was one."""
    if (path := directory / "validation.csv").exists():
        console = Console(highlight=False, soft_wrap=True)
        print_comparison(console, read_table(path, COLUMNS), objective_of(TrialFiles(directory)).sign)


def print_drawn(directory: Path, experiment: pd.DataFrame) -> None:
    """Which trial of a search has been drawn; `experiment` is experiment.csv."""
    best = ranked(experiment, objective_of(TrialFiles(directory)).sign)["trial"].tolist()[:1]
    trials = f"the search and trial {best[0]}, the best by its objective" if best else "the search alone"
    print(f"drawn: {trials}; slmx analyze {directory}/trial_N draws a trial")


def print_comparison(console: Console, table: pd.DataFrame, sign: int) -> None:
    """What each setting reached on the seeds of the search and on fresh ones, and how that compares with the default.

    `table` is validation.csv, `sign` 1 where more of the objective is better, else -1.
    """
    rows, keys = table.to_dict("records"), ("tuned_score", "test_score", "test_low", "test_high", "gap")
    cells = iter(alike(*(row[key] for row in rows for key in keys)))
    shown = Table(box=None, pad_edge=False)
    for column in ("trial", "tuned score", "test score", "95 % interval", "gap"):
        shown.add_column(column, justify="right")
    for row in rows:
        tuned, test, low, high, gap = itertools.islice(cells, len(keys))
        ends = "-" if low == "-" else f"[{low}, {high}]"
        shown.add_row(called(row["trial"]), tuned, test, Text(ends), gap if gap[0] == "-" else f"+{gap}")
    console.print(shown)
    console.print(Text("gap: test minus tuned; [intervals] are over runs, of differences over pairs of runs", "dim"))
    for row in rows:
        words = [verdict(row, sign)] if row["trial"] or math.isnan(row["test_score"]) else []
        if 0 < row["failed"] < row["sessions"]:
            words.append(f"{row['failed']} of {row['sessions']} seeds FAILED")
        if words:
            name = f"trial {row['trial']}" if row["trial"] else "the default"
            console.print(Text(f"{name}: {'; '.join(words)}"))
    first = rows[0]
    if math.isnan(first["test_score"]):
        console.print("no setting has a test score")
    else:
        name = f"trial {first['trial']}" if first["trial"] else "the default: nothing that the search found is better"
        console.print(f"best by test score: {name}", style="bold")


def called(number: int) -> str:
    """A trial's number; that of the spec's own setting is marked."""
    return f"{number}{'' if number else ' (default)'}"


def _shown(value: Any) -> str:
    """A setting's value in a table."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if text.startswith("{"):  # a group of keys, which tables hold as JSON
        keys = json.loads(text)
        if "start_val" in keys and "end_val" in keys:
            return f"{keys['start_val']:.4g} to {keys['end_val']:.4g}"
    return text if len(text) <= WIDE else f"{text[: WIDE - 3]}..."
