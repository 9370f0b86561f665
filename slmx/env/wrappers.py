"""Wrappers for games that are seen as images: what of an image is kept, which actions there are, what idling costs.

A spec names them as it names gymnasium's, which repeat an action (RepeatAction) and stack the last images
(FrameStackObservation: where an episode begins, its first image stands for those before it). Images are uint8 `[H, W]`
or `[H, W, C]`, and stay so; none that comes in is written to. SpecError where arguments make no sense.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from slmx.errors import SpecError, did_you_mean

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue are (ITU-R BT.601)."""

__all__ = ["AllowedActions", "BinaryImage", "CropImage", "GreyImage", "ResizeImage", "StepPenalty"]


class ImageWrapper(gymnasium.ObservationWrapper):
    """Base of those that change each image by itself; `observation` must be ready when this is made."""

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, Box) or space.dtype != np.uint8 or len(space.shape) not in (2, 3):
            raise SpecError("", f"it needs single images, of numbers from 0 to 255, not {space}", "stack them last")
        shape = self.observation(np.zeros(space.shape, np.uint8)).shape
        self.observation_space = Box(0, 255, shape, np.uint8)


class CropImage(ImageWrapper):
    """The rows and columns from one up to another, which count from the end where they are negative; null: all."""

    def __init__(self, env: gymnasium.Env, rows: list[int] | None = None, columns: list[int] | None = None):
        self._rows, self._columns = _range("rows", rows), _range("columns", columns)
        super().__init__(env)
        before, after = env.observation_space.shape or (), self.observation_space.shape or ()
        for key, asked, had, left in zip(("rows", "columns"), (rows, columns), before, after, strict=False):
            if not left:
                raise SpecError(key, f"{asked} leaves nothing of {had}")

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation[self._rows, self._columns]


class ResizeImage(ImageWrapper):
    """To `input_dim` rows and columns, each pixel the mean of the area that it covers (OpenCV's INTER_AREA)."""

    def __init__(self, env: gymnasium.Env, input_dim: int):
        self._size = _whole("input_dim", input_dim, 1)
        super().__init__(env)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        sums = _sums_of_shares(_sums_of_shares(observation.astype(np.int64), self._size, 0), self._size, 1)
        return np.rint(sums / math.prod(observation.shape[:2])).astype(np.uint8)


class GreyImage(ImageWrapper):
    """From three colours to one channel `[H, W, 1]`, each with its weight; by default as bright as they look."""

    def __init__(self, env: gymnasium.Env, weights: Sequence[float] = LUMA):
        given = isinstance(weights, list | tuple) and all(_is_number(weight) and weight >= 0 for weight in weights)
        if not given or len(weights) != 3 or not sum(weights):
            raise SpecError("weights", f"must be three numbers >= 0, for red, green and blue, not {weights!r}")
        self._weights = np.array(weights) / sum(weights)
        if (env.observation_space.shape or ())[2:] != (3,):
            raise SpecError("", f"it needs images of three colours, not {env.observation_space}")
        super().__init__(env)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return np.rint((observation * self._weights).sum(-1, keepdims=True)).astype(np.uint8)


class BinaryImage(ImageWrapper):
    """White (255) where an image is brighter than `threshold`, else black (0)."""

    def __init__(self, env: gymnasium.Env, threshold: int):
        self._threshold = _whole("threshold", threshold, 0, 254)
        super().__init__(env)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return np.where(observation > self._threshold, np.uint8(255), np.uint8(0))


class AllowedActions(gymnasium.ActionWrapper):
    """Some of the actions alone, in this order: by their number, or as an Atari game calls them, "NOOP" or "RIGHT"."""

    def __init__(self, env: gymnasium.Env, actions: Sequence[int | str]):
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, Discrete):
            raise SpecError("", f"it chooses among actions that can be counted, not from {space}")
        if not isinstance(actions, list | tuple) or not actions:
            raise SpecError("actions", f"must be a list of actions, not {actions!r}")
        called = env.get_wrapper_attr("get_action_meanings")() if env.has_wrapper_attr("get_action_meanings") else []
        numbers = [_number_of(action, f"actions.{i}", int(space.n), called) for i, action in enumerate(actions)]
        for i, number in enumerate(numbers):
            if number in numbers[:i]:
                raise SpecError(f"actions.{i}", f"{actions[i]!r} stands there already")
        self.action_space = Discrete(len(numbers))
        self._numbers = [int(space.start) + number for number in numbers]
        self._called = [called[number] for number in numbers] if called else []

    def get_action_meanings(self) -> list[str]:
        """What the game calls these actions; nothing where it has no names for them."""
        return self._called

    def action(self, action: Any) -> int:
        return self._numbers[int(action)]


class StepPenalty(gymnasium.RewardWrapper):
    """A step that is rewarded with nothing costs `step_penalty`, in the tables too."""

    def __init__(self, env: gymnasium.Env, step_penalty: float):
        if not _is_number(step_penalty) or not 0 <= step_penalty < math.inf:
            raise SpecError("step_penalty", f"must be a number >= 0, not {step_penalty!r}")
        super().__init__(env)
        self._idle = 0.0 - step_penalty

    def reward(self, reward: Any) -> float:
        return float(reward) or self._idle


def _sums_of_shares(values: np.ndarray, count: int, axis: int) -> np.ndarray:
    """The sums over `count` equal shares of an axis, each times `count`; what lies in two of them is divided.

    They are whole numbers of whole numbers, so they are the same on every machine.
    """
    values = np.moveaxis(values, axis, 0)
    size = len(values)
    ends = np.arange(count + 1) * size  # of the shares, in parts of which each value has `count`
    before, parts = np.divmod(ends, count)
    total = np.concatenate([np.zeros_like(values[:1]), values.cumsum(0)])
    divided = values[np.minimum(before, size - 1)] * parts.reshape(-1, *[1] * (values.ndim - 1))
    return np.moveaxis(np.diff(total[before] * count + divided, axis=0), 0, axis)


def _range(key: str, limits: Any) -> slice:
    """From the first of two limits up to the second."""
    if limits is None:
        return slice(None)
    whole = isinstance(limits, list) and all(limit is None or type(limit) is int for limit in limits)
    if not whole or len(limits) != 2:
        raise SpecError(key, f"must be two integers, [from, to], not {limits!r}")
    return slice(*limits)


def _whole(key: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number within bounds."""
    if type(value) is not int or value < least or (most is not None and value > most):
        bounds = f">= {least}" if most is None else f"from {least} to {most}"
        raise SpecError(key, f"must be an integer {bounds}, not {value!r}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number_of(action: Any, path: str, count: int, called: Sequence[str]) -> int:
    """The number of an action, from 0, that is given as such or by what a game calls it."""
    if isinstance(action, str) and called:
        if action not in called:
            raise SpecError(path, f'the game has no action "{action}"', did_you_mean(action, called))
        return called.index(action)
    if isinstance(action, str):
        raise SpecError(path, f'"{action}": these actions have no names', f"give their numbers, from 0 to {count - 1}")
    return _whole(path, action, 0, count - 1)
