"""Benchmarks: every cell, an algorithm in an environment, as a run of its own below the benchmark's directory.

benchmark.json says what the cells are; all else is read from the runs. So a benchmark that was stopped goes on with
what is not DONE, and cells of another file can be added to it.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from slmx.display import Brief, clock, number, wide_console
from slmx.errors import SlmxError, counted
from slmx.lock import owning
from slmx.once import Outcome, once
from slmx.run_directory import make_directory, provenance, read_state, write_state
from slmx.spec.benchmark import Benchmark, Cell
from slmx.spec.check import check_one
from slmx.spec.dump import difference, dump, restore
from slmx.whole import whole, write_json, writing

if TYPE_CHECKING:
    import pandas as pd

    from slmx.spec.model import MetaSpec, Spec

LABELS = tuple(field.name for field in fields(Cell) if field.name != "spec")
SECONDS = "benchmark_seconds.csv"  # apart, for the tables are repeated byte for byte


@dataclass(frozen=True)
class BenchmarkRun:
    """What a benchmark left: its directory, a row per cell, and whether it was interrupted."""

    directory: Path
    table: pd.DataFrame
    interrupted: bool

    @property
    def failed(self) -> bool:
        """Whether any cell is not DONE, though nobody interrupted it."""
        return not self.interrupted and bool((self.table["state"] != "DONE").any())


def run(
    benchmark: Benchmark, data: Path, quiet: bool = False, graphs: bool = True, into: Path | None = None
) -> BenchmarkRun:
    """Run all cells of a benchmark; write its tables and graph under `data`, or in `into`, beside an earlier one's.

    A cell that breaks is FAILED and the others go on. Ctrl-C ends the benchmark and keeps what there is. SlmxError
    where the earlier benchmark has another spec of the same algorithm and environment.
    """
    if into is not None:
        read_benchmark(into)  # where it is none, no lock is to be left
        with owning(into, SECONDS):
            return _go_on(into, quiet, graphs, benchmark.cells)
    directory = make_directory(data, benchmark.name)
    with whole(directory / SECONDS) as file:
        file.write("algorithm,env,state,seconds\n")
    _write_record(directory, benchmark.name, benchmark.cells)
    with owning(directory, SECONDS):
        return _go_on(directory, quiet, graphs)


def resume(directory: Path, quiet: bool = False, graphs: bool = True) -> BenchmarkRun | None:
    """Go on with the cells of a benchmark that are not DONE; None where all are."""
    if read_state(directory)[1] == "DONE":
        return None
    with owning(directory, SECONDS):
        done = read_state(directory)[1] == "DONE"  # by another process, meanwhile
        return None if done else _go_on(directory, quiet, graphs)


def find(data: Path, benchmark: Benchmark) -> tuple[Path, str] | None:
    """The newest benchmark in a data folder that has exactly these cells, and its state; one that is DONE first."""
    found, wanted = [], _computed(benchmark.cells)
    for file in sorted(data.glob("*/run.json"), key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            mode, state = read_state(file.parent)
            if mode != "benchmark":
                continue
            name, cells = read_benchmark(file.parent)
            if (name, _computed(cells)) == (benchmark.name, wanted):
                found.append((file.parent, state))
        except SlmxError:  # something else lies there, or what this version cannot read
            continue
    return min(found, key=lambda run: run[1] != "DONE", default=None)


def _computed(cells: Sequence[Cell]) -> list[tuple[str, str, str, Spec]]:
    """What of cells says what they compute."""
    return [(cell.algorithm, cell.env, cell.mode, cell.spec) for cell in cells]


def read_benchmark(directory: Path) -> tuple[str, list[Cell]]:
    """The name and the cells of a benchmark's directory. SlmxError where it is none."""
    from slmx.analysis.benchmark import read_record

    record = read_record(directory)
    cells = [Cell(spec=restore(raw["spec"]), **{key: raw[key] for key in LABELS}) for raw in record["cells"]]
    return record["name"], cells


def _added(cells: Sequence[Cell], earlier: Sequence[Cell], directory: Path) -> list[Cell]:
    """The cells that are not there yet."""
    known = {(cell.algorithm, cell.env): cell for cell in earlier}
    added = []
    for cell in cells:
        old = known.get((cell.algorithm, cell.env))
        if old is None:
            added.append(cell)
        elif _computed([old]) != _computed([cell]):
            other = difference(dump(cell.spec), dump(old.spec)) or f"mode: {cell.mode}, not {old.mode}"
            where = f"{directory} has another {cell.algorithm} in {cell.env}"
            raise SlmxError(f"{where} ({other}); give this algorithm a name of its own")
    return added


def _write_record(directory: Path, name: str, cells: Sequence[Cell], errors: dict[str, str] | None = None) -> None:
    """Write benchmark.json; `errors` says of cells, by the name of their spec, why they are not DONE."""
    rows = [
        {key: getattr(cell, key) for key in LABELS}
        | {"error": (errors or {}).get(cell.spec.name, ""), "spec": dump(cell.spec)}
        for cell in cells
    ]
    write_json(directory / "benchmark.json", {"name": name, "cells": rows, **provenance()})


def _go_on(directory: Path, quiet: bool, graphs: bool, cells: Sequence[Cell] = ()) -> BenchmarkRun:
    """Run what is not DONE yet, with `cells` besides, cell by cell; write the tables after each.

    The directory is this process's own.
    """
    from slmx.analysis.benchmark import analyze_benchmark, read_record

    name, earlier = read_benchmark(directory)
    display = BenchmarkDisplay(quiet)
    cells = [*earlier, *_added(cells, earlier, directory)]
    errors = {raw["spec"]["name"]: raw["error"] for raw in read_record(directory)["cells"]}
    _write_record(directory, name, cells, errors)
    write_state(directory, "benchmark", "RUNNING")
    display.begin(name, cells, directory)
    interrupted = False
    try:
        for place, cell in enumerate(cells, 1):
            display.cell(place, len(cells), cell)
            outcome = _run_cell(cell, directory, display, graphs)
            if outcome.reason != errors.get(cell.spec.name, ""):
                errors[cell.spec.name] = outcome.reason
                _write_record(directory, name, cells, errors)
            _tell(cell, outcome, directory, display)
            if interrupted := outcome.state == "STOPPED":
                break
    except KeyboardInterrupt:
        interrupted = True
    ended = BenchmarkRun(directory, analyze_benchmark(directory, graphs), interrupted)
    write_state(directory, "benchmark", "STOPPED" if interrupted else "FAILED" if ended.failed else "DONE")
    display.results(ended)
    return ended


def _run_cell(cell: Cell, directory: Path, display: BenchmarkDisplay, graphs: bool) -> Outcome:
    """Train a cell's spec; or search it, and train the best on seeds that it was not chosen by."""
    brief = Brief(display.announce, display.quiet, display.console)
    if cell.mode == "train":
        return once(cell.spec, "train", directory, display.quiet, graphs, brief)
    display.announce()
    searched = once(cell.spec, "search", directory, display.quiet, graphs)
    if searched.state != "DONE" or searched.directory is None:
        return searched
    try:
        best = check_one(searched.directory / "best_spec.json")
    except SlmxError as error:
        return replace(searched, state="FAILED", reason=str(error), directory=None, earlier=False)
    fresh = best.model_copy(update={"meta": best.meta.model_copy(update={"seed": seed_beside(cell.spec.meta)})})
    trained = once(fresh, "train", directory, display.quiet, graphs, brief)
    return replace(trained, seconds=searched.seconds + trained.seconds)


def seed_beside(meta: MetaSpec) -> int:
    """A seed by which nothing of a search was chosen: neither that of its trials nor that of its validation."""
    validated = meta.validation.seed_after(meta.seed) if meta.validation and meta.validation.top else None
    return meta.seed + (2 if validated == meta.seed + 1 else 1)


def _tell(cell: Cell, outcome: Outcome, directory: Path, display: BenchmarkDisplay) -> None:
    """Make the tables again, show the cell's row, and note the seconds that it took, where it was run."""
    from slmx.analysis.benchmark import analyze_benchmark

    table = analyze_benchmark(directory, graphs=False)
    row = table.loc[(table["algorithm"] == cell.algorithm) & (table["env"] == cell.env)].iloc[0]
    display.outcome(outcome, row.to_dict())
    if not outcome.earlier:
        with writing(directory / SECONDS), (directory / SECONDS).open("a", newline="") as file:
            seconds = (cell.algorithm, cell.env, outcome.state, round(outcome.seconds, 1))
            csv.writer(file, lineterminator="\n").writerow(seconds)


class BenchmarkDisplay:
    """The terminal during a benchmark: a line when a cell begins and one when it ends, then all of them."""

    def __init__(self, quiet: bool = False, console: Console | None = None):
        self.quiet = quiet
        self.console = console or wide_console()
        self._heading, self._size = "", ""

    def begin(self, name: str, cells: Sequence[Cell], directory: Path) -> None:
        """Say what is about to be run."""
        if self.quiet:
            return
        algorithms, envs = ({getattr(cell, key) for cell in cells} for key in ("algorithm", "env"))
        size = f"{counted(len(algorithms), 'algorithm')}, {counted(len(envs), 'environment')}"
        self.console.print(f"[bold]{name}[/]: {size}, {counted(len(cells), 'cell')}")
        self.console.print(Text(str(directory), style="dim"))

    def cell(self, place: int, count: int, cell: Cell) -> None:
        """The cell that comes now, and with whose settings; it is said when it begins."""
        spec = cell.spec
        source = cell.source.rpartition(": ")[2] + ("" if cell.made_for == cell.env else f", made for {cell.made_for}")
        self._heading = f"[{place}/{count}] {cell.algorithm} in {cell.env}"
        sessions = counted(spec.meta.max_session, "session")
        self._size = f" ({source}): {cell.mode}, {sessions} x {spec.env[0].max_frame:,} frames"

    def announce(self) -> None:
        """Say that the cell begins."""
        if self._heading and not self.quiet:
            self.console.print(Text(self._heading + self._size))
        self._heading = ""

    def outcome(self, outcome: Outcome, row: dict[str, Any]) -> None:
        """Say how the cell ended."""
        if self.quiet:
            return
        text = f"{self._heading}: " if self._heading else "    "
        text += f"{outcome.state} {'earlier' if outcome.earlier else f'in {clock(outcome.seconds)}'}"
        if outcome.state == "DONE":
            text += f", return {interval(row, 'final_return')}"
            text += f", score {interval(row, 'score', 2)}" if row["score"] == row["score"] else ""
        elif outcome.reason:
            text += f": {outcome.reason}"
        self.console.print(Text(text))

    def results(self, ended: BenchmarkRun) -> None:
        """All cells, one score an algorithm, and where the files are."""
        if self.quiet:
            return
        self.console.print()
        print_cells(ended.table, ended.directory, self.console)
        for row in ended.table.to_dict("records"):
            if row["state"] == "FAILED" or (ended.failed and row["state"] != "DONE"):
                self.console.print(Text(f"{row['algorithm']} in {row['env']} {row['state']}: {row['reason']}"))
        for suffix in (".png", ".html"):
            if (picture := ended.directory / f"benchmark_graph{suffix}").exists():
                self.console.print(Text(f"graph: {picture}"))
                break
        self.console.print(Text(f"table: {ended.directory / 'benchmark.csv'}"))
        if ended.interrupted:
            self.console.print(Text(f"to go on: slmx resume {ended.directory}"))
        elif ended.failed:
            self.console.print(Text(f"to try again what is not DONE: slmx resume {ended.directory}"))


def print_cells(table: pd.DataFrame, directory: Path, console: Console) -> None:
    """benchmark.csv as a terminal shows it, and below it benchmark_aggregate.csv."""
    from slmx.analysis.files import read_table

    shown = Table(box=None, pad_edge=False)
    for column in ("environment", "algorithm", "state"):
        shown.add_column(column)
    for column in ("greedy return", "score"):
        shown.add_column(column, justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        numbers = interval(row, "final_return"), interval(row, "score", 2)
        failed = f", {row['failed']} FAILED" if row["state"] == "DONE" and row["failed"] else ""
        shown.add_row(row["env"], row["algorithm"], row["state"] + failed, *numbers)
    aggregated = read_table(directory / "benchmark_aggregate.csv")
    for kind, rows in aggregated.groupby("actions", sort=False):
        shown.add_row()
        for row in rows.to_dict("records"):
            over = f"{kind} ({len(row['environments'].split())})"
            shown.add_row(over, row["algorithm"], "", "IQM", interval(row, "iqm", 2))
    console.print(shown)
    console.print(Text("score: 0 random play, 1 the standard; IQM: interquartile mean over all seeds", "dim"))


def interval(row: dict[str, Any], key: str, digits: int | None = None) -> str:
    """A number of a table with its interval, `-83.1 [-84.0, -82.2]`, with so many digits, by default three or more.

    Nothing where there is none.
    """
    digits = digits if digits is not None else int(abs(row[key]) < 100)
    middle, low, high = (number(row[name], digits) for name in (key, f"{key}_low", f"{key}_high"))
    return middle + (f" [{low}, {high}]" if low and high else "")
