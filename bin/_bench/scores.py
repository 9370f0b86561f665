"""Train the shipped specs and compare their returns with what is expected of them."""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from arguments import ROOT
from speed import HERE


class Bar(NamedTuple):
    """The mean final greedy return to reach in exactly so many frames, and what SLM-Lab v5 reports (None: nothing).

    `below`: the return is to stay under it, for what is hidden cannot be known without memory.
    """

    reach: float
    frames: int
    slm_lab: float | None = None
    below: bool = False

    def missed(self, mean: float) -> bool:
        """Whether a mean, which may be NaN, does not do."""
        return not (mean < self.reach if self.below else mean >= self.reach)


# SLM-Lab v5's figures are its training moving averages: https://github.com/kengz/SLM-Lab/blob/master/docs/BENCHMARKS.md
BARS = {
    ("PPO", "CartPole-v1"): Bar(495, 200_000, 499),
    ("A2C", "CartPole-v1"): Bar(495, 200_000, 497),
    ("REINFORCE", "CartPole-v1"): Bar(485, 200_000, 483),
    ("DDQN+PER", "CartPole-v1"): Bar(475, 200_000, 452),
    ("DQN", "CartPole-v1"): Bar(450, 200_000, 240),
    ("SARSA", "CartPole-v1"): Bar(435, 200_000, 431),
    ("PPO", "Acrobot-v1"): Bar(-84, 300_000, -81),
    ("A2C", "Acrobot-v1"): Bar(-84, 300_000, -84),
    ("DDQN+PER", "Acrobot-v1"): Bar(-84, 300_000, -84),
    ("PPO", "LunarLander-v3"): Bar(220, 300_000, 183),
    ("DDQN+PER", "LunarLander-v3"): Bar(250, 300_000, 266),
    ("A2C", "LunarLander-v3"): Bar(100, 300_000, 27),
    ("PPO", "Pendulum-v1"): Bar(-170, 300_000, -175),
    ("SAC", "Pendulum-v1"): Bar(-155, 50_000, -151),
    ("TD3", "Pendulum-v1"): Bar(-155, 50_000),
    ("CrossQ", "Pendulum-v1"): Bar(-155, 50_000, -146),
    ("DDPG", "Pendulum-v1"): Bar(-170, 50_000),
    ("SAC", "LunarLanderContinuous-v3"): Bar(230, 300_000, 125),
    ("TD3", "LunarLanderContinuous-v3"): Bar(200, 300_000),
    ("CrossQ", "LunarLanderContinuous-v3"): Bar(260, 300_000, 269),
    ("SAC", "BipedalWalker-v3"): Bar(280, 500_000),
    ("SAC", "HalfCheetah-v5"): Bar(5000, 300_000),
    ("SAC", "Hopper-v5"): Bar(2000, 300_000),
    ("PPO", "MiniGrid-DoorKey-5x5-v0"): Bar(0.9, 400_000),
    ("PPO+RNN", "CartPole-v1 masked"): Bar(450, 300_000),
    ("PPO", "CartPole-v1 masked"): Bar(150, 300_000, below=True),
    ("DRQN", "CartPole-v1 masked"): Bar(450, 300_000),
    ("DDQN", "CartPole-v1 masked"): Bar(150, 300_000, below=True),
}
LONGEST = 1_000_000  # frames of an environment in a spec that is trained without being named
# One agent in several environments at once, whatever its algorithm; frames in each environment.
JOINT_BARS = {"CartPole-v1": Bar(450, 400_000), "Acrobot-v1": Bar(-110, 400_000)}


def bench_scores(only: str, sessions: int, jobs: int, data: Path) -> int:
    """Train every shipped spec whose name matches and print a row per environment; 1 if a bar was missed, else 0.

    Those that take days, as Atari's do, are trained where `only` says more than "*".
    """
    specs = [
        spec for spec in shipped() if fnmatch.fnmatch(spec[1], only) and (only != "*" or frames(spec[2]) <= LONGEST)
    ]
    if not specs:
        sys.exit(f"no shipped spec is called {only!r}")
    print(f"final greedy return and training moving average, mean ± std over {sessions} sessions")
    print(f"{'environment':26}{'algorithm':16}{'frames':>9}{'final':>18}{'training':>18}{'bar':>7}{'SLM-Lab':>9}  spec")
    missed = []
    with ThreadPoolExecutor(jobs) as pool:
        runs = [pool.submit(train_apart, file, name, sessions, data) for file, name, _ in specs]
        for (file, name, raw), run in zip(specs, runs, strict=True):
            trial = run.result() / "trial_0"
            missed += print_rows(f"{file.relative_to(ROOT)}: {name}", raw, trial)
    print(f"\n{len(missed)} bars missed" + "".join(f"\n  {row}" for row in missed))
    return int(bool(missed))


def shipped() -> list[tuple[Path, str, dict[str, Any]]]:
    """(file, name, raw spec) of all shipped specs that a bench can train: no benchmarks, no files with variables."""
    found = []
    for file in sorted((ROOT / "spec").rglob("[!_]*.json")):
        text = file.read_text()
        if "${" not in text:
            found += [(file, name, raw) for name, raw in json.loads(text).items() if "benchmark" not in raw]
    return found


def frames(raw: dict[str, Any]) -> int:
    """Frames of a raw spec in the environment where it trains longest."""
    envs = raw["env"] if isinstance(raw["env"], list) else [raw["env"]]
    return max(env["max_frame"] for env in envs)


def print_rows(name: str, raw: dict[str, Any], trial: Path) -> list[str]:
    """Print a row per environment; what missed its bar."""
    table = pd.read_csv(trial / "trial.csv")
    envs, agents = (raw[key] if isinstance(raw[key], list) else [raw[key]] for key in ("env", "agent"))
    missed = []
    for (a, e), rows in table.groupby(["agent", "env"]):
        env, label = envs[e], algorithm(agents[a])
        where = env["name"] + (" masked" if env.get("visible") else "")
        joint = len(envs) > 1 and len(agents) == 1
        bar = JOINT_BARS.get(env["name"]) if joint else BARS.get((label, where))
        if bar and bar.frames != env["max_frame"]:
            bar = None
        done = rows[rows["state"] == "DONE"]
        final, training = done["final_return"], done["return_ma"]
        line = f"{where:26}{f'{label} (joint)' if joint else label:16}{env['max_frame']:9,.0f}"
        reach = f"{'<' * bar.below}{bar.reach}" if bar else ""
        digits = 1 if abs(final.mean()) >= 10 else 3
        line += "".join(f"{f'{own.mean():.{digits}f} ± {own.std():.{digits}f}':>18}" for own in (final, training))
        line += f"{reach:>7}{bar.slm_lab if bar and bar.slm_lab is not None else '':>9}  {name}"
        failed = len(rows) - len(done)
        short = bar is not None and (failed > 0 or bar.missed(final.mean()))
        line += f"  {failed} FAILED" if failed else ""
        print(line + ("  MISSED" if short else ""), flush=True)
        if short:
            missed.append(f"{env['name']} {label} ({name})")
    return missed


def algorithm(agent: dict[str, Any]) -> str:
    """How tables of results call an agent's algorithm."""
    name, recurrent = agent["algorithm"]["name"], agent.get("net", {}).get("type") == "RNN"
    if recurrent:
        name = "DRQN" if name == "DQN" else f"{name}+RNN"
    elif name == "DQN":
        name = "DDQN" if agent["algorithm"].get("double") else "DQN"
        name = f"C51 {name}" if agent["algorithm"].get("atoms") else name
        name = f"Dueling {name}" if agent["net"].get("dueling") else name
        name = f"Noisy {name}" if agent["net"].get("noisy") else name
    name = f"{name}+SIL" if agent["algorithm"].get("sil_iter") else name
    return f"{name}+PER" if (agent.get("memory") or {}).get("name", "").startswith("Prioritized") else name


def train_apart(file: Path, name: str, sessions: int, data: Path) -> Path:
    """Train one spec in a process of its own; the directory of its run."""
    command = [sys.executable, HERE, "train", file, name, "--sessions", str(sessions), "--data", data]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        sys.exit(f"{file}: {name} could not be trained")
    return Path(done.stdout.splitlines()[-1])


def train_one(file: Path, name: str, sessions: int, data: Path) -> None:
    """Train one spec here and print the directory of its run."""
    from slmx.lab import train
    from slmx.spec.load import load_one

    spec = load_one(file, name)
    spec = spec.model_copy(update={"meta": spec.meta.model_copy(update={"max_session": sessions})})
    print(train(spec, data=data, quiet=True).directory)
