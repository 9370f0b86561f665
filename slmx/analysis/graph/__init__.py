"""Graphs, each in two steps: a tidy table of exactly what it shows, then a Plotly figure of that table."""

from slmx.analysis.graph.experiment import Seen, experiment_graph, experiment_table
from slmx.analysis.graph.page import write_figures
from slmx.analysis.graph.parallel import parallel_graph
from slmx.analysis.graph.png import BROWSER_HINT, Browser
from slmx.analysis.graph.session import PANELS, session_graph, session_table
from slmx.analysis.graph.style import AVERAGE, COLOURS, FAINT, INK, finish
from slmx.analysis.graph.trial import speed_graph, trial_graph, trial_table

__all__ = [
    "AVERAGE",
    "BROWSER_HINT",
    "COLOURS",
    "FAINT",
    "INK",
    "PANELS",
    "Browser",
    "Seen",
    "experiment_graph",
    "experiment_table",
    "finish",
    "parallel_graph",
    "session_graph",
    "session_table",
    "speed_graph",
    "trial_graph",
    "trial_table",
    "write_figures",
]
