"""Whole episodes, learned from once and forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from slmx.lazy import torch
from slmx.member.axis import Membered
from slmx.member.hyper import Int, NamedHyper
from slmx.memory.batch import Batch

if TYPE_CHECKING:
    from slmx.env.base import Step


class Episodes(Membered):
    """Collects episodes; a member is ready when it has enough of them, whatever the others do.

    Since episodes differ in length, members become ready at different times: `take` hands out the episodes of the ready
    members alone, one after another on the time axis, padded to the longest.
    """

    copied = ("windows",)

    class Hyper(NamedHyper):
        """Whole episodes since the last update."""

        episodes: Int = Field(1, ge=1, description="episodes per update, over all bodies of the agent")

    def __init__(self, episodes: int, members: int, ports: int):
        self.episodes = episodes
        self.counts = [0] * members
        self.windows = [_Window(members) for _ in range(ports)]

    def add(
        self, port: int, obs: torch.Tensor, action: torch.Tensor, step: Step, state: torch.Tensor | None = None
    ) -> None:
        """Keep one step `[M, B, ...]` of a port. No `state` is kept: what it hands out begins with an episode."""
        for member in self.windows[port].add((obs, action, step.reward, step.next_obs, step.terminated, step.done)):
            self.counts[member] += 1

    def ready(self) -> list[int]:
        """The members that have enough episodes."""
        return [member for member, count in enumerate(self.counts) if count >= self.episodes]

    def take(self, members: Sequence[int]) -> list[Batch]:
        """The finished episodes of `members` as `[len(members), T, 1, ...]`, a batch for every port that has any."""
        for member in members:
            self.counts[member] = 0
        batches = (window.take(port, members) for port, window in enumerate(self.windows))
        return [batch for batch in batches if batch is not None]

    def follow(self, index: Sequence[int]) -> None:
        self.counts = [self.counts[i] for i in index]


class _Window(Membered):
    """The steps of one port since the start of the oldest episode still needed, each field `[M, C, B, ...]`."""

    copied = ("fields",)

    def __init__(self, members: int):
        self.fields: list[torch.Tensor] = []
        self.length = 0
        self.start: list[list[int]] = []
        self.finished: list[list[tuple[int, int, int]]] = [[] for _ in range(members)]

    def add(self, row: tuple[torch.Tensor, ...]) -> list[int]:
        """Keep one row; returns the members of the episodes that ended with it."""
        if not self.fields:
            self.fields = [x.new_empty(x.shape[0], 256, *x.shape[1:]) for x in row]
            self.start = [[0] * row[0].shape[1] for _ in self.finished]
        if self.length == self.fields[0].shape[1]:
            self._make_room()
        for field, x in zip(self.fields, row, strict=True):
            field[:, self.length] = x
        self.length += 1
        ended = row[-1].nonzero().tolist() if bool(row[-1].any()) else []
        for member, body in ended:
            self.finished[member].append((body, self.start[member][body], self.length))
            self.start[member][body] = self.length
        return [member for member, _ in ended]

    def take(self, port: int, members: Sequence[int]) -> Batch | None:
        spans = [self.finished[member] for member in members]
        longest = max((sum(t1 - t0 for _, t0, t1 in own) for own in spans), default=0)
        if longest == 0:
            return None
        taken = [field.new_zeros(len(members), longest, 1, *field.shape[3:]) for field in self.fields]
        mask = self.fields[2].new_zeros(len(members), longest, 1)
        for row, (member, own) in enumerate(zip(members, spans, strict=True)):
            at = 0
            for body, t0, t1 in own:
                for out, field in zip(taken, self.fields, strict=True):
                    out[row, at : at + t1 - t0, 0] = field[member, t0:t1, body]
                at += t1 - t0
            mask[row, :at] = 1
            taken[-1][row, at:] = True  # padding is cut off from the episodes before it
            self.finished[member] = []
        return Batch(port, *taken, mask=mask)

    def follow(self, index: Sequence[int]) -> None:
        if self.fields:
            self.start = [list(self.start[i]) for i in index]
        self.finished = [list(self.finished[i]) for i in index]

    def _make_room(self) -> None:
        """Forget what no episode needs any more; grow where that frees less than half."""
        needed = [t for starts in self.start for t in starts] + [t0 for own in self.finished for _, t0, _ in own]
        first = min(needed)
        size = self.length - first
        capacity = self.fields[0].shape[1]
        room = capacity if size <= capacity // 2 else 2 * capacity
        for i, field in enumerate(self.fields):
            moved = field.new_empty(field.shape[0], room, *field.shape[2:])
            moved[:, :size] = field[:, first : self.length]
            self.fields[i] = moved
        self.length = size
        self.start = [[t - first for t in starts] for starts in self.start]
        self.finished = [[(b, t0 - first, t1 - first) for b, t0, t1 in own] for own in self.finished]
