"""What the lab shows: a live line while it trains, its results, a window, a film."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from slmx.camera import ERRORS, PLACE
from slmx.errors import SlmxError, counted
from slmx.footprint import memory_bytes, readable

if TYPE_CHECKING:
    import numpy as np

    from slmx.lab import Run
    from slmx.record import Recorder
    from slmx.session import Program
    from slmx.spec.vocabulary import Entry

PLAIN_SECONDS = 5.0  # between lines where there is no terminal to redraw
PLAIN_WIDTH = 160  # characters of a table's line where there is no terminal
FRAMES_A_SECOND = 30


class Display:
    """The terminal during a training: one line that is redrawn, or plain lines every few seconds where it cannot be."""

    def __init__(self, quiet: bool = False, verbose: bool = False, console: Console | None = None):
        self.quiet, self.verbose = quiet, verbose
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._started = self._printed = time.perf_counter()
        self._before = 0  # frames of an earlier process, where a training is resumed

    def begin(self, program: Program, directory: Path) -> None:
        """Say what is about to be trained."""
        self._before = sum(program.frames)
        if self.quiet:
            return
        spec = program.spec
        envs = ", ".join(f"{e.name} ({s.backend})" for e, s in zip(spec.env, program.spaces, strict=True))
        agents = ", ".join(getattr(agent.algorithm, "name", agent.name) for agent in spec.agent)
        size = f"{counted(program.members, 'session')} x {sum(program.total_frames):,} frames"
        self.console.print(f"[bold]{spec.name}[/]: {agents} in {envs}, {size}")
        self.console.print(Text(str(directory), style="dim"))
        if kept := sum(size for _, size in memory_bytes(spec)) * program.members:
            self.console.print(f"replay memory: {readable(kept)} when it is full")
        if self._before:
            self.console.print(f"goes on from frame {self._before:,}")
        self._start()

    def _start(self) -> None:
        self._started = self._printed = time.perf_counter()
        if self.console.is_terminal and not self.verbose:
            self._live = Live(console=self.console, refresh_per_second=8, transient=True)
            self._live.start()

    def progress(self, program: Program, recorder: Recorder) -> None:
        """Show how far the training is."""
        if self.quiet:
            return
        now = time.perf_counter()
        done, total = sum(program.frames), sum(program.total_frames)
        elapsed = max(now - self._started, 1e-9)
        fresh = done - self._before
        rate = fresh * program.members / elapsed
        left = elapsed * (total - done) / max(fresh, 1)
        mean = sum(recorder.means) / len(recorder.means) if recorder.means else math.nan
        text = (
            f"{100 * done / total:4.0f} %  frame {done:,} of {total:,}  {rate:,.0f} frames/s  "
            f"return {'...' if math.isnan(mean) else f'{mean:.1f}'}  {clock(left)} left"
        )
        if program.failures:
            text += f"  {len(program.failures)} failed"
        if self._live:
            self._live.update(Text(text))
        elif self.verbose or now - self._printed >= PLAIN_SECONDS or done == total:
            self._printed = now
            self.console.print(text)

    def end(self, interrupted: bool, graphs: bool = True) -> None:
        """Leave the live line, and say what comes now."""
        if self._live:
            self._live.stop()
            self._live = None
        if not self.quiet:
            seconds = time.perf_counter() - self._started
            then = "; drawing graphs ..." if graphs else ""
            self.console.print(f"{'interrupted' if interrupted else 'trained'} after {clock(seconds)}{then}")

    def results(self, run: Run) -> None:
        """A table of what each session reached."""
        if self.quiet:
            return
        rows = run.table.to_dict("records")
        ports = sorted({(row["agent"], row["env"]) for row in rows if row["agent"] == row["agent"]})  # none is NaN
        several = len(ports) > 1
        table = Table(box=None, pad_edge=False, collapse_padding=several)  # fits 80 columns
        identity = ("session", *(("agent", "env") if several else ()), "state")
        for column in identity:
            table.add_column(column)
        for column in ("greedy return", "training return", "strength", "speed", "stability"):
            table.add_column(column.replace(" ", "\n") if several else column, justify="right", no_wrap=True)
        for row in rows:
            final = number(row["final_return"], 1)
            spread = f" ± {row['final_return_std']:.1f}" if final else ""
            fitness = (number(row[key], 2) for key in ("strength", "speed", "stability"))
            table.add_row(*(str(row[key]) for key in identity), final + spread, number(row["return_ma"], 1), *fitness)
        self.console.print(table)
        for row in rows:
            if row["state"] == "FAILED":
                self.console.print(Text(f"session {row['session']} FAILED at frame {row['frame']}: {row['reason']}"))
        for port in ports:
            own = [row["final_return"] for row in rows if (row["agent"], row["env"]) == port]
            if done := [x for x in own if not math.isnan(x)]:
                where = f"agent {port[0]}, env {port[1]}: " if several else ""
                spread = f" ± {statistics.stdev(done):.1f}" if len(done) > 1 else ""
                self.console.print(f"{where}greedy return over sessions: [bold]{statistics.mean(done):.1f}[/]{spread}")
        picture = run.directory / "trial_0" / "trial_graph"
        for path in (picture.with_suffix(".png"), picture.with_suffix(".html")):
            if path.exists():
                self.console.print(Text(f"graph: {path}"))
                break
        films = run.directory / "trial_0" / PLACE
        if films.is_dir():
            self.console.print(Text(f"films: {films}"))
            if (films / ERRORS).exists():
                self.console.print(Text(f"not all could be made: {films / ERRORS}"))
        if run.interrupted:
            self.console.print(Text(f"to go on: slmx resume {run.directory}"))
        if any(row["state"] != "FAILED" for row in rows):
            self.console.print(Text(f"to see it play: slmx enjoy {run.directory}"))


class Brief(Display):
    """A training as one of several: how far it is while it lasts, and no results; `announce` is called as it begins."""

    def __init__(self, announce: Callable[[], None], quiet: bool = False, console: Console | None = None):
        super().__init__(quiet, console=console)
        self.announce = announce

    def begin(self, program: Program, directory: Path) -> None:
        """Begin the live line."""
        self._before = sum(program.frames)
        self.announce()
        if not self.quiet:
            self._start()

    def end(self, interrupted: bool, graphs: bool = True) -> None:
        """Leave the live line."""
        if self._live:
            self._live.stop()
            self._live = None

    def results(self, run: Run) -> None:
        """Nothing: whoever runs several says it."""


def wide_console(quiet: bool = False, file: IO[str] | None = None) -> Console:
    """A console for tables: as wide as the terminal, and where there is none, as a line of a table may be."""
    console = Console(file=file, highlight=False, soft_wrap=True, quiet=quiet)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def print_overview(sections: Mapping[str, Sequence[Entry]]) -> None:
    """Everything that a spec can name, and the keys of each."""
    console = Console(highlight=False)
    for section, entries in sections.items():
        alone = len(entries) == 1 and entries[0].name == section
        if not alone:
            console.print(f"[bold]{section}[/]")
        for entry in entries:
            console.print(
                Padding(f"[bold]{entry.name}[/]: {escape(entry.doc)}", (0, 0, 0, 0 if alone else 2), expand=False)
            )
            if entry.keys:
                keys = ", ".join(key.name for key in entry.keys)
                console.print(Padding(Text(keys, style="dim"), (0, 0, 0, 2 if alone else 4), expand=False))
    console.print("\nslmx list NAME shows each key of one of these: what it takes, its default and its meaning.")


def print_entry(entry: Entry) -> None:
    """One group of keys, in full."""
    console = Console(highlight=False)
    console.print(f"[bold]{entry.name}[/]: {escape(entry.doc)}", soft_wrap=True)
    for key in entry.keys:
        default = "" if key.default is None else f" (default {key.default})"
        console.print(f"  [bold]{key.name}[/]: {escape(key.doc)}", soft_wrap=True)
        console.print(Text(f"      {key.takes}{default}", style="dim"), soft_wrap=True)
    if any(key.varies for key in entry.keys):
        names = ", ".join(key.name for key in entry.keys if key.varies)
        console.print(f"  may differ between settings that train together: {names}", soft_wrap=True)


def number(value: float, digits: int) -> str:
    """A number with so many digits; nothing where there is none."""
    return "" if math.isnan(value) else f"{value:z.{digits}f}"


def clock(seconds: float) -> str:
    """Seconds as people read them: `42s`, `3m07s`, `2h05m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


class Window:
    """Pictures in a window, at the pace of a film."""

    def __init__(self) -> None:
        import pygame

        self.pygame, self.surface, self.pace = pygame, None, pygame.time.Clock()
        pygame.display.init()

    def show(self, picture: np.ndarray) -> None:
        """Show a picture `[H, W, 3]`, uint8."""
        size = picture.shape[1], picture.shape[0]
        if self.surface is None or self.surface.get_size() != size:  # environments have sizes of their own
            self.surface = self.pygame.display.set_mode(size)
        self.pygame.event.pump()
        self.surface.blit(self.pygame.surfarray.make_surface(picture.swapaxes(0, 1)), (0, 0))
        self.pygame.display.flip()
        self.pace.tick(FRAMES_A_SECOND)

    def close(self) -> None:
        """Close the window."""
        self.pygame.display.quit()


class Film:
    """Pictures in a video file. SlmxError where it cannot be written."""

    def __init__(self, path: Path):
        import imageio.v2 as imageio

        if path.suffix.lower() != ".mp4":
            raise SlmxError(f"{path}: the name of a film ends in .mp4")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("ab").close()
        except OSError as error:
            raise SlmxError(f"cannot write the film {path}: {error.strerror}") from error
        # the encoder wants even sizes: macro_block_size pads the last row or column
        self.writer = imageio.get_writer(path, fps=FRAMES_A_SECOND, macro_block_size=2, ffmpeg_log_level="error")

    def show(self, picture: np.ndarray) -> None:
        """Append a picture `[H, W, 3]`, uint8."""
        self.writer.append_data(picture)

    def close(self) -> None:
        """Finish the file."""
        self.writer.close()
