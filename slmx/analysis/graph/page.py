"""Figures to files: HTML that opens without a network, and PNG.

HTML files read one plotly.min.js that lies in the run's directory. PNG files need a Chrome or Chromium; without one
there is a hint in the log and HTML alone, and never an error.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from slmx.analysis.files import write_whole
from slmx.analysis.graph.png import Browser

CONFIG = {"displaylogo": False, "responsive": True}


def write_figures(
    figures: Mapping[Path, go.Figure],
    home: Path,
    browser: Browser | None = None,
    below: Mapping[Path, go.Figure] | None = None,
    pages: Mapping[Path, go.Figure] | None = None,
) -> None:
    """Write each figure as `{path}.html` and `{path}.png`; `home` gets the plotly.min.js that all of them read.

    Figures of `below` follow in the HTML file of the same path, and in no PNG: they are for the mouse. `pages` are
    written as HTML alone. All PNG files are drawn in one start of a browser, or by one that has been started. Where
    there is none, or it fails, one line in the log says so and the HTML files stand.
    """
    if not figures:
        return
    script = home / "plotly.min.js"
    source = get_plotlyjs()
    if not script.exists() or script.read_text(encoding="utf-8") != source:
        write_whole(script, lambda file: file.write_text(source, encoding="utf-8"))
    for path, figure in [*figures.items(), *(pages or {}).items()]:
        html = figure.to_html(
            include_plotlyjs=os.path.relpath(script.resolve(), path.resolve().parent).replace(os.sep, "/"),
            div_id=path.name,
            config=CONFIG,
        )
        if below and path in below:
            div = f"{path.name}_below"
            more = below[path].to_html(include_plotlyjs=False, full_html=False, div_id=div, config=CONFIG)
            html = html.replace("</body>", f"{more}</body>")
        write_whole(
            path.with_name(path.name + ".html"), lambda file, html=html: file.write_text(html, encoding="utf-8")
        )
    pictures = {path.with_name(path.name + ".png"): figure for path, figure in figures.items()}
    with contextlib.nullcontext(browser) if browser else Browser() as drawing:
        drawing.draw(pictures)
