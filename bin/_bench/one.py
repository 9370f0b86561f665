"""One measurement of the lab, in a process of its own: build a program, train it, say how long it took."""

from __future__ import annotations

import json
import resource
import sys
import time

from settings import spec

from slmx.lazy import loading
from slmx.session import Program, Session
from slmx.spec.build import build


def measure(setting: str, frames: int) -> None:
    """Print frames (of all members), seconds of training and the peak of resident memory in MB, as JSON."""
    algorithm, env, members, *backend = setting.split("/")
    with loading():  # as the lab does
        built = build("bench", spec(algorithm, env, frames, *backend))
        program = Program([Session(built, trial=0, index=i) for i in range(int(members))])
    rows = []
    start = time.perf_counter()
    program.run(lambda program: rows.append((time.perf_counter() - start, program.frames[0])))
    seconds, per_member = rows[-1]  # the last row comes before the final evaluation
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    print(json.dumps({"frames": per_member * int(members), "seconds": seconds, "peak_mb": peak}))
