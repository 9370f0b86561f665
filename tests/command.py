"""The command line as a user types it, in this process."""

from __future__ import annotations

import sys

import pytest

from slmx.cli import main


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run `slmx` with these arguments; its exit code."""
    monkeypatch.setattr(sys, "argv", ["slmx", *map(str, arguments)])
    monkeypatch.setattr(sys, "path", [*sys.path])  # main adds to it
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)
