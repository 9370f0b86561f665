"""The command line of bin/bench."""

from __future__ import annotations

import argparse
from pathlib import Path

ROOT = Path(__file__).parents[2]


def parser() -> argparse.ArgumentParser:
    """speed, search, searchers, scores, halving, memory; `one` and `train` are what they run in own processes."""
    bench = argparse.ArgumentParser(prog="bin/bench", description="Measures the lab.")
    commands = bench.add_subparsers(
        dest="command", required=True, metavar="{speed,search,searchers,scores,halving,memory}"
    )

    speed = commands.add_parser("speed", help="frames a second on one core with one thread")
    speed.add_argument("--peers", action="store_true", help="measure other libraries beside it, and print the ratios")
    speed.add_argument("--quick", action="store_true", help="a glance: fewer frames, one round, CartPole, M = 1 and 16")
    speed.add_argument("--only", default="*", metavar="PATTERN", help="such as 'DQN/*' or '*/CartPole-v1/16'")

    search = commands.add_parser("search", help="a whole search: wall-clock time, memory, bars")
    search.add_argument("--peers", action="store_true", help="run the same search with other libraries, one by one")
    search.add_argument("--quick", action="store_true", help="a glance: few frames, few settings, no bars")
    search.add_argument("--settings", type=int, metavar="N", help="how many settings (16; with --quick 4)")

    searchers = commands.add_parser(
        "searchers", help="searchers beside random search, over many repeats of a noisy toy"
    )
    searchers.add_argument(
        "names",
        nargs="*",
        default=["optuna"],
        metavar="NAME",
        help="optuna, cmaes, gp, hyperopt, nevergrad, bohb (optuna)",
    )
    searchers.add_argument("--settings", type=int, default=64, metavar="N", help="settings of each search (64)")
    searchers.add_argument("--repeats", type=int, default=50, metavar="N", help="searches by each searcher (50)")
    searchers.add_argument("--quick", action="store_true", help="a glance: three repeats, no bar")

    scores = commands.add_parser("scores", help="train the shipped specs and compare their returns with the bars")
    scores.add_argument("--only", default="*", metavar="PATTERN", help="names of specs, such as '*cartpole*'")
    scores.add_argument("--sessions", type=int, default=16, metavar="N", help="seeds of each spec (16)")
    scores.add_argument("--jobs", type=int, default=1, metavar="N", help="specs trained at the same time (1)")
    scores.add_argument(
        "--data", type=Path, default=ROOT / "data" / "scores", metavar="DIR", help="where runs are kept"
    )

    halving = commands.add_parser(
        "halving", help="search with and without successive halving: frames and best objective"
    )
    halving.add_argument("--settings", type=int, default=64, metavar="N", help="beside the spec's own (64)")
    halving.add_argument("--sessions", type=int, default=4, metavar="N", help="seeds of each (4)")
    halving.add_argument("--frames", type=int, default=50_000, metavar="N", help="of each session (50000)")
    halving.add_argument("--seeds", type=int, default=3, metavar="N", help="searches of each kind (3)")
    halving.add_argument(
        "--data", type=Path, default=ROOT / "data" / "halving", metavar="DIR", help="where searches are kept"
    )

    commands.add_parser("memory", help="peak resident memory of 64 members of PPO on CartPole")

    one = commands.add_parser("one")
    one.add_argument("setting", help="algorithm/environment/members")
    one.add_argument("frames", type=int, help="per member")

    train = commands.add_parser("train")
    train.add_argument("file", type=Path)
    train.add_argument("name")
    train.add_argument("--sessions", type=int, required=True)
    train.add_argument("--data", type=Path, required=True)
    return bench
