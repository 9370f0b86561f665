"""What a search shows: a live table while it runs, or plain lines where there is no terminal; then its best trials."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from slmx.display import PLAIN_SECONDS, clock
from slmx.errors import counted

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from slmx.search.search import Search

SHOWN = 5  # trials in the table of the best
WIDE = 24  # characters of a value
REASONS = 3  # of failures that are spelled out


class SearchDisplay:
    """The terminal during a search."""

    def __init__(self, quiet: bool = False, console: Console | None = None):
        self.quiet = quiet
        # the stream itself: while Tune runs, what it prints goes nowhere
        self.console = console or Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._live: Live | None = None
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
        self._started = self._printed = time.perf_counter()
        if self.console.is_terminal:
            self._live = Live(
                console=self.console, refresh_per_second=4, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start()

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
                f"{'interrupted' if interrupted else 'searched'} after {clock(seconds)}, {rate:,.0f} frames/s"
            )

    def results(self, best: pd.DataFrame, names: dict[str, str], search: Search, saved: Path | None) -> None:
        """A table of the best trials with their settings; `best` holds rows of experiment.csv, best first."""
        if self.quiet:
            return
        goal = search.spec.meta.objective
        table = Table(box=None, pad_edge=False)
        for column in ("trial", goal.metric, *names.values()):
            table.add_column(column, justify="right")
        for row in best.head(SHOWN).to_dict("records"):
            number = int(row["trial"])
            values = (_shown(row[path]) for path in names)
            table.add_row(f"{number}{' (default)' if not number else ''}", f"{row['objective']:.4g}", *values)
        if len(best):
            self.console.print(table)
        reasons: dict[str, list[int]] = {}
        for ended in search.ended.values():
            if ended.state == "FAILED":
                reasons.setdefault(ended.reason, []).append(ended.trial)
        for reason, trials in list(reasons.items())[:REASONS]:
            which = ", ".join(map(str, sorted(trials)[:8])) + (" ..." if len(trials) > 8 else "")
            self.console.print(Text(f"{counted(len(trials), 'trial')} FAILED ({which}): {reason}"))
        if not search.finished:
            self.console.print(Text(f"to go on: slmx resume {search.directory}"))
        for suffix in (".png", ".html"):
            if (picture := search.directory / f"experiment_graph{suffix}").exists():
                self.console.print(Text(f"graph: {picture}"))
                break
        if saved:
            self.console.print(
                Text(f"to see the best play: slmx enjoy {search.directory}/trial_{best['trial'].iloc[0]}")
            )
            self.console.print(Text(f"to train it: slmx run {saved} train"))

    def _line(self, search: Search) -> str:
        elapsed = max(time.perf_counter() - self._started, 1e-9)
        running = sum(len(program.trials) for program in search.running.values())
        done, total = search.frames, max(search.total_frames, 1)
        text = f"{search.count('DONE')} of {search.plan.total} trials done, {running} running"
        if failed := search.count("FAILED"):
            text += f", {failed} failed"
        if search.best:
            text += f"; best {search.best[0]:.4g} (trial {search.best[1].number})"
        text += f"; {done / elapsed:,.0f} frames/s"
        return text + (f", {clock(elapsed * max(total - done, 0) / done)} left" if done else "")

    def _programs(self, search: Search) -> Table:
        table = Table(box=None, pad_edge=False)
        for column in ("program", "trials", "sessions", "done", "return"):
            table.add_column(column, justify="right")
        for program in search.running.values():
            numbers = [trial.number for trial in program.trials]
            label = f"{numbers[0]}" if len(numbers) == 1 else f"{min(numbers)} ... {max(numbers)}"
            mean = "" if program.mean is None else f"{program.mean:.1f}"
            share = f"{100 * program.frames / max(program.total, 1):.0f} %"
            table.add_row(label, str(len(numbers)), str(len(numbers) * search.spec.meta.max_session), share, mean)
        return table


def _shown(value: Any) -> str:
    """A setting's value in a table."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    text = str(value)
    return text if len(text) <= WIDE else f"{text[: WIDE - 3]}..."
