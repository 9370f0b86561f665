"""From what agents do to what environments take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete

if TYPE_CHECKING:
    from torch import Tensor


def converter(space: Box | Discrete | MultiDiscrete) -> Callable[[Tensor], np.ndarray]:
    """From an agent's actions `[M, B]`, `[M, B, n]` or `[M, B, A]` to the environment's.

    Agents act in [-1, 1] on every bounded dimension, whatever the environment's units.
    """
    if not isinstance(space, Box):
        return lambda action: action.cpu().numpy()
    bounded = np.isfinite(space.low) & np.isfinite(space.high)
    low, high = np.where(bounded, space.low, -1.0), np.where(bounded, space.high, 1.0)
    shape = space.shape

    def convert(action: Tensor) -> np.ndarray:
        array = action.cpu().numpy().reshape(*action.shape[:2], *shape)
        scaled = low + (np.clip(array, -1.0, 1.0) + 1.0) * 0.5 * (high - low)
        return np.where(bounded, scaled, array).astype(np.float32)

    return convert
