"""The last transitions of every member, sampled again and again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from slmx.lazy import torch
from slmx.member.axis import Membered
from slmx.member.hyper import Int, NamedHyper, Stacked
from slmx.member.streams import Streams
from slmx.memory.ring import Ring

STAGED, BYTES = 256, 2**24  # additions, and about their bytes, that wait at most to be written into the ring together


@dataclass
class Transitions:
    """Sampled transitions, each field `[M, N, ...]`.

    `reward` is the discounted sum of the steps between obs and next_obs; `bootstrap` is the factor of the value that
    follows, 0 after a termination. `index` says where they lie; `weight` corrects for unequal sampling (None: equal).
    """

    obs: torch.Tensor
    action: torch.Tensor
    reward: torch.Tensor
    next_obs: torch.Tensor
    bootstrap: torch.Tensor
    index: torch.Tensor
    weight: torch.Tensor | None = None


class Replay(Membered):
    """A ring of `max_size` transitions per member, sampled uniformly (Lin, 1992)."""

    copied: ClassVar[tuple[str, ...]] = ("ring", "_staged")
    own = ("streams",)
    rings: ClassVar[type[Ring]] = Ring

    class Hyper(NamedHyper):
        """Uniform replay, optionally combined with the newest transition."""

        max_size: Int = Field(100_000, ge=1, description="transitions kept per environment")
        batch_size: Int = Field(32, ge=1, description="transitions per update and environment")
        use_cer: bool = Field(False, description="the newest transition is in every batch (combined experience replay)")

        def conflicts(self) -> dict[str, str]:
            if self.batch_size > self.max_size:
                return {"batch_size": f"{self.batch_size} is more than max_size {self.max_size}"}
            return {}

    @classmethod
    def observed_bytes(cls, shape: tuple[int, ...], itemsize: int) -> int:
        """About how many bytes the observations of a transition take."""
        return 2 * math.prod(shape) * itemsize

    def __init__(self, hp: Stacked, streams: Streams):
        self.hp, self.streams = hp, streams
        self.ring: Ring | None = None
        self.size = self.head = 0
        self._staged: list[tuple[torch.Tensor, ...]] = []
        self._most = STAGED

    def add(self, *row: torch.Tensor) -> None:
        """Keep B transitions: obs, action, reward, next_obs, bootstrap, each `[M, B, ...]`."""
        if not self._staged:
            self._most = min(STAGED, BYTES // sum(x.nbytes for x in row))
        self._staged.append(row)
        self.size = min(self.size + row[0].shape[1], self.hp.max_size)
        if len(self._staged) >= self._most:
            self.write()

    def write(self) -> None:
        """Put what is staged into the ring; whoever looks into the ring calls this first."""
        if not self._staged:
            return
        capacity = self.hp.max_size
        fields = [torch.cat(parts, 1) for parts in zip(*self._staged, strict=True)]
        if fields[0].shape[1] > capacity:  # the last that fit
            fields = [x[:, -capacity:] for x in fields]
        self._staged.clear()
        if self.ring is None:
            self.ring = self.rings(capacity, fields, self.streams.dtype)
        self.ring.write(self.head, fields)
        n = fields[0].shape[1]
        self._added(self.head, n)
        self.head = (self.head + n) % capacity

    def sample(self) -> Transitions:
        """A batch for every member, `[M, batch_size, ...]`; something must have been added.

        Combined experience replay (Zhang and Sutton, 2017, arXiv:1712.01275) puts the newest transition in its last
        place.
        """
        index, fields = self._read()
        return Transitions(*fields, index=index, weight=self._weigh(index))

    def learned(self, index: torch.Tensor, error: torch.Tensor) -> None:
        """Told after an update: the errors `[M, N]` of what lies at `index`; uniform replay needs none."""

    def _read(self) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Where a batch lies, and its fields."""
        self.write()
        assert self.ring is not None
        index = self._draw()
        if self.hp.use_cer:
            index[:, -1] = (self.head - 1) % self.hp.max_size
        return index, self.ring.read(index)

    def _added(self, head: int, n: int) -> None:
        """n transitions were written from `head` on."""

    def _draw(self) -> torch.Tensor:
        """Where the transitions of a batch lie, `[M, batch_size]`."""
        return self.streams.integers(self.size, self.hp.batch_size)

    def _weigh(self, index: torch.Tensor) -> torch.Tensor | None:
        """The weights of the transitions at `index`; None where all count the same."""
        return None
