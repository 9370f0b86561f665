"""The browser that draws PNG files: it starts early, and is closed whether or not it is used."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import plotly.graph_objects as go
import pytest

from slmx.analysis.graph import Browser, png
from slmx.analysis.graph.png import browser_path

PNG = b"\x89PNG"
HAS_BROWSER = browser_path() is not None


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that are started meanwhile."""
    found: list[subprocess.Popen[bytes]] = []
    begin = subprocess.Popen.__init__

    def noted(self: subprocess.Popen[bytes], *args: object, **more: object) -> None:
        begin(self, *args, **more)  # type: ignore[call-overload]
        found.append(self)

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    return found


def figure() -> go.Figure:
    return go.Figure(go.Scatter(x=[1, 2], y=[3, 4])).update_layout(height=200)


@pytest.mark.skipif(not HAS_BROWSER, reason="no Chrome or Chromium")
def test_figures_are_drawn_and_the_browser_is_gone(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    with Browser() as browser:
        browser.draw({tmp_path / f"{name}.png": figure() for name in ("one", "two", "three")})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "three.png", "two.png"]
    assert all(path.read_bytes().startswith(PNG) for path in tmp_path.iterdir())
    assert started and all(process.poll() is not None for process in started)


@pytest.mark.skipif(not HAS_BROWSER, reason="no Chrome or Chromium")
def test_a_browser_that_nobody_uses_is_closed(started: list[subprocess.Popen[bytes]]) -> None:
    with pytest.raises(ValueError, match="no table"), Browser():
        raise ValueError("no table")
    assert all(process.poll() is not None for process in started)


def test_no_browser_is_no_matter_where_nothing_is_drawn(set_browser) -> None:  # type: ignore[no-untyped-def]
    for path in (None, "/bin/false"):
        set_browser(path)
        with Browser():
            pass


def test_a_browser_that_does_not_answer_is_not_waited_for(
    tmp_path: Path,
    set_browser: Callable[[str], None],
    started: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mute = tmp_path / "chromium"
    mute.write_text("#!/bin/sh\nexec sleep 600\n")
    mute.chmod(0o755)
    set_browser(str(mute))
    monkeypatch.setattr(png, "PATIENCE", 1.0)
    with Browser() as browser:
        browser.draw({tmp_path / "one.png": figure()})
    assert caplog.messages == ["the browser failed, so graphs are HTML only: it does not answer"]
    assert not (tmp_path / "one.png").exists()
    for process in started:
        process.kill()
