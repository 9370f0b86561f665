"""The multi-layer perceptron."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from slmx.lazy import torch
from slmx.member.hyper import Hyper, Int, MaybePerMember, NamedHyper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmx.member.hyper import Stacked
    from slmx.member.streams import Streams
    from slmx.net.layer import Network

Heads = dict[str, tuple[int | tuple[int, int], float]]
Activation = Literal[
    "tanh", "relu", "sigmoid", "elu", "selu", "celu", "gelu", "silu", "mish", "leaky_relu", "softplus", "softsign",
    "hardtanh", "hardswish", "relu6", "logsigmoid", "tanhshrink",
]  # fmt: skip


class MLP:
    """Linear layers with an activation between: a port's first hidden layer is its encoder, the others the trunk."""

    renorms = True  # `build` can normalise

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
        layer_norm: bool = Field(False, description="normalise each hidden layer's outputs before their activation")
        dueling: bool = Field(False, description="Q-values from a value and an advantage stream")
        noisy: bool = Field(
            False, description="noise in the weights of all layers of Q-values but the first, to explore by"
        )
        shared: bool = Field(False, description="actor and critic share encoder and trunk")
        clip_grad_val: MaybePerMember = Field(
            None, gt=0, description="largest norm of a member's gradient; null: no clip"
        )
        optim_spec: NamedHyper = Field(description="the optimiser, by name")

    @staticmethod
    def build(
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
        from slmx.net.activation import tanh
        from slmx.net.layer import Dueling, Linear, Network, NoisyLinear, Normalized, Stack
        from slmx.net.renorm import BatchRenorm

        name = hp.hid_layers_activation
        activation = tanh if name == "tanh" else getattr(torch.nn.functional, name)
        widths, gain = hp.hid_layers, 2**0.5
        last = widths[-1]

        def stack(sizes: Sequence[int], last_gain: float | None = None, kind: type[Linear] = Linear) -> Stack:
            final = len(sizes) - 2
            layers = []
            for i in range(len(sizes) - 1):
                wanted = gain if i < final or last_gain is None else last_gain
                layer = kind(streams, sizes[i], sizes[i + 1], hp.init_fn, wanted)
                layers.append(Normalized(layer) if hp.layer_norm and (i < final or last_gain is None) else layer)
            members, like = streams.members, (streams.dtype, streams.device)
            norms = [BatchRenorm(members, n, *like) for n in sizes[:-1]] if renormed else []
            return Stack(layers, activation, last_gain is None, norms)

        # as in Rainbow, in which the encoder alone, there of convolutions, has no noise
        after_encoder = NoisyLinear if hp.noisy and any("q" in port for port in heads) else Linear

        def head(outputs: int, last_gain: float) -> Stack:
            return stack([last] * hp.head_depth + [outputs], last_gain, after_encoder)

        def made(name: str, outputs: int | tuple[int, int], last_gain: float) -> Stack | Dueling:
            actions, atoms = outputs if isinstance(outputs, tuple) else (outputs, 1)
            if hp.dueling and name == "q":
                return Dueling(head(atoms, last_gain), head(actions * atoms, last_gain), atoms)
            return head(actions * atoms, last_gain)

        encoders = [stack([math.prod(shape), widths[0]]) for shape in inputs]
        trunk = stack(widths, kind=after_encoder)
        return Network(encoders, trunk, [{name: made(name, *own) for name, own in port.items()} for port in heads])
