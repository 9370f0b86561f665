"""Peak resident memory of many members."""

from __future__ import annotations

import sys

from speed import HERE, run_alone


def bench_memory(members: int = 64, frames: int = 10_240) -> None:
    """Train PPO on CartPole with so many members in a process of its own and print its peak."""
    result = run_alone([sys.executable, str(HERE), "one", f"PPO/CartPole-v1/{members}", str(frames)])
    print(f"{members} members of PPO on CartPole-v1: {result['peak_mb']:,.0f} MB resident at most")
