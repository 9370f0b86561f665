"""Work beside other work: it ends with it, and what breaks it is known."""

from __future__ import annotations

import threading

import pytest

from slmx.alongside import alongside


def test_it_goes_on_until_the_end_and_is_waited_for() -> None:
    seen: list[str] = []

    def work(over: threading.Event) -> None:
        seen.append("begun")
        over.wait()
        seen.append("over")

    with alongside(work, "work"):
        assert "over" not in seen
    assert seen == ["begun", "over"] and not [thread for thread in threading.enumerate() if thread.name == "work"]


def test_what_breaks_it_breaks_nothing_before_the_end() -> None:
    done = False
    with pytest.raises(ZeroDivisionError), alongside(lambda over: print(1 / 0), "work"):
        done = True
    assert done


def test_what_breaks_the_other_work_comes_first() -> None:
    with pytest.raises(KeyError), alongside(lambda over: print(1 / 0), "work"):
        raise KeyError


def test_what_waits_is_woken() -> None:
    woken = threading.Event()
    with alongside(lambda over: print(woken.wait()), "work", woken.set):
        pass
