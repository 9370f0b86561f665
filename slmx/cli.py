"""The command line: the only place that prints errors and exits.

Exit codes: 0, 2 for a user's mistake, 1 for a failure, 130 where it was told to stop: by Ctrl-C, SIGTERM, or the end
of the terminal.
"""

from __future__ import annotations

import atexit
import gc
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slmx import stop
from slmx.errors import SlmxError, did_you_mean

if TYPE_CHECKING:
    from slmx.dispatch import Ended

MODES = ("train", "dev", "search", "benchmark", "enjoy")

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A laboratory for deep reinforcement learning: specs in; trained sessions, fitness, graphs and models out.",
)  # fmt: skip

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print errors only")]
Variables = Annotated[list[str] | None, typer.Option("-s", metavar="VAR=VALUE", help="substitute ${VAR} in the spec")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="set a key, e.g. agent.0.algorithm.gamma=0.9")
]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="where results go; by default meta.storage, or data")
]
Address = Annotated[
    str | None, typer.Option("--address", metavar="HOST:PORT", help="the Ray cluster of a search (meta.ray_address)")
]
Tensorboard = Annotated[
    bool, typer.Option("--tensorboard", help="write event files for TensorBoard, in the run's directory")
]
Run = Annotated[
    str | None,
    typer.Argument(
        metavar="[DATA_DIR]",
        help="the directory of a run or a trial, or the URI of a run, which is copied to --data; "
        "by default the newest run",
    ),
]
Runs = Annotated[Path, typer.Option("--data", metavar="DIR", help="where the newest run is looked for")]
Episodes = Annotated[int | None, typer.Option("--episodes", "-n", min=1, help="greedy episodes to play")]
SessionNumber = Annotated[int | None, typer.Option("--session", min=0, help="which session's model")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="other episodes than those of the final evaluation")]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="last|best|FRAME", help="which of the models that were kept (meta.save)"),
]
Render = Annotated[Literal["human"] | None, typer.Option("--render", help="show the episodes in a window")]
Video = Annotated[Path | None, typer.Option("--video", metavar="FILE.mp4", help="film the episodes")]


def show_version(asked: bool) -> None:
    """Print which slmx this is, and end."""
    if asked:
        print(f"slmx {metadata.version('slmx')}")
        raise typer.Exit


@app.callback()
def every_command(
    _: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="print the version and end")
    ] = False,
) -> None:
    """What can be asked for without one."""


@app.command()
def run(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE|DATA_DIR",
            help="a file of specs or benchmarks, or a schedule; for enjoy, a run's directory; "
            "by default the schedule config/experiments.json",
        ),
    ] = None,
    rest: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SPEC_NAME] MODE", help=f"modes: {', '.join(MODES)}; by default train, or benchmark for one"
        ),
    ] = None,
    data: Data = None,
    variables: Variables = None,
    settings: Settings = None,
    address: Address = None,
    quiet: Quiet = False,
    graphs: Annotated[bool, typer.Option("--graphs/--no-graphs", help="draw graphs after the training")] = True,
    into: Annotated[
        Path | None, typer.Option("--into", metavar="DIR", help="an earlier benchmark to which cells are added")
    ] = None,
    episodes: Episodes = None,
    session: SessionNumber = None,
    seed: Seed = None,
    model: Model = None,
    render: Render = None,
    video: Video = None,
    tensorboard: Tensorboard = False,
) -> None:
    """Train a spec, look at it briefly (dev), search its hyperparameters, sweep a benchmark, or enjoy a trained model.

    A schedule {spec_file: {spec_name: mode}} runs one after another, and skips what is finished.
    """
    name, mode = read_mode(rest or [])
    if mode == "enjoy":
        if name or source is None:
            named = f", without a spec's name ({name})" if name else ""
            raise SlmxError(f"enjoy plays what a run left: give its directory{named}")
        options = {
            "--data": data, "-s": variables, "--set": settings, "--address": address, "--into": into,
            "--tensorboard": tensorboard or None, "--no-graphs": None if graphs else True,
        }  # fmt: skip
        if useless := [option for option, value in options.items() if value is not None]:
            raise SlmxError(f"{', '.join(useless)}: not for mode enjoy")
        play(source, episodes, session, seed, model, render, video, quiet)
        return
    given = {"--episodes": episodes, "--session": session, "--seed": seed, "--model": model}
    given |= {"--render": render, "--video": video}
    if useless := [option for option, value in given.items() if value is not None]:
        raise SlmxError(f"{', '.join(useless)}: only for mode enjoy{f', not {mode}' if mode else ''}")
    from slmx.dispatch import run_file
    from slmx.spec.load import UnknownName

    filled = pairs(variables, "-s"), pairs(settings, "--set")
    if address is not None:
        if mode not in ("search", "benchmark", None):
            raise SlmxError(f"--address: only searches run on a cluster, not {mode}")
        filled[1]["meta.ray_address"] = address
    try:
        leave(run_file(source, name, mode, *filled, data, quiet, graphs, into, tensorboard))
    except UnknownName as error:
        if mode is None:  # the one word may have been meant for a mode
            raise SlmxError(f"{error}; modes: {', '.join(MODES)}") from error
        raise


@app.command()
def enjoy(
    directory: Run = None,
    data: Runs = Path("data"),
    episodes: Episodes = None,
    session: SessionNumber = None,
    seed: Seed = None,
    model: Model = None,
    render: Render = None,
    video: Video = None,
    quiet: Quiet = False,
) -> None:
    """Play a trained model greedily and print its returns."""
    play(find_run(directory, data, quiet, benchmarks=False), episodes, session, seed, model, render, video, quiet)


@app.command()
def resume(
    directory: Run = None,
    data: Runs = Path("data"),
    address: Address = None,
    quiet: Quiet = False,
    graphs: Annotated[bool, typer.Option("--graphs/--no-graphs", help="draw graphs at the end")] = True,
    tensorboard: Tensorboard = False,
) -> None:
    """Go on with a run that was killed or stopped, from its last checkpoint, as if it had not been."""
    from slmx.dispatch import resume as go_on

    place = find_run(directory, data, quiet)
    ended = go_on(place, quiet, graphs, address, tensorboard)
    if ended is None:
        if not quiet:
            print(f"{place}: this run came to its end; there is nothing to resume")
        return
    leave(ended)


@app.command()
def check(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="spec files, or folders of them")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON Schema of a spec file")] = False,
    variables: Variables = None,
    settings: Settings = None,
) -> None:
    """Check spec files, and print every error of every file."""
    if schema:
        from slmx.spec.vocabulary import json_schema

        print(json.dumps(json_schema(), indent=2))
        return
    if not files:
        raise SlmxError("name a spec file or a folder of them to check, or ask for --schema")
    from slmx.dispatch import checked
    from slmx.spec.load import find

    given = pairs(variables, "-s"), pairs(settings, "--set")
    wrong = False
    for file in find(files):
        try:
            print(f"{file}: {checked(file, *given)}, no errors")
        except SlmxError as error:
            wrong = True
            print(error, file=sys.stderr)
    if wrong:
        raise typer.Exit(2)


@app.command("list")
def list_(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="what to show in full: PPO, MLP, algorithms, env, ...")
    ] = None,
) -> None:
    """List all that a spec can name, and the keys of each."""
    from slmx.display import print_entry, print_overview
    from slmx.spec.vocabulary import vocabulary

    sections = vocabulary()
    if name is None:
        print_overview(sections)
        return
    entries = [(entry.name, entry) for group in sections.values() for entry in group]
    entries += [(section, entry) for section, group in sections.items() for entry in group if entry.name != section]
    found = [entry for known, entry in entries if known.lower() == name.lower()]  # Random learns, random searches
    if not found:
        hint = did_you_mean(name, dict(entries)) or "slmx list shows what there is"
        raise SlmxError(f'there is nothing called "{name}" to list; {hint}')
    for entry in found:
        print_entry(entry)


@app.command()
def analyze(
    directory: Run = None,
    data: Runs = Path("data"),
    graphs: Annotated[bool, typer.Option("--graphs/--no-graphs", help="draw the graphs again")] = True,
    speed: Annotated[bool, typer.Option("--speed", help="draw frames per second as well")] = False,
    tensorboard: Tensorboard = False,
    quiet: Quiet = False,
) -> None:
    """Make a run's tables and graphs again, from its files."""
    from slmx.dispatch import analyze as make

    make(find_run(directory, data, quiet), graphs, speed, tensorboard, quiet)


def leave(ended: Ended) -> None:
    """The exit code of a run that ended so."""
    if ended.interrupted:
        raise typer.Exit(stop.CODE)
    if ended.failed:
        raise typer.Exit(1)


def find_run(named: str | None, data: Path, quiet: bool, benchmarks: bool = True) -> Path:
    """The directory that is named; that of a URI after it was copied; or the newest run or benchmark, which is said."""
    from slmx.analysis.files import newest
    from slmx.storage import fetch, is_uri

    if named is not None and not is_uri(named):
        return Path(named)
    directory = newest(data, benchmarks) if named is None else fetch(named, data)
    if not quiet:
        print(directory)
    return directory


def play(
    directory: Path,
    episodes: int | None,
    session: int | None,
    seed: int | None,
    model: str | None,
    render: str | None,
    video: Path | None,
    quiet: bool,
) -> None:
    """Play a model and print what it reached."""
    from slmx.play import enjoy, has_screen

    if render and not has_screen():
        raise SlmxError("--render human: there is no screen here; --video FILE.mp4 films instead")
    played = enjoy(directory, episodes, session, seed, render, video, model or "last")
    ports = sorted({(e.agent, e.env) for e in played.evaluations})
    for agent, env in ports:
        own = [e.total for e in played.evaluations if (e.agent, e.env) == (agent, env)]
        mean = sum(own) / len(own)
        std = (sum((x - mean) ** 2 for x in own) / len(own)) ** 0.5
        which = "" if played.trial is None else f"trial {played.trial}, "
        when = "" if played.frame is None else f", frame {played.frame:,}"
        where = f" agent {agent}, env {env}:" if len(ports) > 1 else ""
        print(f"{which}session {played.session}{when}:{where} return {mean:.2f} ± {std:.2f} over {len(own)} episodes")
        if not quiet:
            print("  " + " ".join(f"{x:g}" for x in own))
    if played.stored is not None and not quiet:
        stored = " ".join(f"{x:g}" for x in played.stored)
        known = "its final evaluation" if played.frame is None else "its evaluation at that frame"
        print(f"the same as {known}" if played.repeats else f"{known} was: {stored}")


def read_mode(rest: list[str]) -> tuple[str | None, str | None]:
    """The spec's name and the mode, where they are given."""
    if len(rest) > 2:
        raise SlmxError(f"expected [SPEC_NAME] MODE, not {' '.join(rest)}")
    if not rest:
        return None, None
    *names, mode = rest
    if mode not in MODES:
        if names:
            raise SlmxError(f'unknown mode "{mode}"; {did_you_mean(mode, MODES)}')
        return mode, None
    return (names[0] if names else None), mode


def pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """`["a=1"]` as `{"a": "1"}`."""
    found: dict[str, str] = {}
    example = "lr=0.001" if option == "-s" else "agent.0.algorithm.gamma=0.9"
    for pair in given or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise SlmxError(f"{option} {pair}: expected NAME=VALUE, for example {option} {example}")
        if key in found:
            raise SlmxError(f"{option} {pair}: {key} is given twice")
        found[key] = value
    return found


def main() -> None:
    """Run the command line; without arguments, show its help."""
    atexit.register(gc.freeze)  # else Python's last act is to look for garbage in all that was imported
    sys.path.append(str(Path.cwd()))  # where a user's own `module:Class` lies, as with `python -m`
    try:
        with stop.heard(stop.interrupt):
            sys.exit(app(sys.argv[1:] or ["--help"], "slmx", standalone_mode=False))
    except SlmxError as error:
        print(error, file=sys.stderr)
        sys.exit(error.code)
    except typer.TyperException as error:  # wrong usage
        print(usage(error), file=sys.stderr)
        sys.exit(2)


def usage(error: typer.TyperException) -> str:
    """What is wrong with a command line, in one line."""
    message, context = error.format_message().rstrip("."), getattr(error, "ctx", None)
    command = context.command_path if context else "slmx"
    return f"{command}: {message[:1].lower()}{message[1:]} ({command} -h shows what it takes)"
