"""Values of schedules at known frames, per member, and what makes no schedule."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from slmx.member.schedule import Schedule


def value(frame: int, **keys: Any) -> float:
    schedule = Schedule(**{"start_step": 100, "end_step": 300, **keys})
    return schedule.value(Schedule.stack([schedule]), frame).item()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear_decay", {0: 1.0, 100: 1.0, 150: 0.7525, 200: 0.505, 300: 0.01, 9999: 0.01}),
        ("rate_decay", {0: 1.0, 100: 1.0, 150: 10**-0.5, 200: 0.1, 300: 0.01, 9999: 0.01}),
        (
            "cosine_decay",
            {0: 1.0, 100: 1.0, 150: 0.01 + 0.495 * (1 + math.sqrt(0.5)), 200: 0.505, 300: 0.01, 9999: 0.01},
        ),
    ],
)
def test_values(name: str, expected: dict[int, float]) -> None:
    for frame, number in expected.items():
        assert value(frame, name=name, start_val=1.0, end_val=0.01) == pytest.approx(number)


def test_schedules_may_rise_and_end_at_zero() -> None:
    assert value(200, name="linear_decay", start_val=0.4, end_val=1.0) == pytest.approx(0.7)
    assert value(300, name="linear_decay", start_val=1.0, end_val=0.0) == 0
    assert value(300, name="cosine_decay", start_val=1.0, end_val=0.0) == pytest.approx(0)


def test_each_member_has_its_own_numbers() -> None:
    schedules = [
        Schedule(name="linear_decay", start_val=1.0, end_val=0.0, end_step=10),
        Schedule(name="linear_decay", start_val=2.0, end_val=1.0, start_step=5, end_step=10),
    ]
    np.testing.assert_allclose(schedules[0].value(Schedule.stack(schedules), 5), [0.5, 2.0])


def test_steps_are_written_as_people_write_them() -> None:
    assert Schedule(name="linear_decay", start_val=1.0, end_val=0.0, end_step=1e5).end_step == 100_000  # type: ignore[arg-type]


def test_an_open_end_must_be_resolved_first() -> None:
    with pytest.raises(ValueError, match="end_step of linear_decay was not resolved"):
        Schedule.stack([Schedule(name="linear_decay", start_val=1.0, end_val=0.0)])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"start_step": 5, "end_step": 5}, "end_step 5 must be after start_step 5"),
        ({"name": "rate_decay", "end_val": 0.0}, "rate_decay needs positive values, not 1.0 and 0.0"),
        ({"name": "exponential"}, "linear_decay"),
        ({"start_step": -1}, "greater than or equal to 0"),
        ({"end_step": 2.5}, "integer"),
        ({"end_value": 0.0}, "Extra inputs"),
        ({"end_val": float("nan")}, "finite"),
    ],
)
def test_refuses(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Schedule(**{"name": "linear_decay", "start_val": 1.0, "end_val": 0.5, **keys})


def test_a_comparison_holds_when_it_holds_for_both_ends() -> None:
    schedule = Schedule(name="linear_decay", start_val=1.0, end_val=0.25)
    assert schedule <= 1
    assert schedule >= 0.25
    assert not schedule < 1
    assert not schedule > 0.25
    assert schedule > 0
    assert schedule < 2
    assert not schedule <= 0.5
    assert not schedule >= 0.5
