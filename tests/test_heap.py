"""What is freed is there for what is asked for next."""

import subprocess
import sys

import pytest

from slmx.heap import keep_freed

FAULTS = """
import resource, sys
import numpy as np
from slmx.heap import keep_freed

if sys.argv[1] == "kept":
    keep_freed()
def update():
    return [np.ones(1_000_000) for _ in range(4)]  # 8 MB each
update()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    update()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    run = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(not keep_freed(), reason="another C library than glibc")
def test_pages_of_an_update_are_faulted_in_once() -> None:
    assert faults("kept") * 10 < faults("given back")
