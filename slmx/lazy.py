"""torch, imported at its first use.

Importing torch takes seconds; a spec with a typing error must be refused at once. An algorithm's typed hyperparameters
stand in one file with its learning, so that file names torch through this proxy: reading the hyperparameters costs
nothing.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING


class _Lazy(ModuleType):
    """A module that is imported when an attribute of it is first asked for, and a plain lookup from then on."""

    def __getattr__(self, name: str) -> object:
        module = importlib.import_module(self.__name__)
        value = getattr(module, name)
        self.__dict__[name] = value
        return value


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """While large libraries are imported: no garbage is looked for, which took a quarter of the time to find none."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


if TYPE_CHECKING:
    import torch
else:
    torch = _Lazy("torch")

__all__ = ["loading", "torch"]
