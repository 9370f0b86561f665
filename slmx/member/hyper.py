"""Typed hyperparameters: which keys exist, which may differ between the members of one program, and how they are
stacked.

The type says what may vary: a `PerMember` or `Scheduled` field may differ between members of one program and reaches
the algorithm as a tensor `[M, 1]`; every other field is part of the program and equal for all members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from slmx.member.schedule import Schedule

AHEAD = 256  # frames for which the values of schedules are worked out at once


class Varies:
    """The mark of a field that may differ between the members of one program."""


def _integral(value: Any) -> Any:
    """1e5 is how people write a hundred thousand; JSON reads it as a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Int = Annotated[int, BeforeValidator(_integral)]
PerMember = Annotated[float, Varies()]
MaybePerMember = Annotated[float | None, Varies()]
Scheduled = Annotated[float | Schedule, Varies()]


class Model(BaseModel):
    """A closed, frozen, strictly typed group of spec keys. Unknown keys and silent conversions are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Hyper(Model):
    """Hyperparameters of one component of an agent."""

    def idle(self) -> dict[str, str]:
        """Keys that do nothing under the other values, each with the reason: setting one of them is an error."""
        return {}

    def conflicts(self) -> dict[str, str]:
        """Keys whose values contradict one another, each with what is wrong."""
        return {}


class NamedHyper(Hyper):
    """Hyperparameters of a component that the spec chooses by `name` (a network is chosen by `type`)."""

    name: str = Field("", description="which class")


def varies(model: type[BaseModel], field: str) -> bool:
    """Whether a field may differ between members of one program."""
    return any(isinstance(mark, Varies) for mark in model.model_fields[field].metadata)


class Stacked:
    """The hyperparameters of M members as one object: per-member fields are tensors `[M, 1]`, all others plain values.

    Scheduled fields hold the values of the frame last given to `at`. Shapes: every per-member attribute is `[M, 1]`.
    What is made of these values elsewhere must be made anew after `restack`; networks and memories look them up here.
    """

    def __init__(self, hypers: Sequence[BaseModel], dtype: Any = None, device: Any = None):
        import torch

        self._as = {"dtype": dtype or torch.get_default_dtype(), "device": device or "cpu"}
        self._frame = 0
        self.restack(hypers)

    def restack(self, hypers: Sequence[BaseModel]) -> None:
        """Hold the hyperparameters of these members from now on, of the same kind, at the same frame.

        ValueError where they differ in what is part of the program.
        """
        import numpy as np
        import torch

        first = hypers[0]
        self._schedules: list[tuple[str, Schedule, dict[str, np.ndarray]]] = []
        for field in type(first).model_fields:
            values = [getattr(hyper, field) for hyper in hypers]
            if isinstance(values[0], Hyper):  # a component's component is stacked by its own class
                setattr(self, field, values)
            elif not varies(type(first), field) or values[0] is None:
                if any(value != values[0] for value in values):
                    raise ValueError(f"{field} differs between members but is part of the program: {values}")
                setattr(self, field, values[0])
            elif isinstance(values[0], Schedule):
                self._schedules.append((field, values[0], Schedule.stack(values)))
            else:
                setattr(self, field, torch.tensor(values, **self._as)[:, None])
        self._ahead: list[tuple[str, Any]] = []  # values [AHEAD, M, 1] of each scheduled field, from frame _base on
        self._base = self._frame - AHEAD
        self.at(self._frame)

    def at(self, frame: int) -> None:
        """Set every scheduled field to its value at `frame` (frames of the agent's experience)."""
        self._frame = frame
        if not self._schedules:
            return
        if not 0 <= frame - self._base < AHEAD:
            self._look_ahead(frame)
        for field, values in self._ahead:
            setattr(self, field, values[frame - self._base])

    def _look_ahead(self, frame: int) -> None:
        """Values are worked out for many frames at once: an agent that explores asks at every step."""
        import numpy as np
        import torch

        self._base, frames = frame, np.arange(frame, frame + AHEAD)[:, None]
        self._ahead = [
            (field, torch.from_numpy(kind.value(columns, frames)).to(**self._as)[..., None])
            for field, kind, columns in self._schedules
        ]

    def __getattr__(self, name: str) -> Any:  # only for type checkers and clear errors: fields are set in __init__
        raise AttributeError(f"no hyperparameter {name!r}")
