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

    copied = ("rows",)

    class Hyper(NamedHyper):
        """Steps since the last update; their number is the algorithm's time_horizon."""

    def __init__(self, horizon: int, ports: int):
        self.horizon = horizon
        self.rows: list[list[tuple[torch.Tensor, ...]]] = [[] for _ in range(ports)]

    def add(self, port: int, obs: torch.Tensor, action: torch.Tensor, step: Step) -> None:
        """Keep one step `[M, B, ...]` of a port."""
        self.rows[port].append((obs, action, step.reward, step.next_obs, step.terminated, step.done))

    @property
    def full(self) -> bool:
        """Whether some port has all its steps. (Ports fill in lockstep; one whose environment has ended never does.)"""
        return any(len(rows) >= self.horizon for rows in self.rows)

    def take(self, keep: int = 0) -> list[Batch]:
        """The steps of every full port; the last `keep` of them stay for the next time as well."""
        batches = []
        for port, rows in enumerate(self.rows):
            if len(rows) >= self.horizon:
                batches.append(Batch(port, *(torch.stack(field, 1) for field in zip(*rows, strict=True))))
                self.rows[port] = rows[len(rows) - keep :] if keep else []
        return batches
