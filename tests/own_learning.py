"""Components as a user writes them, outside slmx: named in specs by import path, `tests.own_learning:Class`.

Environments are in tests/own.py: processes that step these need not wait for torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from slmx.algorithm.reinforce import REINFORCE
from slmx.member.hyper import Hyper, Int, NamedHyper, PerMember, Stacked
from slmx.member.streams import Streams
from slmx.memory.batch import Batch
from slmx.memory.episodes import Episodes


class Cautious(REINFORCE):
    """REINFORCE whose losses are scaled down."""

    memories = ("Episodes", "tests.own_learning:Recent")

    class Hyper(REINFORCE.Hyper):
        """REINFORCE with caution."""

        caution: PerMember = Field(1.0, gt=0, description="what the loss is divided by")

    def loss(self, batch: Batch, rows: Tensor) -> Tensor:
        return super().loss(batch, rows) / self.hp.caution[rows, 0]


class Recent(Episodes):
    """A memory of episodes under another name."""

    class Hyper(Episodes.Hyper):
        """As Episodes."""

        episodes: Int = Field(2, ge=1, description="episodes per update")


class Affine:
    """One linear map from observations to each output."""

    class Hyper(Hyper):
        """A linear map and its optimiser."""

        type: str = Field("", description="which network")
        scale: PerMember = Field(1.0, description="what the outputs are multiplied by")
        shared: bool = Field(False, description="actor and critic share what there is to share: nothing")
        clip_grad_val: float | None = Field(None, gt=0, description="largest norm of a member's gradient")
        optim_spec: NamedHyper = Field(description="the optimiser, by name")

    @staticmethod
    def build(
        hp: Stacked, streams: Streams, inputs: Sequence[tuple[int, ...]], heads: Sequence[dict[str, tuple[int, float]]]
    ) -> AffineNetwork:
        return AffineNetwork(hp, streams, inputs, heads)


class AffineNetwork(nn.Module):
    """Weights `[M, inputs, outputs]` for each head of each port, from 0."""

    def __init__(
        self,
        hp: Stacked,
        streams: Streams,
        inputs: Sequence[tuple[int, ...]],
        heads: Sequence[dict[str, tuple[int, float]]],
    ):
        super().__init__()
        self.hp = hp
        self.weights = nn.ParameterDict(
            {
                f"{name}_{port}": torch.zeros(streams.members, math.prod(shape), outputs, dtype=streams.dtype)
                for port, (shape, own) in enumerate(zip(inputs, heads, strict=True))
                for name, (outputs, _) in own.items()
            }
        )

    def forward(self, port: int, name: str, obs: Tensor, rows: Tensor | None = None) -> Tensor:
        weight, scale = self.weights[f"{name}_{port}"], self.hp.scale[..., None]
        if rows is not None:
            weight, scale = weight[rows], scale[rows]
        return scale * (obs @ weight)
