"""Uniformly random actions: the baseline from which strength is measured."""

from __future__ import annotations

from slmx.algorithm.base import Algorithm
from slmx.lazy import torch
from slmx.member.hyper import NamedHyper
from slmx.member.streams import Streams


class Random(Algorithm):
    """Learns nothing."""

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
        return self._act(port, obs, self.exploring)

    def exploit(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        return self._act(port, obs, self.evaluating)

    def _act(self, port: int, obs: torch.Tensor, streams: Streams) -> torch.Tensor:
        at = self.ports[port]
        if at.discrete:
            return streams.integers(at.action_size, obs.shape[1])
        return 2 * streams.uniform(obs.shape[1], at.action_size) - 1
