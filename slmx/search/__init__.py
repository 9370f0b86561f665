"""Search: settings drawn, grouped into programs, trained on Ray. The only package that imports ray."""

SEARCHERS = {
    "random": "slmx.search.random:RandomSearcher",
    "grid": "slmx.search.grid:GridSearcher",
    "optuna": "slmx.search.tpe:OptunaSearcher",
}
