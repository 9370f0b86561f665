"""Layers whose every parameter has a leading member axis. (This module imports torch at once; name it late.)"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slmx.member.streams import Streams

# A BLAS wants many columns: maps to fewer outputs than this are worked out transposed, up to seven times as fast, where
# each member has so many samples that it pays. That does not depend on a member's company, nor does its rounding.
NARROW, MANY = 16, 64


class Linear(nn.Module):
    """M affine maps side by side: `[M, N, n_in]` to `[M, N, n_out]`.

    `init` is "orthogonal" (rows or columns orthogonal, times `gain`; bias 0; Saxe et al., 2013, arXiv:1312.6120) or
    "default" (torch.nn.Linear's: weight and bias uniform in +-1/sqrt(n_in)).
    """

    def __init__(self, streams: Streams, n_in: int, n_out: int, init: str = "orthogonal", gain: float = math.sqrt(2)):
        super().__init__()
        if init == "orthogonal":
            # the decomposition runs in float64, so that float32 and float64 programs start from the same weights
            drawn = streams.normal(max(n_in, n_out), min(n_in, n_out)).double()
            q, r = torch.linalg.qr(drawn)
            q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign().unsqueeze(-2)  # else not uniform over rotations
            weight = (gain * (q if n_in >= n_out else q.mT)).to(streams.dtype)
            bias = weight.new_zeros(streams.members, 1, n_out)
        else:
            bound = 1 / math.sqrt(n_in)
            weight = (2 * streams.uniform(n_in, n_out) - 1) * bound
            bias = (2 * streams.uniform(1, n_out) - 1) * bound
        self.weight = nn.Parameter(weight.contiguous())
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """`rows`: the members, in order, that `x` belongs to; all by default."""
        return affine(x, self.bias, self.weight, rows)


def affine(x: Tensor, bias: Tensor, weight: Tensor, rows: Tensor | None) -> Tensor:
    """Every member's own affine map of its `x` `[M, N, n_in]`; `rows` as in Linear."""
    if rows is not None:
        bias, weight = bias[rows], weight[rows]
    plain = weight.shape[-1] >= NARROW or x.shape[1] < MANY or weight.device.type != "cpu"
    if plain or torch.is_autocast_enabled("cpu"):
        return torch.baddbmm(bias, x, weight)
    return _Narrow.apply(x, bias, weight) if torch.is_grad_enabled() else narrow(x, bias, weight)


def narrow(x: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
    """`torch.baddbmm(bias, x, weight)` where it has few columns, as the transpose of a product that has many."""
    return torch.baddbmm(bias.mT, weight.mT.contiguous(), x.mT).mT


class _Narrow(torch.autograd.Function):
    """`narrow`, and gradients that are worked out likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return narrow(x, bias, weight)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad, grad_x = grad_outputs[0].contiguous(), None
        if ctx.needs_input_grad[0]:
            grad_x = grad * weight.mT if weight.shape[-1] == 1 else torch.bmm(grad, weight.mT)
        return grad_x, grad.sum(1, keepdim=True), torch.bmm(grad.mT, x).mT


class Stack(nn.Module):
    """Linear layers with an activation after each, or after all but the last."""

    def __init__(self, layers: Sequence[Linear], activation: Callable[[Tensor], Tensor], last: bool = True):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.activation, self.last = activation, last
        # plain references: looking parameters up through modules takes longer than small layers themselves
        self._maps = [(layer.bias, layer.weight) for layer in layers]

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        final = len(self._maps) - 1
        for i, (bias, weight) in enumerate(self._maps):
            x = affine(x, bias, weight, rows)
            if i < final or self.last:
                x = self.activation(x)
        return x


class Dueling(nn.Module):
    """Q-values from a value and an advantage stream, q = v + a - mean(a) (Wang et al., 2015, arXiv:1511.06581)."""

    def __init__(self, value: nn.Module, advantage: nn.Module):
        super().__init__()
        self.value, self.advantage = value, advantage

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        advantage = self.advantage(x, rows)
        return self.value(x, rows) + advantage - advantage.mean(-1, keepdim=True)


class Network(nn.Module):
    """An encoder per port, a trunk that all ports share, and named heads per port.

    One port is the same code with one entry. `encoders[p]`: `[M, N, obs]` to features; `heads[p][name]`: to outputs.
    """

    def __init__(self, encoders: Sequence[nn.Module], trunk: nn.Module, heads: Sequence[Mapping[str, nn.Module]]):
        super().__init__()
        self.encoders, self.trunk = nn.ModuleList(encoders), trunk
        self.heads = nn.ModuleList(nn.ModuleDict(dict(h)) for h in heads)
        self._ways = [(encoder, trunk, dict(own)) for encoder, own in zip(encoders, heads, strict=True)]

    def features(self, port: int, obs: Tensor, rows: Tensor | None = None) -> Tensor:
        """What all heads of a port see, `[M, N, F]`."""
        encoder, trunk, _ = self._ways[port]
        return trunk.forward(encoder.forward(obs.flatten(2), rows), rows)

    def head(self, port: int, name: str, features: Tensor, rows: Tensor | None = None) -> Tensor:
        """The outputs of one head, `[M, N, n_out]`; of float32 in mixed precision, for losses are sums of many."""
        outputs = self._ways[port][2][name].forward(features, rows)
        return outputs.float() if outputs.dtype == torch.bfloat16 else outputs

    def forward(self, port: int, name: str, obs: Tensor, rows: Tensor | None = None) -> Tensor:
        """One head's outputs for observations `[M, N, ...]`."""
        return self.head(port, name, self.features(port, obs, rows), rows)
