"""Recurrent networks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from slmx.member.hyper import Int
from slmx.net.mlp import Heads, NetHyper, activation_of, heads_of, layers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmx.member.hyper import Stacked
    from slmx.member.streams import Streams
    from slmx.net.cell import RecurrentNetwork

GATES = {"GRU": 3, "LSTM": 4}  # maps of a layer


class RNN:
    """A multi-layer perceptron, and recurrent layers between it and the heads."""

    recurrent = True

    class Hyper(NetHyper):
        """A recurrent network (GRU or LSTM) and how it is optimised."""

        type: str = Field("RNN", description="which network")
        hid_layers: list[Annotated[Int, Field(ge=1)]] = Field(
            [64], min_length=1, description="widths of the hidden layers before the recurrent ones"
        )
        cell_type: Literal["GRU", "LSTM"] = Field("GRU", description="which recurrent layers")
        rnn_hidden_size: Int = Field(64, ge=1, description="width of the recurrent layers")
        rnn_num_layers: Int = Field(1, ge=1, description="recurrent layers, one on the other")
        prev_action_reward: bool = Field(
            False, description="the last action (one-hot where discrete) and reward are inputs beside the observation"
        )

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
        hp: Stacked, streams: Streams, inputs: Sequence[tuple[int, ...]], heads: Sequence[Heads]
    ) -> RecurrentNetwork:
        """A network for ports with inputs of shape `inputs[p]` and `heads[p]`: name to (outputs, last gain)."""
        from slmx.net.cell import CELLS, RecurrentNetwork
        from slmx.net.layer import Stack

        activation, widths, hidden = activation_of(hp.hid_layers_activation), hp.hid_layers, hp.rnn_hidden_size
        encoders = [Stack(layers_of(hp, streams, [math.prod(shape), widths[0]]), activation) for shape in inputs]
        trunk = Stack(layers_of(hp, streams, widths), activation)
        below = [widths[-1]] + [hidden] * (hp.rnn_num_layers - 1)
        cells = [CELLS[hp.cell_type](streams, n, hidden, hp.init_fn) for n in below]
        return RecurrentNetwork(encoders, trunk, cells, heads_of(hp, streams, hidden, heads))
