"""A search as a user runs it, beside the same search by others: wall-clock time from the first import to the exit."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from arguments import ROOT
from processes import Use, on_cores, run_watched
from settings import CORES, EVALUATION, SEEDS, SPACE, search_spec
from speed import HERE, peer_python, progress

FRAMES = 49 * 1024  # of a session: whole rollouts, so that nobody has to do more than others
QUICK_FRAMES = 2 * 1024
PEERS = {"tune": "Ray Tune, stable-baselines3", "optuna": "Optuna, stable-baselines3"}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
SLM_LAB = 7400  # frames/s of SLM-Lab v5.3's search at its best setting,
OPTUNA = 38_200  # on a machine on which the Optuna study below came to so many
TRIVIAL = 200  # settings of an environment in which there is nothing to do
BARS = {16: 4.0, 64: 5.5}  # times as fast as the faster peer, by number of settings
TRIVIAL_SECONDS, TRIVIAL_GROWTH = 30, 50_000  # bytes of the driver's memory for each trial


@dataclass(frozen=True)
class Side:
    """How one contender did."""

    name: str
    use: Use
    frames: int
    best: float

    @property
    def rate(self) -> float:
        return self.frames / self.use.seconds


def bench_search(settings: int, peers: bool, quick: bool) -> int:
    """Run and print it all; 1 if a bar was missed, else 0."""
    frames = QUICK_FRAMES if quick else FRAMES
    python = peer_python() if peers else None
    progress(f"slmx: {settings} settings x {SEEDS} sessions x {frames:,} frames")
    sides = [search_here(search_spec(settings, frames), "slmx")]
    for library, name in PEERS.items() if python else ():
        progress(name)
        sides.append(search_there(str(python), library, name, settings, frames))
    progress("")
    missed = print_sides(sides, settings, frames)
    missed += bench_trivial(TRIVIAL // 10 if quick else TRIVIAL)
    if quick:
        print("\na glance: bars are for whole runs")
        return 0
    print(f"\n{len(missed)} bars missed" + "".join(f"\n  {bar}" for bar in missed))
    return int(bool(missed))


def bench_trivial(settings: int) -> list[str]:
    """Search where training takes no time, and print what the search itself takes; which bars were missed."""
    progress(f"slmx: {settings} settings of a trivial environment")
    few = settings // 4
    less, more = (search_here(trivial_spec(count), "slmx") for count in (few, settings))
    growth = (more.use.first_peak - less.use.first_peak) / (settings - few)
    progress("")
    print(f"\n{settings} settings x {SEEDS} sessions of a trivial environment: {more.use.seconds:.1f} s ", end="")
    print(f"(bar: {TRIVIAL_SECONDS} s); with {few} {less.use.seconds:.1f} s")
    print(f"the driver's memory grows by {growth / 1e3:.0f} kB a trial (bar: {TRIVIAL_GROWTH / 1e3:.0f} kB)")
    missed = [f"{settings} trivial settings in {TRIVIAL_SECONDS} s"] if more.use.seconds > TRIVIAL_SECONDS else []
    return missed + (["the driver's memory"] if growth > TRIVIAL_GROWTH else [])


def print_sides(sides: list[Side], settings: int, frames: int) -> list[str]:
    """A row for each contender, and the bars that there are for so many settings; which of them were missed."""
    size = f"{settings} settings x {SEEDS} sessions x {frames:,} frames"
    print(f"\n{size} of PPO on CartPole-v1, random search over {', '.join(SPACE)}; {EVALUATION} greedy episodes")
    print(f"after each training; {CORES} cores, one torch thread a process; from the first import to the last exit;")
    print("memory of all processes together, pages that several share counted in each")
    print(f"  {'':30}{'wall s':>8}{'frames/s':>10}{'slmx is':>9}{'peak MB':>9}{'best return':>13}")
    own = sides[0]
    for side in sides:
        ratio = "" if side is own else f"x {side.use.seconds / own.use.seconds:.2f}"
        print(f"  {side.name:30}{side.use.seconds:8.1f}{side.rate:10,.0f}{ratio:>9}", end="")
        print(f"{side.use.peak / 1e6:9,.0f}{side.best:13.1f}")
    missed = []
    if settings in BARS and len(sides) > 1:
        faster = min(side.use.seconds for side in sides[1:])
        bar = f"x {BARS[settings]:g} the faster peer: x {faster / own.use.seconds:.2f}"
        print(f"  bar: {bar}")
        missed += [bar] if faster / own.use.seconds < BARS[settings] else []
    study = next((side for side in sides if side.name == PEERS["optuna"]), None)
    if settings == 64 and study is not None:
        there = SLM_LAB * study.rate / OPTUNA
        bar = f"15 times SLM-Lab's search, on this machine about {there:,.0f} frames/s: x {own.rate / there:.1f}"
        print(f"  bar: {bar}")
        missed += [bar] if own.rate < 15 * there else []
    return missed


def search_here(raw: dict[str, Any], name: str) -> Side:
    """A search by `slmx run`, as a user types it."""
    cores = {"cpu": (os.cpu_count() or 1) / CORES}  # where there are more, a program gets its share of them
    raw = raw | {"meta": raw["meta"] | {"resources": cores}}
    with tempfile.TemporaryDirectory(prefix="slmx") as folder:
        place = Path(folder)
        (place / "spec.json").write_text(json.dumps({"bench": raw}))
        command = [sys.executable, "-m", "slmx", "run", str(place / "spec.json"), "search", "--data", str(place)]
        use = run_watched([*on_cores(CORES), *command], cwd=ROOT)
        (run,) = place.glob("bench_*")
        table = pd.read_csv(run / "experiment.csv")
        states = set(table["state"])
        if states != {"DONE"}:
            sys.exit(f"{run.name}: trials are {', '.join(sorted(states))}\n{use.output}")
        return Side(name, use, int(table["frames"].sum()), float(table["objective"].max()))


def search_there(python: str, library: str, name: str, settings: int, frames: int) -> Side:
    """The same by another library."""
    command = [python, str(HERE / "peers_search.py"), library, str(settings), str(frames)]
    use = run_watched([*on_cores(CORES), *command], cwd=ROOT, env=ONE_THREAD)
    found = json.loads(use.output.splitlines()[-1])
    if found["settings"] != settings:
        sys.exit(f"{name} tried {found['settings']} of {settings} settings")
    return Side(name, use, found["frames"], found["best"])


def trivial_spec(settings: int) -> dict[str, Any]:
    """A search over so many settings of an environment whose episodes have one step."""
    agent = {
        "name": "ppo",
        "algorithm": {"name": "PPO", "time_horizon": 16, "minibatch_size": 32, "training_epoch": 1},
        "memory": {"name": "Rollout"},
        "net": {"type": "MLP", "hid_layers": [8], "optim_spec": {"name": "Adam", "lr": 0.003}},
    }
    return {
        "agent": agent,
        "env": {"name": "tests.probes:Constant", "max_frame": 320},
        "body": {"num": 2},
        "meta": {"max_session": SEEDS, "max_trial": settings - 1, "validate": None},
        "search": {"agent.algorithm.gamma__uniform": [0.9, 0.999]},
    }
