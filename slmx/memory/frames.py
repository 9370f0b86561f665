"""Replay of images that keeps each picture once, whatever stacks it is part of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar

from slmx.lazy import torch
from slmx.memory import room
from slmx.memory.prioritized import PrioritizedReplay
from slmx.memory.replay import Replay
from slmx.memory.ring import Ring

if TYPE_CHECKING:
    import numpy as np

RECENT = 4096  # pictures of a member, the last of all its bodies, among which each is looked for
SPARE = 1 / 32  # so many more pictures than transitions there is room for at first: L steps of an episode show L + 1


class FrameRing(Ring):
    """A ring of transitions whose observations are uint8 images `[M, n, C, H, W]`, with their pictures `[H, W]` apart.

    A picture that was among the last is not kept again. So stacks of frames take one picture a step, and come out as
    they went in, however episodes begin. Each member numbers its pictures as they come, and picture i lies at place
    `i % room` for as long as some transition needs it: where more are needed than there is room for, the room grows.
    """

    copied = ("count", "oldest")

    def __init__(self, capacity: int, like: Sequence[torch.Tensor], dtype: torch.dtype):
        obs, action, reward, _, bootstrap = like
        members, n, self.channels, *self.size = obs.shape
        numbers = torch.zeros(members, n, 2 * self.channels, dtype=torch.int32, device=obs.device)
        super().__init__(capacity, [numbers, action, reward, bootstrap], dtype)
        self.pictures = room.zeros(members, math.ceil(capacity * (1 + SPARE)), math.prod(self.size), like=obs)
        self.count = torch.zeros(members, dtype=torch.int64, device=obs.device)
        self.oldest = torch.zeros_like(self.count)  # no transition needs a number below it
        self.rows = 0
        self.recent: list[dict[bytes, int]] = [{} for _ in range(members)]  # numbers by the digest of what they show

    def follow(self, index: Sequence[int]) -> None:
        super().follow(index)
        self.pictures = room.chosen(self.pictures, index)
        self.recent = [dict(self.recent[i]) for i in index]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.pictures = room.settled(self.pictures)

    def write(self, head: int, fields: Sequence[torch.Tensor]) -> None:
        obs, action, reward, next_obs, bootstrap = fields
        shown = torch.cat([obs, next_obs], 2).flatten(3)
        found = [self._number(member, own) for member, own in enumerate(shown.cpu().numpy())]
        numbers = torch.tensor([own for own, _ in found], dtype=torch.int32, device=obs.device).view(shown.shape[:3])
        super().write(head, [numbers, action, reward, bootstrap])
        self.rows = min(self.rows + obs.shape[1], self.capacity)
        self.oldest = torch.minimum(self.oldest, numbers.flatten(1).amin(1))
        self._make_room([len(fresh) for _, fresh in found])
        for member, (_, fresh) in enumerate(found):
            self.pictures[member, self._places(member, len(fresh))] = shown[member].flatten(0, 1)[fresh]
            self.count[member] += len(fresh)

    def read(self, index: torch.Tensor) -> list[torch.Tensor]:
        numbers, action, reward, bootstrap = super().read(index)
        members, places, _ = self.pictures.shape
        first = places * torch.arange(members, device=index.device)
        at = numbers % places + first[:, None, None]
        images = self.pictures.flatten(0, 1).index_select(0, at.flatten()).view(*numbers.shape, *self.size)
        obs, next_obs = images.split(self.channels, 2)
        return [obs, action, reward, next_obs, bootstrap]

    def _number(self, member: int, shown: np.ndarray) -> tuple[list[int], list[int]]:
        """The number of each picture `[n, 2 C, H W]`, in their order, and which of them are new."""
        recent, following = self.recent[member], int(self.count[member])
        reach = min(RECENT, self.capacity)
        numbers: list[int] = []
        fresh: list[int] = []
        for i, picture in enumerate(shown.reshape(-1, shown.shape[-1])):
            digest = blake2b(picture.tobytes(), digest_size=16).digest()
            if digest not in recent:
                recent[digest] = following
                following += 1
                fresh.append(i)
                if following > reach and recent[eldest := next(iter(recent))] < following - reach:
                    del recent[eldest]
            numbers.append(recent[digest])
        return numbers, fresh

    def _places(self, member: int, n: int) -> torch.Tensor:
        """Where a member's next n pictures go."""
        return (self.count[member] + torch.arange(n, device=self.count.device)) % self.pictures.shape[1]

    def _make_room(self, coming: Sequence[int]) -> None:
        """For so many pictures of each member beside all that are needed."""
        members, places, size = self.pictures.shape
        following = self.count + torch.tensor(coming, device=self.count.device)
        if int((following - self.oldest).max()) <= places:
            return
        held = self.stores[torch.int32].view(members, self.capacity, -1)[:, : self.rows]
        self.oldest = held.flatten(1).amin(1).long()
        needed = int((following - self.oldest).max())
        if needed <= places:
            return
        pictures = room.zeros(members, max(needed, places + places // 4), size, like=self.pictures)
        # also what no transition needs, but would be found again
        first = torch.minimum(self.oldest, (self.count - min(RECENT, self.capacity)).clamp(min=0))
        for member, (start, end) in enumerate(zip(first.tolist(), self.count.tolist(), strict=True)):
            kept = torch.arange(start, end, device=pictures.device)
            pictures[member, kept % pictures.shape[1]] = self.pictures[member, kept % places]
        self.pictures = pictures


class OfFrames:
    """What the replays of images have in common."""

    rings: ClassVar[type[Ring]] = FrameRing

    @classmethod
    def misfits(cls, hyper: Any, shape: tuple[int, ...]) -> dict[str, str]:
        """Keys that do not fit observations of that shape, each with what is wrong."""
        return {} if len(shape) == 3 else {"name": f"it keeps pictures of images, not {math.prod(shape)} numbers"}

    @classmethod
    def observed_bytes(cls, shape: tuple[int, ...], itemsize: int) -> int:
        """About how many bytes the observations of a transition take."""
        return math.ceil(math.prod(shape[1:]) * (1 + SPARE)) + 8 * shape[0]


class FrameReplay(OfFrames, Replay):
    """Replay of images, each picture of a stack kept once."""


class PrioritizedFrameReplay(OfFrames, PrioritizedReplay):
    """Prioritised replay of images, each picture of a stack kept once."""
