"""Environments whose every number is known."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from slmx.env.base import Env, Spaces
from slmx.env.spec import EnvSpec


class Walk(gymnasium.Env):
    """A random walk with a Dict observation, which it emits in the same arrays every time. Ends beyond +-2."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, stride: float = 1.0, render_mode: str | None = None):
        self.render_mode = render_mode
        self.observation_space = spaces.Dict(
            {
                "where": spaces.Box(-np.inf, np.inf, (2,), np.float64),
                "side": spaces.Discrete(3, start=-1),
                "bits": spaces.MultiBinary(2),
                "pair": spaces.Tuple((spaces.Discrete(2), spaces.MultiDiscrete([2, 3]))),
            }
        )
        self.action_space = spaces.Discrete(2, start=1)
        self.stride = stride
        self._where, self._bits, self._pair = np.zeros(2), np.zeros(2, np.int8), np.zeros(2, np.int64)

    def _observe(self) -> dict[str, Any]:
        side = int(np.sign(self._where[0]))
        self._bits[:] = self._where > 0
        self._pair[:] = self._bits[0], side + 1
        return {"where": self._where, "side": side, "bits": self._bits, "pair": (int(self._bits[1]), self._pair)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        super().reset(seed=seed)
        self._where[:] = self.np_random.uniform(-1, 1, 2)
        return self._observe(), {}

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict]:
        assert action in (1, 2)
        self._where += self.stride * (action - 1.5) * self.np_random.uniform(0, 1, 2)
        return self._observe(), float(self._where.sum()), bool((np.abs(self._where) > 2).any()), False, {}

    def render(self) -> np.ndarray:
        return np.zeros((4, 5, 3), np.uint8)


class Strange(gymnasium.Env):
    """An environment with a space that nothing can be done with."""

    def __init__(self, which: str):
        text = spaces.Text(4)
        self.observation_space = text if which == "obs" else spaces.Discrete(2)
        pair = spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2)))
        self.action_space = pair if which == "action" else spaces.Discrete(2)


class Eyes(gymnasium.Env):
    """Observes a grid of cells, and among other parts an image of `size` pixels from side to side."""

    def __init__(self, size: int = 84):
        cells, image = (spaces.Box(0, 255, (side, side, 3), np.uint8) for side in (7, size))
        self.observation_space = spaces.Dict({"cells": cells, "eyes": spaces.Tuple((spaces.Discrete(2), image))})
        self.action_space = spaces.Discrete(2)


class Dials(gymnasium.Env):
    """Takes several choices at once, and observes them as they came, and a number that says which episode it is."""

    metadata = {"render_modes": ["rgb_array"]}
    action_space: spaces.Space = spaces.MultiDiscrete([[2, 3, 4], [5, 2, 3]], start=[[1, -2, 0], [3, 0, 10]])
    observation_space = spaces.Box(-np.inf, np.inf, (7,), np.float32)

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._episode = self.np_random.random()
        return np.array([0] * 6 + [self._episode], np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        now = np.array([*action.ravel(), self._episode], np.float32)
        return now, float(action.sum()), bool(self.np_random.random() < 0.1), False, {}

    def render(self) -> np.ndarray:
        return np.zeros((16, 16, 3), np.uint8)


class Switches(Dials):
    """The same with two choices each, which are in the environment no numbers to count with."""

    action_space = spaces.MultiBinary((3, 2))


class Narrow(gymnasium.Env):
    """Takes actions within bounds of which float32 knows but larger ones, and observes them."""

    observation_space = spaces.Box(-1, 1, (2,), np.float64)
    action_space = spaces.Box(np.array([-0.3, 0.0]), np.array([0.1, 0.7]), dtype=np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros(2), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        return action.copy(), 0.0, False, False, {}


class Tally(Env):
    """A multi-agent backend: two slots a copy, observing (seed, slot, time, sum of actions); three steps an episode."""

    backend = "tally"

    def __init__(self, spec: EnvSpec, seeds: np.ndarray, render_mode: str | None = None, threads: int = 1):
        super().__init__(spec, seeds, render_mode, threads)
        self._seeds = np.repeat(seeds.ravel(), 2)
        self._time, self._sum = np.zeros(2 * seeds.size), np.zeros(2 * seeds.size)

    @classmethod
    def names(cls) -> list[str]:
        return ["tally"]

    @classmethod
    def takes(cls, spec: EnvSpec) -> bool:
        return True

    @classmethod
    def describe(cls, spec: EnvSpec) -> Spaces:
        return Spaces("tally", spaces.Box(-np.inf, np.inf, (4,), np.float32), spaces.Discrete(5), slots=2, max_t=3)

    def _observe(self) -> np.ndarray:
        slot = np.tile([0, 1], len(self._seeds) // 2)
        return np.stack([self._seeds, slot, self._time, self._sum], axis=1).astype(np.float32)

    def _begin(self) -> np.ndarray:
        self._time[:] = self._sum[:] = 0
        return self._observe()

    def _advance(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        self._time += 1
        self._sum += action
        even = np.repeat(self._seeds[::2] % 2 == 0, 2)  # copies with an even seed end two steps in
        return self._observe(), self._sum.copy(), even & (self._time == 2), self._time == 3

    def _restart(self, ended: np.ndarray) -> np.ndarray:
        for flat in (self._time, self._sum):
            flat.reshape(-1, 2)[ended] = 0
        return self._observe().reshape(-1, 2, 4)[ended]

    def _picture(self) -> np.ndarray:
        return np.zeros((1, 1, 3), np.uint8)

    def close(self) -> None:
        pass
