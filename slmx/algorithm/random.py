"""Uniformly random actions: the baseline from which strength is measured."""

from __future__ import annotations

from slmx.algorithm.base import Algorithm
from slmx.lazy import torch
from slmx.member.hyper import NamedHyper


class Random(Algorithm):
    """Learns nothing."""

    actions = ("discrete", "continuous", "multidiscrete")
    learns = False
    own = (*Algorithm.own, "evaluating")

    class Hyper(NamedHyper):
        """Uniformly random actions."""

    def build(self) -> None:
        self.begin_evaluation()

    def begin_evaluation(self) -> None:
        # how many numbers an evaluation takes depends on the other members' episodes: nothing may come after them
        self.evaluating = self.setting.streams("evaluate")

    def explore(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        return self.ports[port].uniform(self.exploring, obs.shape[1])

    def exploit(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        return self.ports[port].uniform(self.evaluating, obs.shape[1])
