"""Random streams, one per member: member i draws the same numbers alone and in company."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from slmx.lazy import torch
from slmx.member.axis import Membered

BLOCK = 4096  # numbers drawn at once from each member's generator: one Python loop over members a block, not a call


def seed_sequence(seed: int, trial: int, session: int, *purpose: str | int) -> np.random.SeedSequence:
    """The seed of one purpose (`"env", 0`) of one session: distinct purposes and sessions give independent streams."""
    key = tuple(zlib.crc32(p.encode()) if isinstance(p, str) else p for p in purpose)
    return np.random.SeedSequence([seed, trial, session], spawn_key=key)


def integer_seeds(seed: np.random.SeedSequence, count: int) -> list[int]:
    """`count` distinct-looking seeds in [0, 2**31), as environments take them."""
    return (seed.generate_state(count) >> 1).tolist()


def tensor_of(array: np.ndarray, dtype: torch.dtype, device: str) -> torch.Tensor:
    """An array as a tensor on a device; real numbers are rounded to `dtype`."""
    if array.dtype.kind == "f":  # numpy rounds a few numbers in half the time that torch takes
        array = array.astype(np.float64 if dtype is torch.float64 else np.float32, copy=False)
    tensor = torch.from_numpy(array)
    return tensor if device == "cpu" else tensor.to(device)


class Streams(Membered):
    """Uniform and normal numbers, integers and permutations for M members, each from its own library generators.

    All members draw equally many numbers, so which numbers member i gets depends on its seed and the calls alone.
    Who becomes a copy of another member draws its own numbers still.
    """

    own = ("_uniform", "_normal")

    def __init__(self, seeds: Sequence[np.random.SeedSequence], dtype: torch.dtype | None = None, device: str = "cpu"):
        children = [seed.spawn(3) for seed in seeds]
        uniform, normal, order = ([np.random.Generator(np.random.PCG64(c[i])) for c in children] for i in range(3))
        self.members, self.device = len(seeds), device
        self.dtype = dtype or torch.get_default_dtype()
        self._uniform = _Blocks([g.random for g in uniform])
        self._normal = _Blocks([g.standard_normal for g in normal])
        self._order = order

    def uniform(self, *shape: int) -> torch.Tensor:
        """Numbers in [0, 1), `[M, *shape]`."""
        return self._tensor(self._uniform.take(math.prod(shape)), shape)

    def normal(self, *shape: int) -> torch.Tensor:
        """Standard normal numbers, `[M, *shape]`."""
        return self._tensor(self._normal.take(math.prod(shape)), shape)

    def integers(self, high: int | Sequence[int], *shape: int) -> torch.Tensor:
        """Whole numbers in [0, high), `[M, *shape]`, int64; `high` of all, or of each along the last axis."""
        drawn = self._uniform.take(math.prod(shape)).reshape(self.members, *shape) * high
        return tensor_of(drawn.astype(np.int64), self.dtype, self.device)

    def permutation(self, n: int) -> torch.Tensor:
        """A random order of 0..n-1 per member, `[M, n]`, int64."""
        return tensor_of(np.stack([g.permutation(n) for g in self._order]), self.dtype, self.device)

    def keep(self, index: Sequence[int]) -> None:
        super().keep(index)
        self.members, self._order = len(index), [self._order[i] for i in index]

    def _tensor(self, drawn: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
        return tensor_of(drawn.reshape(self.members, *shape), self.dtype, self.device)


class _Blocks(Membered):
    """Numbers `[M, BLOCK]` drawn ahead from M generators and handed out in order, float64."""

    own = ("block",)

    def __init__(self, draws: Sequence[Callable[[int], np.ndarray]]):
        self.draws, self.at = draws, BLOCK
        self.block = np.empty((len(draws), BLOCK))

    def keep(self, index: Sequence[int]) -> None:
        super().keep(index)
        self.draws = [self.draws[i] for i in index]

    def take(self, n: int) -> np.ndarray:
        if self.at + n <= BLOCK:
            self.at += n
            return self.block[:, self.at - n : self.at].copy()  # the block will be written over
        left = self.block[:, self.at :]
        fresh = n - left.shape[1]
        whole = -(-fresh // BLOCK) * BLOCK
        drawn = np.stack([draw(whole) for draw in self.draws])
        taken = np.concatenate([left, drawn[:, :fresh]], 1)
        # what is left over of the last block waits at the end of the buffer
        self.at = BLOCK - (whole - fresh)
        self.block[:, self.at :] = drawn[:, fresh:]
        return taken
