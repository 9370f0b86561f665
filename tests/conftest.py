"""What holds for all tests."""

from __future__ import annotations

import signal

import pytest

# A shell starts what runs in its background deaf to Ctrl-C, and nohup deaf to the terminal's end; so would be all that
# tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes begins first: begun last, it would keep one process busy while the others have nothing."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
