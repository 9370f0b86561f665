"""Batch renormalisation. (This module imports torch at once; name it late.)"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.01  # share of a batch's statistics that the running ones take over
WARM_UP = 10_000  # batches until the corrections count, which before that are of statistics that know too little
MOST_SCALE, MOST_SHIFT = 3.0, 5.0  # of the corrections
EPSILON = 1e-3


class BatchRenorm(nn.Module):
    """Features `[M, N, F]` to mean 0 and variance 1 (Ioffe, 2017, arXiv:1702.03275), each member by its own batch.

    In training by the statistics of the batch, corrected towards the running ones; else by the running ones alone. Of a
    layer that several ports share each has its own: `port` says whose features come next.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, members: int, features: int, dtype: torch.dtype, device: str, ports: int = 1):
        super().__init__()
        self.port = 0
        like = {"dtype": dtype, "device": device}
        self.weight = nn.Parameter(torch.ones(members, 1, features, **like))
        self.bias = nn.Parameter(torch.zeros(members, 1, features, **like))
        self.register_buffer("mean", torch.zeros(members, ports, features, **like))
        self.register_buffer("variance", torch.ones(members, ports, features, **like))
        self.register_buffer("batches", torch.zeros(members, ports, 1, **like))

    def forward(self, x: Tensor) -> Tensor:
        own = (self.mean, self.variance, self.batches)
        known_mean, known_variance, batches = (known[:, self.port : self.port + 1] for known in own)
        if not self.training:
            return (x - known_mean) * (known_variance + EPSILON).rsqrt() * self.weight + self.bias
        with torch.no_grad():
            mean = x.mean(1, keepdim=True)
            variance = (x - mean).square_().mean(1, keepdim=True)  # torch's own takes several times as long
            deviation, running = (variance + EPSILON).sqrt(), (known_variance + EPSILON).sqrt()
            warm = batches >= WARM_UP
            scale = (deviation / running).clamp(1 / MOST_SCALE, MOST_SCALE).where(warm, torch.ones_like(running))
            shift = ((mean - known_mean) / running).clamp(-MOST_SHIFT, MOST_SHIFT)
            shift = shift.where(warm, torch.zeros_like(running))
            sound = (mean + variance).isfinite()  # of a member that fails the statistics stay as they were
            known_mean.lerp_(mean.where(sound, known_mean), MOMENTUM)
            known_variance.lerp_(variance.where(sound, known_variance), MOMENTUM)
            batches += 1
        return _Renormalise.apply(x, mean, deviation, scale, shift, self.weight, self.bias)


class _Renormalise(torch.autograd.Function):
    """`((x - mean) / deviation * scale + shift) * weight + bias`.

    The gradient passes through mean and deviation, which are those of x over dimension 1, and takes the corrections as
    given. Written out it takes half the passes over the features that autograd makes.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mean: Tensor,
        deviation: Tensor,
        scale: Tensor,
        shift: Tensor,
        weight: Tensor,
        bias: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, mean, deviation, scale, shift, weight)
        return torch.addcmul(shift * weight + bias, x - mean, scale / deviation * weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, mean, deviation, scale, shift, weight = ctx.saved_tensors
        centred, batch = x - mean, x.shape[1]
        total, along = gradient.sum(1, keepdim=True), (gradient * centred).sum(1, keepdim=True)
        of_x = torch.addcmul(gradient, centred, along / deviation.square(), value=-1 / batch)
        of_x = of_x.sub_(total / batch).mul_(scale / deviation * weight)
        return of_x, None, None, None, None, scale / deviation * along + shift * total, total
