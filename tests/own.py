"""Environments as a user writes them, outside slmx: named in specs by import path, `tests.own:Class`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Corridor(gymnasium.Env):
    """Eight cells in a row; right is worth 1 at the end, every step costs a little."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}

    def __init__(self, length: int = 8, render_mode: str | None = None):
        self.length, self.render_mode, self.at = length, render_mode, 0
        self.observation_space = spaces.Box(0, 1, (2,), np.float32)
        self.action_space = spaces.Discrete(2)

    def observe(self) -> np.ndarray:
        return np.array([self.at / self.length, 1.0], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.at = int(self.np_random.integers(self.length // 2))
        self.steps = 0
        return self.observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.at = max(0, self.at + (1 if action == 1 else -1))
        self.steps += 1
        end = self.at >= self.length
        return self.observe(), 1.0 if end else -0.01, end, self.steps >= 40, {}

    def render(self) -> np.ndarray:
        picture = np.zeros((16, 16 * (self.length + 1), 3), np.uint8)
        picture[:, 16 * self.at : 16 * (self.at + 1)] = 255
        return picture


class Poisoned(Corridor):
    """A corridor whose every reward is NaN under some seeds."""

    def __init__(self, seeds: Sequence[int] = (), render_mode: str | None = None):
        super().__init__(render_mode=render_mode)
        self.seeds, self.sick = seeds, False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.sick = self.sick or seed in self.seeds
        return super().reset(seed=seed)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, reward, terminated, truncated, rest = super().step(action)
        return obs, float("nan") if self.sick else reward, terminated, truncated, rest


class Worth(gymnasium.Env):
    """Episodes of ten steps, each worth the same whatever is done. It breaks after `patience` steps."""

    def __init__(self, worth: float = 0.0, patience: int = 10**9, render_mode: str | None = None):
        self.worth, self.patience, self.age = worth, patience, 0
        self.observation_space, self.action_space = spaces.Box(0, 1, (1,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.age += 1
        if self.age > self.patience:
            raise ValueError("it is broken")
        return np.zeros(1, np.float32), self.worth, False, self.age % 10 == 0, {}


class Deadly(Corridor):
    """A corridor that may take the whole process with it."""

    def __init__(self, deadly: bool = True, render_mode: str | None = None):
        super().__init__(render_mode=render_mode)
        self.deadly = deadly

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        if self.deadly:
            os._exit(1)
        return super().step(action)


class Strange(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, message: str, more: int):
        super().__init__(message)


class Frail(Corridor):
    """A corridor whose steps take `seconds`, of which the one of number `breaks` breaks.

    `once`: it cannot be made in another process than the first; `mark`, `farewell`: files that tell of its first step
    and of its end.
    """

    def __init__(
        self,
        breaks: int = 10**9,
        strange: bool = False,
        seconds: float = 0.0,
        once: bool = False,
        mark: str = "",
        farewell: str = "",
        render_mode: str | None = None,
    ):
        super().__init__(render_mode=render_mode)
        self.breaks, self.strange, self.seconds = breaks, strange, seconds
        self.mark, self.farewell, self.age = mark, farewell, 0
        if once and "slmx.env.workers" in sys.modules and "pytest" not in sys.modules:
            raise ArithmeticError("nobody is to make it twice")

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.age += 1
        if self.mark:
            Path(self.mark).touch()
        if self.seconds:
            time.sleep(self.seconds)
        if self.age == self.breaks:
            raise Strange(f"it broke at {self.age}", 1) if self.strange else ArithmeticError(f"it broke at {self.age}")
        return super().step(action)

    def close(self) -> None:
        if self.farewell and hasattr(self, "steps"):
            with Path(self.farewell).open("a") as file:
                file.write(".")
