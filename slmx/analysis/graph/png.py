"""PNG files of figures, drawn by a browser that can start while the figures are still being made."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any

import plotly.graph_objects as go

log = logging.getLogger(__name__)

BROWSER_HINT = "no Chrome or Chromium found, so graphs are HTML only; `plotly_get_chrome` installs one for PNG"
SCALE, WIDTH = 2, 1000
SHELLS = ("chrome-headless-shell", "chromium-headless-shell")
"""Browsers that never have a window: they draw in half the time of one that is told to have none."""
TABS = min(2, os.cpu_count() or 1)  # figures drawn at once
PATIENCE = 30.0  # seconds in which a browser opens or closes, or draws a figure

Job = Any
"""A figure, where it goes and how, as kaleido takes it: `{"fig": ..., "path": ..., "opts": ...}`."""


class Browser:
    """Starts at once, in a thread, and draws figures once; where none are to be drawn it is closed again.

    Where there is no browser, or it fails, one line in the log says so, and nothing is drawn.
    """

    def __init__(self) -> None:
        self._asked: Future[list[Job]] = Future()
        self._drawn: Future[Sequence[Exception]] = Future()
        # a daemon, waited for only so long: what drives the browser never hears of it where that is killed
        self._thread = threading.Thread(target=self._run, name="png", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._drawn.set_result(asyncio.run(_serve(self._asked)))
        except BaseException as error:
            self._drawn.set_exception(error)

    def draw(self, figures: Mapping[Path, go.Figure]) -> None:
        """Draw each figure at its path: a file is whole or not there."""
        from choreographer.browsers import BrowserClosedError, BrowserDepsError, BrowserFailedError, ChromeNotFoundError

        temporary = {path: path.with_name(f".{path.stem}.{os.getpid()}.tmp.png") for path in figures}
        self._asked.set_result([_job(figure, temporary[path]) for path, figure in figures.items()])
        try:
            failures = self._drawn.result(PATIENCE * (1 + len(figures)))
        except ChromeNotFoundError:
            log.warning(BROWSER_HINT)
            return
        except (BrowserClosedError, BrowserDepsError, BrowserFailedError, TimeoutError) as error:
            name = "it does not answer" if isinstance(error, TimeoutError) else type(error).__name__
            what = error.args[0] if error.args else name
            log.warning("the browser failed, so graphs are HTML only: %s", what)
            return
        for failure in failures:
            log.warning("a graph could not be drawn as PNG: %s", failure)
        for path, drawn in temporary.items():
            if drawn.exists():
                drawn.replace(path)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._asked.done():
            self._asked.set_result([])
        self._thread.join(PATIENCE)


def browser_path() -> str | None:
    """Where the browser is that draws: what BROWSER_PATH says, one of SHELLS, any Chrome or Chromium; None: nowhere."""
    from choreographer.browsers.chromium import Chromium

    asked = os.environ.get("BROWSER_PATH")
    found = asked or next(filter(None, map(shutil.which, SHELLS)), None) or Chromium.find_browser(skip_local=False)
    return str(found) if found else None


async def _serve(asked: Future[list[Job]]) -> Sequence[Exception]:
    """Open a browser, draw what is asked for, close it; what went wrong with single figures."""
    from kaleido import Kaleido  # slow to import, and HTML needs none of it

    # MathJax would be fetched from the network
    async with Kaleido(n=TABS, mathjax=False, path=browser_path()) as browser:
        jobs = await asyncio.wrap_future(asked)
        return (await browser.write_fig_from_object(jobs) if jobs else None) or ()


def _job(figure: go.Figure, path: Path) -> Job:
    return {
        "fig": figure,
        "path": path,
        "opts": {"format": "png", "width": WIDTH, "height": figure.layout.height, "scale": SCALE},
    }
