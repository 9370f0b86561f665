"""Recurrent layers with a leading member axis. (This module imports torch at once; name it late.)"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from slmx.member.streams import Streams
from slmx.net.layer import Linear, Network
from slmx.net.recurrent import GATES
from slmx.net.sequence import States, Unroll
from slmx.ops import flat


class Cell(nn.Module):
    """M recurrent layers side by side, equal to torch's of the same weights.

    `gates` blocks of columns: what the inputs and what the last outputs add to each gate. `init` as in Linear, with
    gain 1; "default" is torch's for recurrent layers: all uniform in +-1/sqrt(hidden).
    A body's state is `size` numbers, of which the last `hidden` are the layer's output.
    """

    gates: int
    parts: int  # of a state, each of `hidden` numbers

    def __init__(self, streams: Streams, n_in: int, hidden: int, init: str):
        super().__init__()
        self.hidden, self.size = hidden, self.parts * hidden
        self.input = Linear(streams, n_in, self.gates * hidden, init, 1.0)
        self.recurrent = Linear(streams, hidden, self.gates * hidden, init, 1.0)
        if init == "default":
            with torch.no_grad():
                for parameter in self.input.parameters():
                    parameter *= math.sqrt(n_in / hidden)

    def forward(self, x: Tensor, state: Tensor, done: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """The states `[M, T, B, size]` after each of the inputs `[M, T, B, n_in]`, from `state` `[M, B, size]` on.

        After a step where `done` `[M, T, B]` the state begins anew at 0; what is returned is the state before that.
        `rows` as in Linear.
        """
        inputs = self.input(flat(x), rows).unflatten(1, x.shape[1:3])
        bias, weight = self.recurrent.bias, self.recurrent.weight
        if rows is not None:
            bias, weight = bias[rows], weight[rows]
        states: list[Tensor] = []
        for t, given in enumerate(inputs.unbind(1)):
            if t and done is not None:
                state = state.masked_fill(done[:, t - 1].unsqueeze(-1), 0)
            state = self.step(given, state, bias, weight)
            states.append(state)
        return torch.stack(states, 1)

    def step(self, given: Tensor, state: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
        """The next state from what the inputs give to the gates, `[M, B, gates * hidden]`."""
        raise NotImplementedError


class GRU(Cell):
    """Gated recurrent units (Cho et al., 2014, arXiv:1406.1078), the reset gate after the product as in torch."""

    gates, parts = GATES["GRU"], 1

    def step(self, given: Tensor, state: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
        kept = torch.baddbmm(bias, state, weight)
        n = 2 * self.hidden
        reset, update = (given[..., :n] + kept[..., :n]).sigmoid().chunk(2, -1)
        new = torch.tanh(torch.addcmul(given[..., n:], reset, kept[..., n:]))
        # states stay float32 where products are of bfloat16
        return torch.lerp(new.to(state.dtype), state, update.to(state.dtype))


class LSTM(Cell):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997) with a forget gate; a state is cell, then output."""

    gates, parts = GATES["LSTM"], 2

    def step(self, given: Tensor, state: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
        cell, output = state.chunk(2, -1)
        gates = given + torch.baddbmm(bias, output, weight)
        enter, forget, new, leave = gates.chunk(4, -1)
        cell = torch.addcmul(forget.sigmoid() * cell, enter.sigmoid(), torch.tanh(new))
        return torch.cat([cell, leave.sigmoid() * torch.tanh(cell)], -1)


CELLS = {"GRU": GRU, "LSTM": LSTM}


class RecurrentNetwork(Network):
    """A network with recurrent layers between its trunk and its heads.

    Its features are states: the numbers of all layers, `[M, N, state_size]`, the last layer's output at the end, which
    is what heads look at. Plain observations `[M, N, ...]` are taken for the first of so many episodes.
    """

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        trunk: nn.Module,
        cells: Sequence[Cell],
        heads: Sequence[Mapping[str, nn.Module]],
    ):
        super().__init__(encoders, trunk, heads)
        self.cells = nn.ModuleList(cells)
        self.hidden, self.sizes = cells[-1].hidden, [cell.size for cell in cells]
        self.state_size = sum(self.sizes)

    def features(self, port: int, obs: Tensor | Unroll | States, rows: Tensor | None = None) -> Tensor:
        """The states after each step of a sequence, `[M, T * B, state_size]`."""
        if isinstance(obs, States):
            return obs.state
        if isinstance(obs, Tensor):
            obs = Unroll(obs.unsqueeze(1), obs.new_zeros(*obs.shape[:2], self.state_size))
        time, bodies = obs.obs.shape[1:3]
        x = super().features(port, flat(obs.obs), rows).unflatten(1, (time, bodies))
        after: list[Tensor] = []
        for cell, state in zip(self.cells, obs.state.split(self.sizes, -1), strict=True):
            after.append(cell(x, state, obs.done, rows))
            x = after[-1][..., -self.hidden :]
        return flat(torch.cat(after, -1))

    def head(self, port: int, name: str, features: Tensor, rows: Tensor | None = None) -> Tensor:
        return super().head(port, name, features[..., -self.hidden :], rows)
