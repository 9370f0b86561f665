"""The hyperbolic tangent on CPUs. (This module imports torch at once; name it late.)

torch hands it to a library that takes 2 ns a number on some processors, where numpy's vector code takes 0.2 ns: in
small networks this was a quarter of all time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent of each number: torch.tanh but for the rounding of the last bits."""
    if x.device.type != "cpu" or x.dtype == torch.bfloat16:  # which numpy does not know
        return torch.tanh(x)
    if x.requires_grad and torch.is_grad_enabled():
        return _Tanh.apply(x)  # type: ignore[no-any-return]
    return torch.from_numpy(np.tanh(x.detach().numpy()))


class _Tanh(torch.autograd.Function):
    """numpy's tangent, torch's gradient of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.from_numpy(np.tanh(x.numpy()))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(grad_outputs[0], y)
