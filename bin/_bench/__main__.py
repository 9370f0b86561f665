"""bin/bench: see arguments.py. Each bench is imported only when it is asked for."""

from __future__ import annotations

import sys

from arguments import parser

if __name__ == "__main__":
    asked = parser().parse_args()
    if asked.command == "speed":
        from speed import bench_speed

        bench_speed(asked.only, asked.peers, asked.quick)
    elif asked.command == "search":
        from searches import bench_search

        sys.exit(bench_search(asked.settings or (4 if asked.quick else 16), asked.peers, asked.quick))
    elif asked.command == "searchers":
        from searchers import bench_searchers

        sys.exit(bench_searchers(asked.names, asked.settings, asked.repeats, asked.quick))
    elif asked.command == "scores":
        from scores import bench_scores

        sys.exit(bench_scores(asked.only, asked.sessions, asked.jobs, asked.data))
    elif asked.command == "halving":
        from halving import bench_halving

        sys.exit(bench_halving(asked.settings, asked.sessions, asked.frames, asked.seeds, asked.data))
    elif asked.command == "memory":
        from memory import bench_memory

        bench_memory()
    elif asked.command == "one":
        from one import measure

        measure(asked.setting, asked.frames)
    else:
        from scores import train_one

        train_one(asked.file, asked.name, asked.sessions, asked.data)
