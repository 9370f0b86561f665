"""From a name in a spec to the class: a table of the lab's own, or `package.module:Class` for a user's."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from slmx.errors import SpecError, did_you_mean


def lookup(registry: Mapping[str, str], name: str, kind: str) -> Any:
    """The class called `name`: in `registry` (name to `module:Class`), or at the import path `module:Class`.

    Raises SpecError, without a path, where there is none; `kind` ("algorithm") is for its message.
    """
    target = registry.get(name, name)
    if ":" not in target:
        raise SpecError("", f'unknown {kind} "{name}"', did_you_mean(name, registry))
    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SpecError("", f'{kind} "{name}" cannot be imported', str(error)) from error
    return found
