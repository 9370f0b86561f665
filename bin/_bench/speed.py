"""Frames a second: each measurement in a process of its own with one thread on one core, interleaved; medians."""

from __future__ import annotations

import fnmatch
import json
import os
import statistics
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

from arguments import ROOT
from settings import ATARI

HERE = Path(__file__).parent
PEERS = {"stable-baselines3": "stable-baselines3", "cleanrl": "CleanRL's loop"}
PEER_PACKAGES = ["stable-baselines3==2.9.2", "ale-py==0.12.1", "opencv-python-headless==5.0.0.93"]
PEER_PACKAGES_AS_HERE = ["torch", "gymnasium[box2d]", "ray[tune]", "optuna"]
DISCRETE = ["CartPole-v1", "LunarLander-v3"]
ENVS = {"PPO": [*DISCRETE, "Pong-v5"], "A2C": DISCRETE, "DQN": DISCRETE, "SAC": ["Pendulum-v1"]}
# Frames per member. DQN and SAC start to learn after 1000, so all of their contenders run equally many.
FRAMES = {
    "PPO": {1: 102_400, 4: 51_200, 16: 20_480, 64: 10_240},
    "A2C": {1: 102_400, 4: 51_200, 16: 20_480, 64: 10_240},
    "DQN": {1: 10_000, 4: 10_000, 16: 10_000, 64: 10_000},
    "SAC": {1: 5_000, 4: 5_000, 16: 5_000, 64: 5_000},
}
PEER_FRAMES = {"PPO": 30_720, "DQN": 10_000, "SAC": 5_000}
LOOPS = ("PPO", "DQN")  # of CleanRL's
ATARI_FRAMES = 5_120


def bench_speed(only: str, peers: bool, quick: bool) -> None:
    """Measure and print the tables."""
    members = [1, 16] if quick else [1, 4, 16, 64]
    shrink = 4 if quick else 1
    python = peer_python() if peers else None
    contenders: dict[tuple[str, str, str], list[str]] = {}
    for algorithm, sizes in FRAMES.items():
        for env in ENVS[algorithm][:1] if quick else ENVS[algorithm]:
            for m in members[: 1 if env in ATARI else None]:
                frames = str(ATARI_FRAMES if env in ATARI else max(sizes[m] // shrink, 4096))
                # one environment alone is quicker without envpool's thread, and is what the peers step
                for backend in ("envpool", "gymnasium") if m == 1 and algorithm in ("DQN", "SAC") else ("envpool",):
                    setting = f"{algorithm}/{env}/{m}" + ("/gymnasium" if backend == "gymnasium" else "")
                    if fnmatch.fnmatch(setting, only):
                        who = f"{m}, {backend}" if backend == "gymnasium" else str(m)
                        contenders[algorithm, env, who] = [sys.executable, str(HERE), "one", setting, frames]
            measured = any(key[:2] == (algorithm, env) for key in contenders)
            if python and measured and algorithm in PEER_FRAMES:
                frames = ATARI_FRAMES if env in ATARI else max(PEER_FRAMES[algorithm] // shrink, 4096)
                for peer in PEERS if algorithm in LOOPS and env not in ATARI else list(PEERS)[:1]:
                    contenders[algorithm, env, peer] = [
                        str(python), str(HERE / "peers.py"), peer, algorithm, env, str(frames)
                    ]  # fmt: skip
    if not contenders:
        sys.exit(f"nothing is called {only!r}; names are such as PPO/CartPole-v1/16")
    rates: dict[tuple[str, str, str], list[float]] = {key: [] for key in contenders}
    rounds = 1 if quick else 3
    for r in range(rounds):
        for n, (key, command) in enumerate(contenders.items(), 1):
            progress(f"round {r + 1}/{rounds}, {n}/{len(contenders)}: {' '.join(key)}")
            result = run_alone(command)
            rates[key].append(result["frames"] / result["seconds"])
    progress("")
    print_tables(rates)


def print_tables(rates: dict[tuple[str, str, str], list[float]]) -> None:
    """A table per environment: frames a second, and the ratio to each peer that was measured beside it."""
    median = {key: statistics.median(values) for key, values in rates.items()}
    rounds = len(next(iter(rates.values())))
    for env in dict.fromkeys(key[1] for key in rates):
        print(f"\n{env}: frames/s on one core, one thread (median of {rounds}, lowest and highest)")
        present = [peer for peer in PEERS if any(key[1:] == (env, peer) for key in rates)]
        print(f"  {'':30}{'frames/s':>10}{'lowest':>10}{'highest':>10}" + "".join(f"{f'/ {p}':>21}" for p in present))
        for algorithm, _, who in (key for key in rates if key[1] == env):
            key = algorithm, env, who
            name = f"{algorithm} {PEERS[who]}" if who in PEERS else f"{algorithm} slmx, M = {who}"
            line = f"  {name:30}{median[key]:10,.0f}{min(rates[key]):10,.0f}{max(rates[key]):10,.0f}"
            for peer in present:
                other = median.get((algorithm, env, peer))
                line += f"{f'{median[key] / other:.2f}' if other and who not in PEERS else '':>21}"
            print(line)


def run_alone(command: list[str]) -> dict[str, Any]:
    """A command's last line of JSON, run on the last core that this process may use, with one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    if sys.platform == "linux":
        command = ["taskset", "--cpu-list", str(max(os.sched_getaffinity(0))), *command]
    done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def peer_python() -> Path:
    """The interpreter of .venv-peers, made at first use, with the versions of the lab's own packages."""
    place = ROOT / ".venv-peers"
    python, stamp = place / "bin" / "python", place / "set-up"
    wanted = [
        *PEER_PACKAGES,
        *(f"{name}=={version(name.partition('[')[0]).partition('+')[0]}" for name in PEER_PACKAGES_AS_HERE),
    ]
    if not stamp.exists() or stamp.read_text().split() != wanted:
        progress("making .venv-peers with stable-baselines3, Ray Tune and Optuna")
        if not stamp.exists():
            venv.create(place, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", *wanted], check=True)
        stamp.write_text("\n".join(wanted) + "\n")
    return python


def progress(text: str) -> None:
    """Say on stderr what is being done, on one line where that is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)
