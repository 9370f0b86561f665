"""Figures to files: HTML that opens without a network, and PNG.

HTML files read one plotly.min.js that lies in the run's directory. PNG files need a Chrome or Chromium; without one
there is a hint in the log and HTML alone, and never an error.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from slmx.analysis.files import write_whole

log = logging.getLogger(__name__)

BROWSER_HINT = "no Chrome or Chromium found, so graphs are HTML only; `plotly_get_chrome` installs one for PNG"
PNG_SCALE = 2


def write_figures(figures: Mapping[Path, go.Figure], home: Path) -> None:
    """Write each figure as `{path}.html` and `{path}.png`; `home` gets the plotly.min.js that all of them read.

    All PNG files are drawn in one start of the browser (2 s). Where there is no browser, or it fails, one line in the
    log says so and the HTML files stand.
    """
    if not figures:
        return
    script = home / "plotly.min.js"
    source = get_plotlyjs()
    if not script.exists() or script.read_text(encoding="utf-8") != source:
        write_whole(script, lambda file: file.write_text(source, encoding="utf-8"))
    for path, figure in figures.items():
        html = figure.to_html(
            include_plotlyjs=os.path.relpath(script.resolve(), path.resolve().parent).replace(os.sep, "/"),
            div_id=path.name,
            config={"displaylogo": False, "responsive": True},
        )
        write_whole(
            path.with_name(path.name + ".html"), lambda file, html=html: file.write_text(html, encoding="utf-8")
        )
    _write_png({path.with_name(path.name + ".png"): figure for path, figure in figures.items()})


def _write_png(figures: Mapping[Path, go.Figure]) -> None:
    # here, for it is slow to import and HTML needs none of it
    import kaleido
    from choreographer.browsers import BrowserClosedError, BrowserDepsError, BrowserFailedError, ChromeNotFoundError

    temporary = {path: path.with_name(f".{path.stem}.{os.getpid()}.tmp.png") for path in figures}
    jobs = [
        {
            "fig": figure,
            "path": temporary[path],
            "opts": {"format": "png", "width": 1000, "height": figure.layout.height, "scale": PNG_SCALE},
        }
        for path, figure in figures.items()
    ]
    try:
        # MathJax would be fetched from the network
        failures = kaleido.write_fig_from_object_sync(jobs, kopts={"mathjax": False})
    except ChromeNotFoundError:
        log.warning(BROWSER_HINT)
        return
    except (BrowserClosedError, BrowserDepsError, BrowserFailedError, TimeoutError) as error:
        log.warning(
            "the browser failed, so graphs are HTML only: %s", error.args[0] if error.args else type(error).__name__
        )
        return
    for failure in failures:
        log.warning("a graph could not be drawn as PNG: %s", failure)
    for path, drawn in temporary.items():
        if drawn.exists():
            drawn.replace(path)
