"""The member axis of what a program holds: members leave, or become copies of one another.

Both happen between environments alone, when no episode runs. An object that holds something of every member is
`Membered` and names it; nothing is guessed from shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from slmx.lazy import torch

How = Literal["keep", "clone"]


class Membered:
    """What holds something of every member.

    `copied` names the attributes that a copy takes over: parameters, memories, statistics. `own` names those that stay
    with their member all its life: its random streams. Each is a tensor or array `[M, ...]`, a network of such, another
    Membered, None, or a list, tuple or dict of these. What is kept otherwise is seen to by `follow`.
    """

    copied: ClassVar[tuple[str, ...]] = ()
    own: ClassVar[tuple[str, ...]] = ()

    def keep(self, index: Sequence[int]) -> None:
        """Only the members `index` remain, in that order; no number stands twice."""
        self.become("keep", index, (*self.copied, *self.own))

    def clone(self, source: Sequence[int]) -> None:
        """Member i becomes a copy of member `source[i]` in all that is learned."""
        self.become("clone", source, self.copied)

    def follow(self, index: Sequence[int]) -> None:
        """Do likewise with what is copied and has no name above: lists by member, views of what was replaced."""

    def become(self, how: How, index: Sequence[int], names: Sequence[str]) -> None:
        """What both have in common: in the named attributes member i becomes what member `index[i]` was."""
        index = list(index)
        for name in names:
            setattr(self, name, chosen(getattr(self, name), how, index))
        self.follow(index)


def chosen(value: Any, how: How, index: list[int]) -> Any:
    """A value of which member i is what member `index[i]` was; what can be changed in place is."""
    if value is None:
        return None
    if isinstance(value, dict):
        return {key: chosen(item, how, index) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(chosen(item, how, index) for item in value)
    if isinstance(value, torch.nn.Module):
        for tensor in (*value.parameters(), *value.buffers()):
            tensor.data = tensor.data[index]
        return value
    if hasattr(value, "shape"):  # a tensor or an array
        return value[index]
    if hasattr(value, how):
        getattr(value, how)(index)
        return value
    raise TypeError(f"{type(value).__name__} has no {how}: how is it to be done for its members {index}?")
