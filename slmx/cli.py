"""The command line: the only place that prints errors and exits.

Exit codes: 0, 2 for a user's mistake, 1 for a failure, 130 for Ctrl-C.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from slmx.errors import SlmxError, did_you_mean

MODES = ("train", "dev", "enjoy")

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich",
    help="A laboratory for deep reinforcement learning: specs in; trained sessions, fitness, graphs and models out.",
)  # fmt: skip

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print errors only")]
Variables = Annotated[list[str] | None, typer.Option("-s", metavar="VAR=VALUE", help="substitute ${VAR} in the spec")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="set a key, e.g. agent.0.algorithm.gamma=0.9")
]
Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="where results go")]
Episodes = Annotated[int | None, typer.Option("--episodes", "-n", min=1, help="greedy episodes to play")]
SessionNumber = Annotated[int | None, typer.Option("--session", min=0, help="which session's model")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="other episodes than those of the final evaluation")]
Render = Annotated[Literal["human"] | None, typer.Option("--render", help="show the episodes in a window")]
Video = Annotated[Path | None, typer.Option("--video", metavar="FILE.mp4", help="film the episodes")]


@app.command()
def run(
    source: Annotated[Path, typer.Argument(metavar="SPEC_FILE|DATA_DIR", help="a spec file; for enjoy, a run's directory")],
    rest: Annotated[
        list[str] | None, typer.Argument(metavar="[SPEC_NAME] MODE", help=f"modes: {', '.join(MODES)}; by default train")
    ] = None,
    data: Data = Path("data"),
    variables: Variables = None,
    settings: Settings = None,
    quiet: Quiet = False,
    graphs: Annotated[bool, typer.Option("--graphs/--no-graphs", help="draw graphs after the training")] = True,
    episodes: Episodes = None,
    session: SessionNumber = None,
    seed: Seed = None,
    render: Render = None,
    video: Video = None,
) -> None:
    """Run a spec in a mode: [bold]train[/], [bold]dev[/] (a short, checked look), or [bold]enjoy[/] a trained model."""
    name, mode = read_mode(rest or [])
    if mode == "enjoy":
        if name:
            raise SlmxError(f"enjoy plays what a run left: give its directory, without a spec's name ({name})")
        play(source, episodes, session, seed, render, video, quiet)
        return
    given = {"--episodes": episodes, "--session": session, "--seed": seed, "--render": render, "--video": video}
    if useless := [option for option, value in given.items() if value is not None]:
        raise SlmxError(f"{', '.join(useless)}: only for mode enjoy, not {mode}")
    from slmx.spec.check import check_spec
    from slmx.spec.load import load_one

    spec = load_one(source, name, pairs(variables, "-s"), pairs(settings, "--set"))
    check_spec(spec, source)
    from slmx import lab

    trained = lab.train(spec, data, quiet, graphs) if mode == "train" else lab.dev(spec, data, quiet)
    if trained.interrupted:
        raise typer.Exit(130)
    if trained.failed:
        raise typer.Exit(1)


@app.command()
def enjoy(
    directory: Annotated[Path, typer.Argument(metavar="DATA_DIR", help="the directory of a run or a trial")],
    episodes: Episodes = None,
    session: SessionNumber = None,
    seed: Seed = None,
    render: Render = None,
    video: Video = None,
    quiet: Quiet = False,
) -> None:
    """Play a trained model greedily and print its returns."""
    play(directory, episodes, session, seed, render, video, quiet)


@app.command()
def check(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE...", help="spec files")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON Schema of a spec file")] = False,
    variables: Variables = None,
    settings: Settings = None,
) -> None:
    """Check spec files: every error of every file, and exit code 2 if there is one."""
    from slmx.spec import check as checks

    if schema:
        print(json.dumps(checks.json_schema(), indent=2))
        return
    if not files:
        raise SlmxError("name a spec file to check, or ask for --schema")
    wrong = []
    for file in files:
        try:
            specs = checks.check_file(file, pairs(variables, "-s"), pairs(settings, "--set"))
            print(f"{file}: {len(specs)} spec{'s' if len(specs) != 1 else ''}, no errors")
        except SlmxError as error:
            wrong.append(error)
            print(error, file=sys.stderr)
    if wrong:
        raise typer.Exit(2)


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(help="one algorithm, net, memory, optimiser, or env, body, meta")] = None,
) -> None:
    """List algorithms, nets, memories, optimisers and environment keys, each with its type, default and meaning."""
    from slmx.spec.check import vocabulary

    groups = vocabulary()
    print_vocabulary(groups, name)


@app.command()
def analyze(
    directory: Annotated[Path, typer.Argument(metavar="DATA_DIR", help="the directory of a run or a trial")],
    graphs: Annotated[bool, typer.Option("--graphs/--no-graphs", help="draw the graphs again")] = True,
    speed: Annotated[bool, typer.Option("--speed", help="draw frames per second as well")] = False,
    quiet: Quiet = False,
) -> None:
    """Make fitness tables and graphs again, from the files of a run alone."""
    from slmx.analysis.analyze import analyze as make

    table = make(directory, graphs, speed)
    if not quiet:
        print(table.T.to_string(header=False))


def play(
    directory: Path,
    episodes: int | None,
    session: int | None,
    seed: int | None,
    render: str | None,
    video: Path | None,
    quiet: bool,
) -> None:
    """Play a model and print what it reached."""
    from slmx import lab

    if render and not lab.has_screen():
        raise SlmxError("--render human: there is no screen here; --video FILE.mp4 films instead")
    played = lab.enjoy(directory, episodes, session, seed, render, video)
    ports = sorted({(e.agent, e.env) for e in played.evaluations})
    for agent, env in ports:
        own = [e.total for e in played.evaluations if (e.agent, e.env) == (agent, env)]
        mean = sum(own) / len(own)
        std = (sum((x - mean) ** 2 for x in own) / len(own)) ** 0.5
        where = f" agent {agent}, env {env}:" if len(ports) > 1 else ""
        print(f"session {played.session}:{where} return {mean:.2f} ± {std:.2f} over {len(own)} episodes")
        if not quiet:
            print("  " + " ".join(f"{x:g}" for x in own))
    if played.stored is not None and not quiet:
        same = played.returns == played.stored
        print("as in its final evaluation" if same else "its final evaluation was: " + " ".join(map(str, played.stored)))


def read_mode(rest: list[str]) -> tuple[str | None, str]:
    """The spec's name, if given, and the mode."""
    if len(rest) > 2:
        raise SlmxError(f"expected [SPEC_NAME] MODE, not {' '.join(rest)}")
    if not rest:
        return None, "train"
    *names, mode = rest
    if mode not in MODES:
        if names:
            raise SlmxError(f'unknown mode "{mode}"; {did_you_mean(mode, MODES)}')
        return mode, "train"
    return (names[0] if names else None), mode


def pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """`["a=1"]` as `{"a": "1"}`."""
    found = {}
    for pair in given or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise SlmxError(f'{option} {pair}: expected NAME=VALUE, for example {option} lr=0.001')
        found[key] = value
    return found


def print_vocabulary(groups: Any, name: str | None) -> None:
    """Print what `slmx list` lists."""
    from slmx.spec.check import print_groups

    print_groups(groups, name)


def main() -> None:
    """Run the command line."""
    try:
        app(standalone_mode=False)
    except SlmxError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        import click

        if isinstance(error, click.ClickException):
            error.show()
            sys.exit(2)
        raise
