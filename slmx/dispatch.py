"""What a file or a directory is of, specs, benchmarks or a schedule, and so what is done with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from slmx import schedule
from slmx.errors import SlmxError, counted
from slmx.lazy import loading
from slmx.run_directory import folder_of
from slmx.spec.benchmark import check_benchmark, check_benchmarks, is_benchmark
from slmx.spec.check import check_file, check_one
from slmx.spec.load import read

EVENTS_LATER = "slmx analyze DATA_DIR --tensorboard writes those of any run that is there"


class Ended(Protocol):
    """How a run ended, of whatever kind."""

    @property
    def interrupted(self) -> bool: ...
    @property
    def failed(self) -> bool: ...


def run_file(
    file: Path | None, name: str | None, mode: str | None, variables: Mapping[str, Any], settings: Mapping[str, Any],
    data: Path | None, quiet: bool, graphs: bool, into: Path | None, tensorboard: bool = False,
) -> Ended:  # fmt: skip
    """Run what a file holds: a spec or a benchmark of it, by `name` where it has several, or the whole of a schedule.

    `file` None is config/experiments.json, `mode` None what the file is for, `data` None where the specs say that
    results go. SlmxError where these do not go together.
    """
    file = file or schedule.default()
    raw = read(file)
    kind = "schedule" if schedule.is_schedule(raw) else "benchmark" if is_benchmark(raw) else "spec"
    if into and kind != "benchmark":
        raise SlmxError(f"--into adds to an earlier benchmark, and {file} holds a {kind}")
    if tensorboard and (kind != "spec" or mode == "benchmark"):
        raise SlmxError(f"--tensorboard: for one run; {EVENTS_LATER}")
    if kind == "schedule":
        if name or mode or variables:
            given = " ".join([*filter(None, (name, mode)), *(f"-s {key}" for key in variables)])
            raise SlmxError(f"{file} is a schedule, which says itself what is run in which mode; {given} fits nothing")
        return schedule.run(schedule.check(file, settings), data, quiet, graphs)
    if kind == "benchmark" or mode == "benchmark":
        from slmx import benchmark

        if mode not in (None, "benchmark"):
            raise SlmxError(f"{file} holds benchmarks, whose mode is benchmark, not {mode}")
        found = check_benchmark(file, name, variables, settings)
        return benchmark.run(found, folder_of(data, [cell.spec for cell in found.cells]), quiet, graphs, into)
    with loading():
        from slmx import lab

        spec = check_one(file, name, variables, settings)  # which asks the environments what they are

    run = {"train": lab.train, "dev": lab.dev, "search": lab.search}[mode or "train"]
    return run(spec, folder_of(data, [spec]), quiet, graphs, tensorboard=tensorboard)


def checked(file: Path, variables: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """What a file without errors holds, in words; SlmxError with all that is wrong with it."""
    raw = read(file)
    if schedule.is_schedule(raw):
        return counted(len(schedule.check(file, settings)), "experiment")
    if is_benchmark(raw):
        found = check_benchmarks(file, None, variables, settings)
        cells = sum(len(each.cells) for each in found.values())
        return f"{counted(len(found), 'benchmark')} of {counted(cells, 'cell')}"
    return counted(len(check_file(file, None, variables, settings)), "spec")


def resume(
    directory: Path, quiet: bool, graphs: bool, address: str | None = None, tensorboard: bool = False
) -> Ended | None:
    """Go on with a run of any kind; None where it came to its end. `address`: of another Ray cluster for a search."""
    from slmx.analysis.benchmark import is_benchmark_run

    if is_benchmark_run(directory):
        from slmx import benchmark

        if address is not None:
            raise SlmxError("--address: only for a search; resume that of a cell by its own directory")
        if tensorboard:
            raise SlmxError(f"--tensorboard: for one run; {EVENTS_LATER}")
        return benchmark.resume(directory, quiet, graphs)
    from slmx import lab

    return lab.resume(directory, quiet, graphs, address=address, tensorboard=tensorboard)


def analyze(directory: Path, graphs: bool, speed: bool, tensorboard: bool, quiet: bool) -> None:
    """Make the tables and graphs of a run of any kind again, and show the table."""
    from slmx.analysis.analyze import analyze
    from slmx.analysis.benchmark import analyze_benchmark, is_benchmark_run
    from slmx.analysis.events import write_events

    if not is_benchmark_run(directory):
        table = analyze(directory, graphs, speed)
        if not quiet:
            from slmx.search.display import print_drawn, print_validation

            print(table.T.to_string(header=False))
            print_validation(directory)
            if graphs and "objective" in table:
                print_drawn(directory, table)
        if tensorboard:
            events = write_events(directory)
            if not quiet:
                print(f"events: tensorboard --logdir {events}")
        return
    if wrong := "--speed" if speed else "--tensorboard" if tensorboard else "":
        raise SlmxError(f"{wrong}: only for one run; those of this benchmark lie in {directory}/...")
    table = analyze_benchmark(directory, graphs)
    if not quiet:
        from slmx.benchmark import print_cells
        from slmx.display import wide_console

        print_cells(table, directory, wide_console())
