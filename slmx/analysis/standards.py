"""The standard of an environment: the return of random play, a return to call good, and the frames to reach it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmx.errors import SlmxError

SHIPPED = Path(__file__).parents[1] / "specs" / "_fitness.json"


@dataclass(frozen=True)
class Standard:
    """What strengths and speeds of one environment are measured by; `source` says where each number is from.

    `std_return` and `std_frame` are None where nobody has set one: strength and speed are unknown there.
    """

    rand_return: float
    std_return: float | None = None
    std_frame: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.std_return is not None and self.std_return <= self.rand_return:
            raise SlmxError(f"std_return {self.std_return:g} is not above rand_return {self.rand_return:g}")
        if self.std_frame is not None and self.std_frame <= 0:
            raise SlmxError(f"std_frame {self.std_frame:g} is not above 0")


def read_standards(table: Mapping[str, Mapping[str, Any]]) -> dict[str, Standard]:
    """`{environment: {rand_return, std_return, std_frame, source}}`, as in `_fitness.json` and a run's spec.json."""
    standards = {}
    for name, entry in table.items():
        try:
            standards[name] = Standard(**entry)
        except (TypeError, SlmxError) as error:
            raise SlmxError(f"fitness standard of {name}: {error}") from error
    return standards


def load_standards(path: Path = SHIPPED) -> dict[str, Standard]:
    """The standards in a file, by default in spec/_fitness.json."""
    return read_standards(json.loads(path.read_text()))
