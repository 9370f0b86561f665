"""Numbers that change over time, in frames of the agent's experience."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

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

    name: Literal["linear_decay", "rate_decay", "cosine_decay"] = Field(
        description="linear, at a constant rate per frame, or half a cosine"
    )
    start_val: float = Field(description="value until start_step")
    end_val: float = Field(description="value from end_step on")
    start_step: Frame = Field(0, ge=0, description="frame at which the change begins")
    end_step: Frame | None = Field(None, description="frame at which it ends; by default the end of the training")

    numbers: ClassVar[tuple[str, ...]] = ("start_val", "end_val", "start_step", "end_step")

    @classmethod
    def stack(cls, schedules: Sequence[Schedule]) -> dict[str, np.ndarray]:
        """One array `[M]` per number of the schedules of M members, and of the frames between start and end."""
        import numpy as np

        if open_ended := [s for s in schedules if s.end_step is None]:
            raise ValueError(f"end_step of {open_ended[0].name} was not resolved")
        columns = {key: np.array([getattr(s, key) for s in schedules], np.float64) for key in cls.numbers}
        return columns | {"span": columns["end_step"] - columns["start_step"]}

    def value(self, columns: dict[str, np.ndarray], frame: int | np.ndarray) -> np.ndarray:
        """The values `[M]` of M stacked schedules of this kind at `frame`; `[T, M]` at frames `[T, 1]`."""
        import numpy as np

        start, end = columns["start_val"], columns["end_val"]
        progress = np.minimum(np.maximum((frame - columns["start_step"]) / columns["span"], 0.0), 1.0)
        match self.name:
            case "linear_decay":
                return start + (end - start) * progress
            case "rate_decay":  # a constant rate per frame from start to end
                return start * (end / start) ** progress
            case "cosine_decay":  # half a cosine from start to end
                return end + (start - end) * 0.5 * (1.0 + np.cos(np.pi * progress))

    @model_validator(mode="after")
    def _check(self) -> Schedule:
        if self.end_step is not None and self.end_step <= self.start_step:
            raise ValueError(f"end_step {self.end_step} must be after start_step {self.start_step}")
        if self.name == "rate_decay" and not (self.start_val > 0 and self.end_val > 0):
            raise ValueError(f"rate_decay needs positive values, not {self.start_val} and {self.end_val}")
        return self

    def __ge__(self, bound: float) -> bool:
        return self.start_val >= bound and self.end_val >= bound

    def __gt__(self, bound: float) -> bool:
        return self.start_val > bound and self.end_val > bound

    def __le__(self, bound: float) -> bool:
        return self.start_val <= bound and self.end_val <= bound

    def __lt__(self, bound: float) -> bool:
        return self.start_val < bound and self.end_val < bound
