"""Search: settings drawn, grouped into programs, trained on Ray. The only package that imports ray."""

SEARCHERS = {
    "random": "slmx.search.random:RandomSearcher",
    "grid": "slmx.search.grid:GridSearcher",
    "optuna": "slmx.search.optuna:OptunaSearcher",
    "hyperopt": "slmx.search.tune:HyperOptSearcher",
    "nevergrad": "slmx.search.tune:NevergradSearcher",
    "bohb": "slmx.search.tune:BohbSearcher",
}
SCHEDULERS = {
    "halving": "slmx.search.halving:Halving",
    "pbt": "slmx.search.pbt:Pbt",
    "pb2": "slmx.search.pb2:Pb2",
    "asha": "slmx.search.tune_schedulers:Asha",
    "hyperband": "slmx.search.tune_schedulers:HyperBand",
    "median": "slmx.search.tune_schedulers:Median",
}
