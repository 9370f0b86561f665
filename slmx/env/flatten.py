"""Observations as flat float32 vectors, whole batches at once; images stay uint8, channels first.

Discrete becomes one-hot; Dict and Tuple are concatenated in the order of the space, as `gymnasium.spaces.flatten` does
for a single observation. Actions are Discrete, a flat vector of such, or one of real numbers.

An image is a uint8 Box of two to four axes: `[H, W]`, `[H, W, C]` or `[C, H, W]`, or a stack of such along an axis
before them. It becomes `[C, H, W]`, the oldest of a stack first. Of three axes the first or the last is the channels',
whichever is shorter, the first where they are equal. In a Dict or Tuple an image is numbers like any others where it is
as small as grids of cells are; a larger one is refused, for nobody would see it as an image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import Space, spaces

from slmx.errors import SpecError

GRID = 16  # cells of a grid from side to side: what has more in both directions is an image


def is_image(space: Space) -> bool:
    """Whether an observation stays an image: uint8 with two to four axes."""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and 2 <= len(space.shape) <= 4


def channels_first(batch: np.ndarray) -> np.ndarray:
    """Images `[N, ...]` as `[N, C, H, W]`, in memory of their own."""
    shape = batch.shape[1:]
    if len(shape) > 2 and shape[-1] < shape[-3]:
        batch = np.moveaxis(batch, -1, -3)
    height, width = batch.shape[-2:]
    return np.array(batch, order="C").reshape(len(batch), -1, height, width)


def flat_obs_space(space: Space) -> spaces.Box:
    """The space of flattened observations, without bounds: envpool's are wrong for Box2D and dm_control."""
    if is_image(space):
        (image,) = channels_first(np.empty((1, *(space.shape or ())), np.uint8))
        return spaces.Box(0, 255, image.shape, np.uint8)
    return spaces.Box(-np.inf, np.inf, (_width(space),), np.float32)


def visible_space(space: spaces.Box, visible: Sequence[int] | None) -> spaces.Box:
    """Of a flat observation space the numbers `visible`, in that order; SpecError where there are no such."""
    if visible is None:
        return space
    if space.dtype == np.uint8:
        raise SpecError("visible", "images have no numbers to choose from")
    if len(set(visible)) < len(visible):
        raise SpecError("visible", f"{list(visible)} names a number twice")
    if beyond := [i for i in visible if i >= space.shape[0]]:
        raise SpecError("visible", f"{beyond[0]} is no index of an observation, which has {space.shape[0]} numbers")
    return spaces.Box(space.low[list(visible)], space.high[list(visible)], dtype=np.float32)


def flat_action_space(space: Any) -> spaces.Discrete | spaces.MultiDiscrete | spaces.Box:
    """The space of actions as agents see it: Discrete from 0, MultiDiscrete from 0 with one axis, a Box with one axis.

    MultiBinary is MultiDiscrete with two choices each. SpecError for any other space.
    """
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(space.nvec.ravel())
    if isinstance(space, spaces.MultiBinary):
        return spaces.MultiDiscrete([2] * math.prod(space.shape))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return spaces.Box(space.low.ravel().astype(np.float32), space.high.ravel().astype(np.float32), dtype=np.float32)
    known = "neither Discrete, MultiDiscrete, MultiBinary nor a Box of real numbers"
    raise SpecError("name", f"its action space {space} is {known}")


def action_start(space: Any) -> Any:
    """What turns actions `[N]` or `[N, A]` as agents see them into a space's own: to be added, a number or `[A]`."""
    return space.start.ravel() if isinstance(space, spaces.MultiDiscrete) else getattr(space, "start", 0)


def flatten(space: Space, batch: Any) -> np.ndarray:
    """A batch of observations `[N, ...]` of `space`: float32 `[N, D]`, or uint8 `[N, C, H, W]`. Always a copy."""
    if is_image(space):
        return channels_first(np.asarray(batch))
    if isinstance(space, spaces.Box):
        return np.array(batch, np.float32).reshape(len(batch), -1)
    return np.concatenate(_columns(space, batch), axis=1, dtype=np.float32, casting="same_kind")


def _width(space: Space, place: str = "") -> int:
    """How many numbers an observation is; `place`: of a part, in the whole."""
    if isinstance(space, spaces.Dict):
        return sum(_width(part, f"{place}.{key}") for key, part in space.spaces.items())
    if isinstance(space, spaces.Tuple):
        return sum(_width(part, f"{place}.{i}") for i, part in enumerate(space.spaces))
    if is_image(space) and sorted(space.shape or ())[-2] > GRID:
        raise SpecError(
            "name",
            f'the part "{place[1:]}" of its observations is an image {space.shape}, of which but numbers would be left',
            "let a wrapper leave it out (FilterObservation), or show it alone (one of your own)",
        )
    if isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiBinary | spaces.MultiDiscrete):
        return spaces.flatdim(space)
    raise SpecError("name", f"observations of {space} cannot be flattened", "wrap it so that it emits numbers")


def _columns(space: Space, batch: Any) -> list[np.ndarray]:
    if isinstance(space, spaces.Dict):
        return [column for key, part in space.spaces.items() for column in _columns(part, batch[key])]
    if isinstance(space, spaces.Tuple):
        parts = zip(space.spaces, batch, strict=True)
        return [column for part, values in parts for column in _columns(part, values)]
    values = np.asarray(batch)
    values = values.reshape(len(values), -1)
    if isinstance(space, spaces.Discrete):
        return [values - space.start == np.arange(space.n)]
    if isinstance(space, spaces.MultiDiscrete):
        places = zip(values.T, space.start.ravel(), space.nvec.ravel(), strict=True)
        return [value[:, None] - start == np.arange(count) for value, start, count in places]
    return [values]
