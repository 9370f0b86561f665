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
    from slmx.net.layer import Dueling, Linear, Network, Stack

Heads = dict[str, tuple[int | tuple[int, int], float]]
Activation = Literal[
    "tanh", "relu", "sigmoid", "elu", "selu", "celu", "gelu", "silu", "mish", "leaky_relu", "softplus", "softsign",
    "hardtanh", "hardswish", "relu6", "logsigmoid", "tanhshrink",
]  # fmt: skip


class NetHyper(Hyper):
    """What every network of layers has, and how it is optimised."""

    hid_layers_activation: Activation = Field("tanh", description="activation after each hidden layer")
    init_fn: Literal["orthogonal", "default"] = Field("orthogonal", description="initial weights; default: torch's")
    head_depth: Int = Field(1, ge=1, description="layers of each head; all but the last as wide as what they look at")
    dueling: bool = Field(False, description="Q-values from a value and an advantage stream")
    shared: bool = Field(False, description="actor and critic share all layers but their heads")
    clip_grad_val: MaybePerMember = Field(None, gt=0, description="largest norm of a member's gradient; null: no clip")
    optim_spec: NamedHyper = Field(description="the optimiser, by name")


class MLP:
    """Linear layers with an activation between: a port's first hidden layer is its encoder, the others the trunk.

    An image is flattened, its numbers scaled to [0, 1].
    """

    renorms = True  # `build` can normalise

    class Hyper(NetHyper):
        """A multi-layer perceptron and how it is optimised."""

        type: str = Field("MLP", description="which network")
        hid_layers: list[Annotated[Int, Field(ge=1)]] = Field(
            [64, 64], min_length=1, description="widths of the hidden layers"
        )
        layer_norm: bool = Field(False, description="normalise each hidden layer's outputs before their activation")
        noisy: bool = Field(
            False, description="noise in the weights of all layers of Q-values but the first, to explore by"
        )

    @classmethod
    def build(
        cls,
        hp: Stacked,
        streams: Streams,
        inputs: Sequence[tuple[int, ...]],
        heads: Sequence[Heads],
        renormed: bool = False,
    ) -> Network:
        """A network for ports with inputs of shape `inputs[p]` and `heads[p]`: name to (outputs, last gain).

        Outputs are a number, or one of actions and one of atoms for each of them. `renormed`: what comes into each
        layer is normalised over the batch.
        """
        from slmx.net.layer import Linear, Network, NoisyLinear, Stack

        # as in Rainbow, in which the encoder alone, there of convolutions, has no noise
        after_encoder = NoisyLinear if hp.noisy and any("q" in port for port in heads) else Linear
        encoders = [cls.encoder(hp, streams, shape, renormed) for shape in inputs]
        layers = layers_of(hp, streams, hp.hid_layers, after_encoder)
        norms = norms_of(streams, hp.hid_layers, renormed, len(inputs))
        trunk = Stack(layers, activation_of(hp.hid_layers_activation), norms=norms)
        made = heads_of(hp, streams, hp.hid_layers[-1], heads, after_encoder, renormed)
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
    def encoder(hp: Stacked, streams: Streams, shape: tuple[int, ...], renormed: bool) -> torch.nn.Module:
        """From observations of that shape to the first hidden layer."""
        from slmx.net.layer import Flattened

        sizes = [math.prod(shape), hp.hid_layers[0]]
        norms = norms_of(streams, sizes, renormed)
        return Flattened(layers_of(hp, streams, sizes), activation_of(hp.hid_layers_activation), norms=norms)


def heads_of(
    hp: Stacked,
    streams: Streams,
    width: int,
    heads: Sequence[Heads],
    kind: type[Linear] | None = None,
    renormed: bool = False,
) -> list[dict[str, Stack | Dueling]]:
    """The heads of each port over so many features, by name; Q-values have two streams where they duel."""
    from slmx.net.layer import Dueling, Stack

    def head(outputs: int, last_gain: float) -> Stack:
        sizes = [width] * hp.head_depth + [outputs]
        layers, norms = layers_of(hp, streams, sizes, kind, last_gain), norms_of(streams, sizes, renormed)
        return Stack(layers, activation_of(hp.hid_layers_activation), last=False, norms=norms)

    def made(name: str, outputs: int | tuple[int, int], last_gain: float) -> Stack | Dueling:
        actions, atoms = outputs if isinstance(outputs, tuple) else (outputs, 1)
        if hp.dueling and name == "q":
            return Dueling(head(atoms, last_gain), head(actions * atoms, last_gain), atoms)
        return head(actions * atoms, last_gain)

    return [{name: made(name, *own) for name, own in port.items()} for port in heads]


def layers_of(
    hp: Stacked,
    streams: Streams,
    sizes: Sequence[int],
    kind: type[Linear] | None = None,
    last_gain: float | None = None,
) -> list[torch.nn.Module]:
    """Layers from each of the sizes to the next, linear ones or of a kind of them; the last makes outputs if it has a
    gain of its own, and all others are hidden."""
    from slmx.net.layer import Linear, Normalized

    made: list[torch.nn.Module] = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        outputs = last_gain if i == len(sizes) - 2 else None
        layer = (kind or Linear)(streams, n_in, n_out, hp.init_fn, 2**0.5 if outputs is None else outputs)
        made.append(Normalized(layer) if getattr(hp, "layer_norm", False) and outputs is None else layer)
    return made


def norms_of(streams: Streams, sizes: Sequence[int], renormed: bool, ports: int = 1) -> list[torch.nn.Module]:
    """What comes before each of such layers, which so many ports share, if they are normalised over the batch."""
    from slmx.net.renorm import BatchRenorm

    like = streams.dtype, streams.device, ports
    return [BatchRenorm(streams.members, n, *like) for n in sizes[:-1]] if renormed else []


def activation_of(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The activation function of that name."""
    from slmx.net.activation import tanh

    return tanh if name == "tanh" else getattr(torch.nn.functional, name)
