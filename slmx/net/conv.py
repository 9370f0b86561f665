"""Convolutions over images, and a multi-layer perceptron over what they find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from slmx.lazy import torch
from slmx.member.hyper import Int
from slmx.net.mlp import MLP, Activation, activation_of, layers_of

if TYPE_CHECKING:
    from slmx.member.hyper import Stacked
    from slmx.member.streams import Streams


def _complete(layer: list[int]) -> list[int]:
    """A layer with its padding. ValueError where nothing could be convolved so."""
    if min(layer[:3]) < 1:
        raise ValueError(f"channels, kernel and stride must be at least 1, not {layer[:3]}")
    if layer[3:] and layer[3] >= layer[1]:
        raise ValueError(f"a padding of {layer[3]} would show a kernel of {layer[1]} nothing but the padding")
    return [*layer, 0][:4]


Layer = Annotated[list[Annotated[Int, Field(ge=0)]], Field(min_length=3, max_length=4), AfterValidator(_complete)]


class ConvNet(MLP):
    """A port's convolutions and first hidden layer are its encoder, the other hidden layers the trunk.

    Images are uint8 `[C, H, W]`, scaled to [0, 1]. The defaults are those of Mnih et al., 2015, Nature 518.
    """

    renorms = False

    class Hyper(MLP.Hyper):
        """Convolutions, hidden layers and how they are optimised."""

        type: str = Field("ConvNet", description="which network")
        conv_layers: list[Layer] = Field(
            [[32, 8, 4, 0], [64, 4, 2, 0], [64, 3, 1, 0]],
            min_length=1,
            description="convolutions: [channels, kernel, stride] or [channels, kernel, stride, padding]",
        )
        conv_activation: Activation = Field("relu", description="activation after each convolution")
        hid_layers: list[Annotated[Int, Field(ge=1)]] = Field(
            [512], min_length=1, description="widths of the hidden layers after the convolutions"
        )
        hid_layers_activation: Activation = Field("relu", description="activation after each hidden layer")

    @classmethod
    def misfits(cls, hyper: Any, shape: tuple[int, ...]) -> dict[str, str]:
        if len(shape) != 3:
            return {"type": f"convolutions need images, not {math.prod(shape)} numbers"}
        for i, ((_, height, width), made) in enumerate(pairwise(shapes(hyper.conv_layers, shape))):
            if min(made) < 1:
                kernel = hyper.conv_layers[i][1]
                return {f"conv_layers.{i}": f"a kernel of {kernel} x {kernel} gets an image of {height} x {width}"}
        return {}

    @classmethod
    def multiplications(cls, hyper: Any, shape: tuple[int, ...], outputs: int) -> int:
        found = shapes(hyper.conv_layers, shape)
        convolved = zip(found, hyper.conv_layers, found[1:], strict=False)
        return super().multiplications(hyper, found[-1], outputs) + sum(
            channels * kernel**2 * math.prod(made) for (channels, _, _), (_, kernel, *_), made in convolved
        )

    @staticmethod
    def encoder(hp: Stacked, streams: Streams, shape: tuple[int, ...], renormed: bool) -> torch.nn.Module:
        from slmx.net.layer import Convolution, Convolved, Stack

        found = shapes(hp.conv_layers, shape)
        layers = [
            Convolution(streams, channels, *layer, init=hp.init_fn)
            for (channels, _, _), layer in zip(found, hp.conv_layers, strict=False)
        ]
        hidden = layers_of(hp, streams, [math.prod(found[-1]), hp.hid_layers[0]])
        stack = Stack(hidden, activation_of(hp.hid_layers_activation))
        return Convolved(layers, activation_of(hp.conv_activation), stack)


def shapes(layers: Sequence[Sequence[int]], image: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes `[C, H, W]` of an image and of what each convolution makes of it; 0 or less where that is nothing."""

    def made(shape: tuple[int, ...], layer: Sequence[int]) -> tuple[int, ...]:
        channels, kernel, stride, padding = layer
        return channels, *((n + 2 * padding - kernel) // stride + 1 for n in shape[1:])

    return list(accumulate(layers, made, initial=image))
