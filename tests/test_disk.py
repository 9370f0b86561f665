"""What happens where nothing can be written any more: one clear line, nothing lost, and the run can be resumed."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from slmx.run_directory import read_state
from tests.processes import running
from tests.search.specs import raw_of

SEARCH = {"agent.0.algorithm.gamma__uniform": [0.9, 0.99]}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root may mount a disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def arguments(place: Path, disk: Path, mode: str) -> tuple[object, ...]:
    raw = raw_of(SEARCH, {"max_frame": 9000}, {"checkpoint_frequency": 3000, "max_member": 2, "max_trial": 2})
    path = place / "spec.json"
    path.write_text(json.dumps({"tiny": raw}))
    return "run", path, mode, "--data", disk, "--no-graphs", "--quiet"


def fill(ballast: Path) -> None:
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize("mode", ["train", pytest.param("search", marks=pytest.mark.slow)])
def test_a_full_disk(mode: str, tmp_path: Path, disk: Path) -> None:
    ballast = disk / "ballast"
    with running(*arguments(tmp_path, disk, mode)) as command:
        command.wait_for(lambda: bool([*disk.glob("*/checkpoint/*.pt")]))
        fill(ballast)
        code, out, err = command.end()
        assert not command.alive()
    (directory,) = (path for path in disk.iterdir() if path.is_dir())
    assert (code, out, err.count("\n")) == (1, "", 1) and err.startswith(f"cannot write {disk}"), err
    assert err.endswith(f": No space left on device; once that is mended, go on with: slmx resume {directory}\n")
    assert read_state(directory) in [(mode, "RUNNING"), (mode, "STOPPED")], "there may have been no room to say so"
    assert not [*directory.rglob("error.txt"), *directory.rglob(".*.tmp")], "no trial is to blame, and nothing is half"
    ballast.unlink()
    with running("resume", directory, "--quiet", "--no-graphs") as command:
        assert command.end() == (0, "", "")
    with running(*arguments(tmp_path, tmp_path / "whole", mode)) as command:
        assert command.end() == (0, "", "")
    (expected,) = (tmp_path / "whole").iterdir()
    for path in expected.rglob("*_*.csv"):
        assert (directory / path.relative_to(expected)).read_bytes() == path.read_bytes(), path


def test_a_read_only_disk(tmp_path: Path, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with running(*arguments(tmp_path, disk, "train")) as command:
        assert command.end() == (2, "", f"cannot write to the data folder {disk}: Read-only file system\n")
