"""torch, imported at its first use.

Importing torch takes seconds; a spec with a typing error must be refused at once. An algorithm's typed hyperparameters
stand in one file with its learning, so that file names torch through this proxy: reading the hyperparameters costs
nothing.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING


class _Lazy(ModuleType):
    """A module that is imported when an attribute of it is first asked for, and a plain lookup from then on."""

    def __getattr__(self, name: str) -> object:
        module = importlib.import_module(self.__name__)
        value = getattr(module, name)
        self.__dict__[name] = value
        return value


if TYPE_CHECKING:
    import torch
else:
    torch = _Lazy("torch")

__all__ = ["torch"]
