"""The last T steps of every body, learned from once and forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmx.lazy import torch
from slmx.member.axis import Membered
from slmx.member.hyper import NamedHyper
from slmx.memory.batch import Batch

if TYPE_CHECKING:
    from slmx.env.base import Step


class Rollout(Membered):
    """Collects `horizon` steps of every port; then `take` hands them out and starts anew."""

    copied = ("rows", "states")

    class Hyper(NamedHyper):
        """Steps since the last update; their number is the algorithm's time_horizon."""

    def __init__(self, horizon: int, ports: int):
        self.horizon = horizon
        self.rows: list[list[tuple[torch.Tensor, ...]]] = [[] for _ in range(ports)]
        self.states: list[torch.Tensor | None] = [None] * ports  # before the first of the rows

    def add(
        self, port: int, obs: torch.Tensor, action: torch.Tensor, step: Step, state: torch.Tensor | None = None
    ) -> None:
        """Keep one step `[M, B, ...]` of a port; `state` `[M, B, S]`: of a recurrent network, before it."""
        if not self.rows[port]:
            self.states[port] = state
        self.rows[port].append((obs, action, step.reward, step.next_obs, step.terminated, step.done))

    @property
    def full(self) -> bool:
        """Whether some port has all its steps. (Ports fill in lockstep; one whose environment has ended never does.)"""
        return any(len(rows) >= self.horizon for rows in self.rows)

    def take(self, keep: int = 0) -> list[Batch]:
        """The steps of every full port; the last `keep` of them, without a state, stay for the next time as well."""
        batches = []
        for port, rows in enumerate(self.rows):
            if len(rows) >= self.horizon:
                fields = (torch.stack(field, 1) for field in zip(*rows, strict=True))
                batches.append(Batch(port, *fields, state=self.states[port]))
                self.rows[port], self.states[port] = rows[len(rows) - keep :] if keep else [], None
        return batches
