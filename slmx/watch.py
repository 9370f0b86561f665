"""What a program tells of its training: episodes, evaluations, rows of the table, failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from slmx.env.base import Step
from slmx.space import Layout

if TYPE_CHECKING:
    from torch import Tensor

    Model = Callable[[int], dict[str, Tensor]]


@dataclass
class Episode:
    """An episode that ended: of which member's which body, at which frame of its environment."""

    member: int
    frame: int
    agent: int
    env: int
    body: int
    total: float
    length: int
    end: str


@dataclass
class Evaluation:
    """A greedy episode of an evaluation, from a sub-environment seeded with `seed`."""

    member: int
    frame: int
    agent: int
    env: int
    seed: int
    total: float
    length: int


@dataclass
class View:
    """What an agent is about to act on in an environment: its first body's image `[C, H, W]`, uint8, a copy."""

    member: int
    agent: int
    env: int
    image: np.ndarray


class Watcher(Protocol):
    """What a program tells of its training.

    `models`: told after each evaluation, with what gives the model of a member; `frame`: of the first environment, as
    if that went on to the end; `regular`: whether it is one of those that meta.save asks for at this frame. `film`:
    told where meta.video asks for films, whatever the evaluation. `views`: told where meta.save_state_img asks
    for them.
    """

    def episodes(self, episodes: list[Episode]) -> None: ...

    def row(self, frames: list[int], alive: list[bool], measures: list[dict[str, list[float]]]) -> None: ...

    def evaluations(self, evaluations: list[Evaluation]) -> None: ...

    def models(self, frame: int, model: Model, regular: bool) -> None: ...

    def film(self, frame: int, model: Model) -> None: ...

    def views(self, frame: int, views: list[View]) -> None: ...

    def failed(self, member: int, frame: int, reason: str) -> None: ...


@dataclass
class Silence:
    """A watcher that keeps the episodes' returns and nothing else."""

    returns: list[Episode] = field(default_factory=list)

    def episodes(self, episodes: list[Episode]) -> None:
        self.returns += episodes

    def row(self, frames: list[int], alive: list[bool], measures: list[dict[str, list[float]]]) -> None:
        """Not kept."""

    def evaluations(self, evaluations: list[Evaluation]) -> None:
        """Not kept."""

    def models(self, frame: int, model: Model, regular: bool) -> None:
        """Not kept."""

    def film(self, frame: int, model: Model) -> None:
        """Not filmed."""

    def views(self, frame: int, views: list[View]) -> None:
        """Not kept."""

    def failed(self, member: int, frame: int, reason: str) -> None:
        """Not kept."""


class Tracker:
    """Returns and lengths of the running episodes of one environment, `[M, rows]`; of whole games if told."""

    def __init__(self, e: int, layout: Layout, members: int):
        self.env, self.rows = e, layout.rows[e]
        self.total = np.zeros((members, self.rows))
        self.length = np.zeros((members, self.rows), np.int64)
        self.bodies = {
            row: (place.agent, body)
            for own in layout.places
            for place in own
            if place.env == e
            for body, row in enumerate(place.rows)
        }

    def add(self, step: Step, tick: int) -> list[Episode]:
        """The episodes that this step ended, in the order of members and rows."""
        return [episode for _, episode in self.add_rows(step, tick)]

    def add_rows(self, step: Step, tick: int) -> list[tuple[int, Episode]]:
        """Likewise, each with its row."""
        self.total += step.reward
        self.length += 1
        done = step.finished
        if not done.any():
            return []
        ended = []
        for m, row in zip(*(i.tolist() for i in done.nonzero()), strict=True):
            end = "terminated" if step.terminated[m, row] else "truncated"
            ended.append((row, self._episode(m, row, tick, end)))
        self.total[done] = 0.0
        self.length[done] = 0
        return ended

    def unfinished(self, tick: int) -> list[tuple[int, Episode]]:
        """The running episode of every row, as if it were cut off now, each with its row."""
        members, rows = self.total.shape
        return [(row, self._episode(m, row, tick, "truncated")) for m in range(members) for row in range(rows)]

    def _episode(self, m: int, row: int, tick: int, end: str) -> Episode:
        agent, body = self.bodies[row]
        total, length = float(self.total[m, row]), int(self.length[m, row])
        return Episode(m, tick * self.rows, agent, self.env, body, total, length, end)
