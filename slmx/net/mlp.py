"""The multi-layer perceptron."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from slmx.lazy import torch
from slmx.member.hyper import Hyper, Int, MaybePerMember, NamedHyper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slmx.member.hyper import Stacked
    from slmx.member.streams import Streams
    from slmx.net.layer import Linear, Network, Stack

Activation = Literal[
    "tanh", "relu", "sigmoid", "elu", "selu", "celu", "gelu", "silu", "mish", "leaky_relu", "softplus", "softsign",
    "hardtanh", "hardswish", "relu6", "logsigmoid", "tanhshrink",
]  # fmt: skip


class MLP:
    """Linear layers with an activation between: a port's first hidden layer is its encoder, the others the trunk.

    An image is flattened, its numbers scaled to [0, 1].
    """

    class Hyper(Hyper):
        """A multi-layer perceptron and how it is optimised."""

        type: str = Field("MLP", description="which network")
        hid_layers: list[Annotated[Int, Field(ge=1)]] = Field(
            [64, 64], min_length=1, description="widths of the hidden layers"
        )
        hid_layers_activation: Activation = Field("tanh", description="activation after each hidden layer")
        init_fn: Literal["orthogonal", "default"] = Field("orthogonal", description="initial weights; default: torch's")
        head_depth: Int = Field(
            1, ge=1, description="layers of each head; all but the last as wide as the last hidden layer"
        )
        dueling: bool = Field(False, description="Q-values from a value and an advantage stream")
        shared: bool = Field(False, description="actor and critic share encoder and trunk")
        clip_grad_val: MaybePerMember = Field(
            None, gt=0, description="largest norm of a member's gradient; null: no clip"
        )
        optim_spec: NamedHyper = Field(description="the optimiser, by name")

    @classmethod
    def build(
        cls,
        hp: Stacked,
        streams: Streams,
        inputs: Sequence[tuple[int, ...]],
        heads: Sequence[dict[str, tuple[int, float]]],
    ) -> Network:
        """A network for ports with inputs of shape `inputs[p]` and `heads[p]`: name to (outputs, last gain)."""
        from slmx.net.layer import Dueling, Network, Stack

        activation = activation_of(hp.hid_layers_activation)
        widths = hp.hid_layers

        def head(outputs: int, last_gain: float) -> Stack:
            layers = linear(hp, streams, [widths[-1]] * hp.head_depth + [outputs], last_gain)
            return Stack(layers, activation, last=False)

        encoders = [cls.encoder(hp, streams, shape) for shape in inputs]
        trunk = Stack(linear(hp, streams, widths), activation)
        made = [
            {
                name: Dueling(head(1, g), head(n, g)) if hp.dueling and name == "q" else head(n, g)
                for name, (n, g) in port.items()
            }
            for port in heads
        ]
        return Network(encoders, trunk, made)

    @classmethod
    def misfits(cls, hyper: Any, shape: tuple[int, ...]) -> dict[str, str]:
        """Keys that do not fit observations of that shape, each with what is wrong."""
        return {}

    @classmethod
    def multiplications(cls, hyper: Any, shape: tuple[int, ...], outputs: int) -> int:
        """About how many numbers are multiplied for one observation of that shape, with a head of so many outputs."""
        return sum(one * other for one, other in pairwise([math.prod(shape), *hyper.hid_layers, outputs]))

    @staticmethod
    def encoder(hp: Stacked, streams: Streams, shape: tuple[int, ...]) -> torch.nn.Module:
        """From observations of that shape to the first hidden layer."""
        from slmx.net.layer import Flattened

        layers = linear(hp, streams, [math.prod(shape), hp.hid_layers[0]])
        return Flattened(layers, activation_of(hp.hid_layers_activation))


def linear(hp: Stacked, streams: Streams, sizes: Sequence[int], last_gain: float = 2**0.5) -> list[Linear]:
    """Linear layers from each of the sizes to the next."""
    from slmx.net.layer import Linear

    gains = [2**0.5] * (len(sizes) - 2) + [last_gain]
    return [Linear(streams, *pair, hp.init_fn, gain) for pair, gain in zip(pairwise(sizes), gains, strict=False)]


def activation_of(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The activation function of that name."""
    from slmx.net.activation import tanh

    return tanh if name == "tanh" else getattr(torch.nn.functional, name)
