"""Several estimates of what actions are worth. (This module imports torch at once; name it late.)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slmx.member.hyper import Stacked
from slmx.member.streams import Streams
from slmx.net.port import Port

WORTH = "worth"


class Critics(nn.Module):
    """E networks beside one another, which agree in nothing but what they are taught.

    They value one action that they are given with its observation, or, where `every` is true, all discrete actions of
    an observation at once. `options` of `net.build`.
    """

    def __init__(
        self,
        net: Any,
        hp: Stacked,
        streams: Callable[[str], Streams],
        ports: Sequence[Port],
        count: int,
        every: bool,
        **options: bool,
    ):
        super().__init__()
        self.every = [every and port.discrete for port in ports]
        inputs, heads = [], []
        for port, alone in zip(ports, self.every, strict=True):
            inputs.append(port.obs_shape if alone else (port.obs_size + port.action_size,))
            heads.append({WORTH: (port.action_size if alone else 1, 1.0)})
        self.estimates = nn.ModuleList(
            net.build(hp, streams(f"critic {i}"), inputs, heads, **options) for i in range(count)
        )

    def forward(self, port: int, obs: Tensor, action: Tensor | None = None) -> Tensor:
        """The values `[E, M, N]` of actions `[M, N, A]` (discrete ones as vectors of 0 and 1), or `[E, M, N, A]`."""
        if self.every[port]:
            return torch.stack([estimate(port, WORTH, obs) for estimate in self.estimates])
        assert action is not None
        x = torch.cat([obs.flatten(2), action], -1)
        return torch.stack([estimate(port, WORTH, x) for estimate in self.estimates]).squeeze(-1)
