"""Layers whose every parameter has a leading member axis. (This module imports torch at once; name it late.)"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slmx.member.streams import Streams
from slmx.net.renorm import BatchRenorm

# A BLAS wants many columns: maps to fewer outputs than this are worked out transposed, up to seven times as fast, where
# each member has so many samples that it pays. That does not depend on a member's company, nor does its rounding.
NARROW, MANY = 16, 64
# Images that a core convolves at once: what lies between its layers then stays in its cache. Of 1024 together an image
# took twice as long, of 256 to learn from a sixth longer.
AT_ONCE = 64
SIGMA = 0.5  # the first standard deviations of noisy weights, times the root of the number of inputs


def initial(
    streams: Streams, n_in: int, n_out: int, init: str = "orthogonal", gain: float = math.sqrt(2)
) -> tuple[Tensor, Tensor]:
    """First weights `[M, n_in, n_out]` and biases `[M, 1, n_out]` of maps from `n_in` numbers to `n_out`.

    `init` is "orthogonal" (rows or columns orthogonal, times `gain`; bias 0; Saxe et al., 2013, arXiv:1312.6120) or
    "default" (torch.nn.Linear's: weight and bias uniform in +-1/sqrt(n_in)).
    """
    if init == "orthogonal":
        # the decomposition runs in float64, so that float32 and float64 programs start from the same weights
        drawn = streams.normal(max(n_in, n_out), min(n_in, n_out)).double()
        q, r = torch.linalg.qr(drawn)
        q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign().unsqueeze(-2)  # else not uniform over rotations
        weight = (gain * (q if n_in >= n_out else q.mT)).to(streams.dtype)
        return weight, weight.new_zeros(streams.members, 1, n_out)
    bound = 1 / math.sqrt(n_in)
    return (2 * streams.uniform(n_in, n_out) - 1) * bound, (2 * streams.uniform(1, n_out) - 1) * bound


class Linear(nn.Module):
    """M affine maps side by side: `[M, N, n_in]` to `[M, N, n_out]`; `init` and `gain` as in `initial`."""

    def __init__(self, streams: Streams, n_in: int, n_out: int, init: str = "orthogonal", gain: float = math.sqrt(2)):
        super().__init__()
        weight, bias = initial(streams, n_in, n_out, init, gain)
        self.weight = nn.Parameter(weight.contiguous())
        self.bias = nn.Parameter(bias)
        # plain references: looking parameters up through modules takes longer than small layers themselves
        self._map = self.bias, self.weight

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """`rows`: the members, in order, that `x` belongs to; all by default."""
        return affine(x, *self._map, rows)


class NoisyLinear(Linear):
    """M affine maps with factorised Gaussian noise in every weight, whose deviations are learned (Fortunato et al.,
    2017, arXiv:1706.10295).

    Without noise it is the map of the means, which begin as Linear's. A member has one noise for all its samples.
    """

    def __init__(self, streams: Streams, n_in: int, n_out: int, init: str = "orthogonal", gain: float = math.sqrt(2)):
        super().__init__(streams, n_in, n_out, init, gain)
        deviation = SIGMA / math.sqrt(n_in)
        self.weight_std = nn.Parameter(torch.full_like(self.weight, deviation))
        self.bias_std = nn.Parameter(torch.full_like(self.bias, deviation))
        self._noise: tuple[Tensor, Tensor] | None = None

    def draw(self, streams: Streams) -> None:
        """Have new noise, from the members' own streams."""
        n_in, n_out = self.weight.shape[1:]
        before, after = streams.normal(n_in + n_out).split([n_in, n_out], 1)
        self._noise = _root(before)[:, :, None], _root(after)[:, None]

    def rest(self) -> None:
        """Have no noise."""
        self._noise = None

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        if self._noise is None:
            return super().forward(x, rows)
        before, after = self._noise
        bias = torch.addcmul(self.bias, self.bias_std, after)
        return affine(x, bias, torch.addcmul(self.weight, self.weight_std, before * after), rows)


def _root(x: Tensor) -> Tensor:
    """The root of the size of each number, with its sign."""
    return x.sign() * x.abs().sqrt()


class Normalized(nn.Module):
    """A layer whose outputs `[M, N, n]` are normalised to mean 0 and variance 1 over the n numbers of each sample, then
    scaled and shifted by a gain and a bias of each member (Ba et al., 2016, arXiv:1607.06450)."""

    def __init__(self, layer: Linear):
        super().__init__()
        self.layer = layer
        self.gain = nn.Parameter(torch.ones_like(layer.bias))
        self.bias = nn.Parameter(torch.zeros_like(layer.bias))

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        gain, bias = (self.gain, self.bias) if rows is None else (self.gain[rows], self.bias[rows])
        return torch.addcmul(bias, gain, nn.functional.layer_norm(self.layer.forward(x, rows), gain.shape[-1:]))


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
    """Layers with an activation after each, or after all but the last; `norms`: what comes before each."""

    def __init__(
        self,
        layers: Sequence[nn.Module],
        activation: Callable[[Tensor], Tensor],
        last: bool = True,
        norms: Sequence[nn.Module] = (),
    ):
        super().__init__()
        self.layers, self.norms = nn.ModuleList(layers), nn.ModuleList(norms)
        self.activation, self.last = activation, last
        # plain references, as in Linear
        self._layers, self._norms = list(layers), list(norms)

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        final = len(self._layers) - 1
        for i, layer in enumerate(self._layers):
            if self._norms:
                x = self._norms[i].forward(x)
            x = layer.forward(x, rows)
            if i < final or self.last:
                x = self.activation(x)
        return x


class Flattened(Stack):
    """A stack over all the numbers of an observation in a row; those of an image are scaled to [0, 1]."""

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        x = x.flatten(2)
        return super().forward(scaled(x, next(self.parameters()).dtype) if x.dtype == torch.uint8 else x, rows)


class Convolution(nn.Module):
    """M convolutions side by side, of `[n_in, H, W]` to `[n_out, H', W']`; `init` as in `initial`.

    Of each member `weight` is `[n_out, n_in, kernel, kernel]` and `bias` `[n_out]`, as torch.nn.Conv2d's.
    """

    def __init__(
        self, streams: Streams, n_in: int, n_out: int, kernel: int, stride: int, padding: int, init: str = "orthogonal"
    ):
        super().__init__()
        weight, bias = initial(streams, n_in * kernel**2, n_out, init)
        self.weight = nn.Parameter(weight.mT.reshape(-1, n_out, n_in, kernel, kernel).contiguous())
        self.bias = nn.Parameter(bias.flatten(1))
        self.stride, self.padding = stride, padding


class Convolved(nn.Module):
    """Convolutions with an activation after each, then a stack over all that comes out: from `[M, N, C, H, W]`.

    Members take turns, so what one gets does not depend on its company. Nor is anything quicker on a core: for 64
    images of each of four, through a Nature CNN and back, it took 0.32 ms an image (0.40 ms where channels are not the
    last in memory), against 0.55 ms as grouped convolutions and 1.3 ms as products of unfolded images.
    """

    def __init__(self, layers: Sequence[Convolution], activation: Callable[[Tensor], Tensor], stack: Stack):
        super().__init__()
        self.layers, self.stack = nn.ModuleList(layers), stack
        self.activation = activation
        self._maps = [(layer.weight, layer.bias) for layer in layers]
        self._steps = [(layer.stride, layer.padding) for layer in layers]

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        maps = self._maps if rows is None else [(weight[rows], bias[rows]) for weight, bias in self._maps]
        # unbound, the gradients of all members are put together once; taken one by one, each would be as large as all
        by_member = zip(*(zip(*(part.unbind(0) for part in pair), strict=True) for pair in maps), strict=True)
        out = [self._convolve(image, own).flatten(1) for image, own in zip(x.unbind(0), by_member, strict=True)]
        return self.stack.forward(torch.stack(out), rows)

    def _convolve(self, x: Tensor, maps: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """One member's images `[N, C, H, W]` through all its convolutions."""
        if x.device.type == "cpu" and len(x) > AT_ONCE:
            return torch.cat([self._convolve(part, maps) for part in x.split(AT_ONCE)])
        x = scaled(x.contiguous(memory_format=torch.channels_last), maps[0][0].dtype)
        for (weight, bias), (stride, padding) in zip(maps, self._steps, strict=True):
            x = self.activation(nn.functional.conv2d(x, weight, bias, stride, padding))
        return x


def scaled(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Images, uint8, as numbers in [0, 1]; everything else as it is."""
    return x.to(dtype).div_(255) if x.dtype == torch.uint8 else x


class Dueling(nn.Module):
    """Q-values from a value and an advantage stream, q = v + a - mean(a) (Wang et al., 2015, arXiv:1511.06581).

    Where each action has several outputs, `atoms`, that holds for each of them, as in Rainbow.
    """

    def __init__(self, value: nn.Module, advantage: nn.Module, atoms: int = 1):
        super().__init__()
        self.value, self.advantage, self.atoms = value, advantage, atoms

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        advantage = self.advantage(x, rows).unflatten(-1, (-1, self.atoms))
        value = self.value(x, rows).unsqueeze(-2)
        return (value + advantage - advantage.mean(-2, keepdim=True)).flatten(-2)


class Network(nn.Module):
    """An encoder per port, a trunk that all ports share, and named heads per port.

    One port is the same code with one entry. `encoders[p]`: observations `[M, N, ...]` to features `[M, N, F]`;
    `heads[p][name]`: from there to outputs.
    """

    def __init__(self, encoders: Sequence[nn.Module], trunk: nn.Module, heads: Sequence[Mapping[str, nn.Module]]):
        super().__init__()
        self.encoders, self.trunk = nn.ModuleList(encoders), trunk
        self.heads = nn.ModuleList(nn.ModuleDict(dict(h)) for h in heads)
        self._ways = [(encoder, trunk, dict(own)) for encoder, own in zip(encoders, heads, strict=True)]
        self._noisy = [module for module in self.modules() if isinstance(module, NoisyLinear)]
        self._by_port = [module for module in trunk.modules() if isinstance(module, BatchRenorm)]

    @contextlib.contextmanager
    def noise(self, streams: Streams) -> Iterator[None]:
        """Within, noisy layers have new noise from the members' own `streams`; outside they have none."""
        for layer in self._noisy:
            layer.draw(streams)
        try:
            yield
        finally:
            for layer in self._noisy:
                layer.rest()

    def features(self, port: int, obs: Tensor, rows: Tensor | None = None) -> Tensor:
        """What all heads of a port see, `[M, N, F]`."""
        encoder, trunk, _ = self._ways[port]
        for norm in self._by_port:
            norm.port = port
        return trunk.forward(encoder.forward(obs, rows), rows)

    def head(self, port: int, name: str, features: Tensor, rows: Tensor | None = None) -> Tensor:
        """The outputs of one head, `[M, N, n_out]`; of float32 in mixed precision, for losses are sums of many."""
        outputs = self._ways[port][2][name].forward(features, rows)
        return outputs.float() if outputs.dtype == torch.bfloat16 else outputs

    def forward(self, port: int, name: str, obs: Tensor, rows: Tensor | None = None) -> Tensor:
        """One head's outputs for observations `[M, N, ...]`."""
        return self.head(port, name, self.features(port, obs, rows), rows)
