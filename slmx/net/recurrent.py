"""Recurrent networks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from slmx.lazy import torch
from slmx.member.hyper import Hyper, Int, MaybePerMember, NamedHyper
from slmx.net.mlp import Activation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmx.member.hyper import Stacked
    from slmx.member.streams import Streams
    from slmx.net.cell import RecurrentNetwork

GATES = {"GRU": 3, "LSTM": 4}  # maps of a layer


class RNN:
    """A multi-layer perceptron, and recurrent layers between it and the heads."""

    recurrent = True

    class Hyper(Hyper):
        """A recurrent network (GRU or LSTM) and how it is optimised."""

        type: str = Field("RNN", description="which network")
        hid_layers: list[Annotated[Int, Field(ge=1)]] = Field(
            [64], min_length=1, description="widths of the hidden layers before the recurrent ones"
        )
        hid_layers_activation: Activation = Field("tanh", description="activation after each hidden layer")
        cell_type: Literal["GRU", "LSTM"] = Field("GRU", description="which recurrent layers")
        rnn_hidden_size: Int = Field(64, ge=1, description="width of the recurrent layers")
        rnn_num_layers: Int = Field(1, ge=1, description="recurrent layers, one on the other")
        prev_action_reward: bool = Field(
            False, description="the last action (one-hot where discrete) and reward are inputs beside the observation"
        )
        init_fn: Literal["orthogonal", "default"] = Field("orthogonal", description="initial weights; default: torch's")
        head_depth: Int = Field(
            1, ge=1, description="layers of each head; all but the last as wide as the recurrent layers"
        )
        dueling: bool = Field(False, description="Q-values from a value and an advantage stream")
        shared: bool = Field(False, description="actor and critic share all layers but their heads")
        clip_grad_val: MaybePerMember = Field(
            None, gt=0, description="largest norm of a member's gradient; null: no clip"
        )
        optim_spec: NamedHyper = Field(description="the optimiser, by name")

    @classmethod
    def misfits(cls, hyper: Any, shape: tuple[int, ...]) -> dict[str, str]:
        """Keys that do not fit observations of that shape, each with what is wrong."""
        return {"type": "a recurrent network takes no images"} if len(shape) > 1 else {}

    @classmethod
    def multiplications(cls, hyper: Any, shape: tuple[int, ...], outputs: int) -> int:
        """About how many numbers are multiplied for one observation of that shape, with a head of so many outputs."""
        hidden = hyper.rnn_hidden_size
        below = [hyper.hid_layers[-1]] + [hidden] * (hyper.rnn_num_layers - 1)
        cells = sum((n + hidden) * hidden * GATES[hyper.cell_type] for n in below)
        return sum(a * b for a, b in pairwise([math.prod(shape), *hyper.hid_layers])) + cells + hidden * outputs

    @staticmethod
    def build(
        hp: Stacked, streams: Streams, inputs: Sequence[tuple[int, ...]], heads: Sequence[dict[str, tuple[int, float]]]
    ) -> RecurrentNetwork:
        """A network for ports with inputs of shape `inputs[p]` and `heads[p]`: name to (outputs, last gain)."""
        from slmx.net.activation import tanh
        from slmx.net.cell import CELLS, RecurrentNetwork
        from slmx.net.layer import Dueling, Linear, Stack

        name, gain = hp.hid_layers_activation, 2**0.5
        activation = tanh if name == "tanh" else getattr(torch.nn.functional, name)
        widths, hidden = hp.hid_layers, hp.rnn_hidden_size

        def stack(*sizes: int) -> Stack:
            return Stack([Linear(streams, *pair, hp.init_fn, gain) for pair in pairwise(sizes)], activation)

        def head(outputs: int, last_gain: float) -> Stack:
            layers = [Linear(streams, hidden, hidden, hp.init_fn, gain) for _ in range(hp.head_depth - 1)]
            return Stack([*layers, Linear(streams, hidden, outputs, hp.init_fn, last_gain)], activation, last=False)

        encoders = [stack(math.prod(shape), widths[0]) for shape in inputs]
        trunk = stack(*widths)
        below = [widths[-1]] + [hidden] * (hp.rnn_num_layers - 1)
        cells = [CELLS[hp.cell_type](streams, n, hidden, hp.init_fn) for n in below]
        made = [
            {
                name: Dueling(head(1, g), head(n, g)) if hp.dueling and name == "q" else head(n, g)
                for name, (n, g) in port.items()
            }
            for port in heads
        ]
        return RecurrentNetwork(encoders, trunk, cells, made)
