"""Numbers that change over time, in frames of the agent's experience."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

if TYPE_CHECKING:
    import numpy as np


def _integral(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Frame = Annotated[int, BeforeValidator(_integral)]


class Schedule(BaseModel):
    """From `start_val` at `start_step` to `end_val` at `end_step`; constant before and after.

    All numbers may differ between members of one program; the kind of schedule (`name`) may not.
    Comparisons with a number hold when they hold for both end values, so a field's bounds apply to its schedules too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: Literal["linear_decay", "rate_decay", "periodic_decay"] = Field(description="which kind of schedule")
    start_val: float = Field(description="value until start_step")
    end_val: float = Field(description="value from end_step on")
    start_step: Frame = Field(0, ge=0, description="frame at which the change begins")
    end_step: Frame | None = Field(None, description="frame at which it ends; by default the end of the training")

    numbers: ClassVar[tuple[str, ...]] = ("start_val", "end_val", "start_step", "end_step")

    @classmethod
    def stack(cls, schedules: Sequence[Schedule]) -> dict[str, np.ndarray]:
        """One array `[M]` per number of the schedules of M members."""
        import numpy as np

        if open_ended := [s for s in schedules if s.end_step is None]:
            raise ValueError(f"end_step of {open_ended[0].name} was not resolved")
        return {key: np.array([getattr(s, key) for s in schedules], np.float64) for key in cls.numbers}

    def __ge__(self, bound: float) -> bool:
        return self.start_val >= bound and self.end_val >= bound

    def __gt__(self, bound: float) -> bool:
        return self.start_val > bound and self.end_val > bound

    def __le__(self, bound: float) -> bool:
        return self.start_val <= bound and self.end_val <= bound

    def __lt__(self, bound: float) -> bool:
        return self.start_val < bound and self.end_val < bound
