"""What happens where nothing can be written any more: one clear line, nothing lost, and the run can be resumed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slmx import lab
from slmx.display import Display
from slmx.errors import WriteError
from slmx.record import Recorder, read_state
from slmx.search.display import SearchDisplay
from slmx.search.search import Search
from slmx.session import Program
from tests.processes import Command, running
from tests.search.specs import raw_of, spec_of
from tests.test_resume import resumed, tiny, whole

SEARCH = {"agent.0.algorithm.gamma__uniform": [0.9, 0.99]}


class Filling(Display):
    """A training whose disk has no room for more rows of a table from a frame on."""

    def __init__(self, name: str, frame: int):
        super().__init__(quiet=True)
        self.name, self.frame = name, frame

    def progress(self, program: Program, recorder: Recorder) -> None:
        if program.frames[0] >= self.frame:
            fill(recorder.directory / self.name)


def fill(path: Path) -> None:
    """From now on there is no space left on the device of this file."""
    if not path.is_symlink():
        path.rename(path.with_name(f"{path.name}.kept"))
        path.symlink_to("/dev/full")


def free(path: Path) -> None:
    path.unlink()
    path.with_name(f"{path.name}.kept").rename(path)


@pytest.mark.parametrize("name", ["session_1.csv", "speed.csv", "episodes_0.csv"])
def test_a_training_without_space_for_a_table_says_so_and_goes_on_later(name: str, tmp_path: Path) -> None:
    one = tiny()
    with pytest.raises(WriteError) as error:
        lab.train(one, tmp_path / "parts", graphs=False, display=Filling(name, 250))
    (directory,) = (tmp_path / "parts").iterdir()
    table = directory / "trial_0" / name
    assert error.value.code == 1
    assert str(error.value) == (
        f"cannot write {table}: No space left on device; once that is mended, go on with: slmx resume {directory}"
    )
    assert read_state(directory) == ("train", "STOPPED")
    free(table)
    assert resumed(directory) == whole(one, tmp_path)


def test_a_search_without_space_in_a_worker_ends_and_goes_on_later(tmp_path: Path) -> None:
    class Filling(SearchDisplay):
        def progress(self, search: Search) -> None:
            if (table := search.directory / "trial_2" / "session_1.csv").exists():
                fill(table)

    spec = spec_of(SEARCH, {"max_frame": 2000}, {"max_member": 2, "max_trial": 4})
    with pytest.raises(WriteError, match=r"session_1.csv: No space left on device; .*slmx resume") as error:
        lab.search(spec, tmp_path / "parts", graphs=False, display=Filling(quiet=True))
    (directory,) = (tmp_path / "parts").iterdir()
    assert error.value.code == 1 and read_state(directory) == ("search", "STOPPED")
    assert not list(directory.rglob("error.txt")), "no trial is to blame"
    free(directory / "trial_2" / "session_1.csv")
    run = lab.resume(directory, quiet=True, graphs=False)
    assert run is not None and not run.interrupted
    expected = lab.search(spec, tmp_path / "whole", quiet=True, graphs=False)
    for path in [*expected.directory.rglob("session_*.csv"), *expected.directory.rglob("ended/*.json")]:
        assert (directory / path.relative_to(expected.directory)).read_bytes() == path.read_bytes()
    assert run.table.equals(expected.table)


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


def refused(command: Command, meanwhile: Callable[[], bool], act: Callable[[], None]) -> str:
    """The one line with which a command ends after something was done to its disk."""
    command.wait_for(meanwhile)
    act()
    code, _, err = command.end()
    assert code in (1, 2) and err.count("\n") == 1, err
    return err


def arguments(place: Path, disk: Path, mode: str) -> tuple[object, ...]:
    raw = raw_of(SEARCH, {"max_frame": 30_000}, {"checkpoint_frequency": 5000, "max_member": 2, "max_trial": 3})
    path = place / "spec.json"
    path.write_text(json.dumps({"tiny": raw}))
    return "run", path, mode, "--data", disk, "--no-graphs", "--quiet"


@pytest.mark.parametrize("mode", ["train", pytest.param("search", marks=pytest.mark.slow)])
def test_a_full_disk(mode: str, tmp_path: Path, disk: Path) -> None:
    ballast = disk / "ballast"

    def act() -> None:
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    with running(*arguments(tmp_path, disk, mode)) as command:
        err = refused(command, lambda: bool([*disk.glob("*/checkpoint/*.pt")]), act)
        assert not command.alive()
    (directory,) = (path for path in disk.iterdir() if path.is_dir())
    assert err.startswith(f"cannot write {disk}") and "No space left on device; once that is mended, go on" in err
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
