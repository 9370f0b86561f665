"""What a search's tables on the terminal say."""

import json
import math
from types import SimpleNamespace

import pytest

from slmx.search.display import SearchDisplay, _shown

DECAY = {"name": "linear_decay", "start_val": 0.002, "end_val": 0.0, "start_step": 0}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.123456, "0.1235"),
        (math.nan, ""),
        (7, "7"),
        ("[64, 64]", "[64, 64]"),
        (json.dumps(DECAY), "0.002 to 0"),
        (DECAY, "0.002 to 0"),
        ([64, 64], "[64, 64]"),
        ("tanh", "tanh"),
        (True, "true"),
        (json.dumps({"name": "Adam", "weight_decay": 0.25}), '{"name": "Adam", "wei...'),
    ],
)
def test_a_setting_is_shown_in_few_letters(value: object, shown: str) -> None:
    assert _shown(value) == shown


@pytest.mark.parametrize(("done", "tells"), [(0, False), (50, True), (100, False), (130, False)])
def test_what_is_left_is_told_while_it_is_known(done: int, tells: bool) -> None:
    search = SimpleNamespace(
        running={}, frames=done, total_frames=100, plan=SimpleNamespace(total=4), best=None, count=lambda state: 0
    )
    line = SearchDisplay(quiet=True)._line(search)  # type: ignore[arg-type]
    assert line.startswith("0 of 4 trials done, 0 running") and line.endswith(" left") == tells
