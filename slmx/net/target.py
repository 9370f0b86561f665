"""A network that follows another one. (This module imports torch at once; name it late.)"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Generic, TypeVar

import torch

from slmx.member.axis import Membered
from slmx.member.optim import bind, flatten

NetT = TypeVar("NetT", bound=torch.nn.Module)


class Target(Membered, Generic[NetT]):
    """A copy of a network that is learned, which starts as it is and follows it as it is told; it has no gradients."""

    copied = ("network", "flat")

    def __init__(self, network: NetT):
        self.network = copy.deepcopy(network)
        self.network.requires_grad_(False)
        self.flat = flatten(self.network.parameters())

    def replace(self, learned: torch.Tensor) -> None:
        """Become what is learned: the optimiser's `flat` `[M, P]`."""
        self.flat.copy_(learned)

    def approach(self, learned: torch.Tensor, share: torch.Tensor) -> None:
        """Take over a share `[M, 1]` of what is learned (Polyak averaging)."""
        self.flat.lerp_(learned, share)

    def follow(self, index: Sequence[int]) -> None:
        bind(self.network.parameters(), self.flat)
