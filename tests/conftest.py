"""What holds for all tests."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# A shell starts what runs in its background deaf to Ctrl-C, and nohup deaf to the terminal's end; so would be all that
# tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes minutes begins first: begun last, it would keep one process busy while the others have nothing."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    grouped = [item for item in items if item.get_closest_marker("xdist_group")]
    if getattr(config.option, "loadgroup", False) and any("@" not in item.nodeid for item in grouped):
        raise pytest.UsageError("this pytest keeps xdist from running tests of a group in one process")


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Programs of searches are trained in this process, two by turns: for what does not depend on who trains them.

    It takes a tenth of the time. Searches on Ray, with which they are compared to the byte, are in tests/search.
    """
    import ray  # which takes seconds, as do its users

    from slmx.search import cluster, experiment, on_tune
    from tests.search.test_resume import Workers

    @contextlib.contextmanager
    def nowhere(*args: Any, **kwargs: Any) -> Iterator[Path]:
        yield tmp_path_factory.mktemp("nowhere")

    def run(search: Any, resources: Any, at_once: int, folder: Path, show: Callable[[], None]) -> bool:
        assert Workers(search, at_once, random.Random(0)).run()
        show()
        search.stop()
        return False

    monkeypatch.setattr(experiment, "ray_for", nowhere)
    monkeypatch.setattr(on_tune, "workers", lambda resources: 2)
    monkeypatch.setattr(on_tune, "run", run)
    monkeypatch.setattr(cluster, "inspect", lambda *_: None)
    before = ray.is_initialized()
    yield
    assert ray.is_initialized() == before, "what asks Ray anything starts one where there is none"
