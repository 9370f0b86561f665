"""Classes by the names that specs give them: a table per kind of component, or an import path `module:Class`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from slmx.errors import SpecError, did_you_mean
from slmx.member.hyper import Hyper


@dataclass(frozen=True)
class Registry:
    """The known classes of one kind of component, and the key (`selector`) by which a spec names one of them.

    `needs`: the attributes of a class that a spec is checked against.
    """

    noun: str
    plural: str
    module: str
    table: str
    selector: str = "name"
    needs: tuple[str, ...] = ()

    @property
    def one(self) -> str:
        """The noun with its article."""
        return f"a{'n' * (self.noun[0] in 'aeio')} {self.noun}"

    @property
    def known(self) -> Mapping[str, str]:
        """Name in the spec -> `module:Class`."""
        return getattr(importlib.import_module(self.module), self.table)

    def classes(self) -> list[type[Any]]:
        """All known classes, in the order of the table."""
        return [import_class(path) for path in self.known.values()]

    def find(self, name: Any) -> type[Any]:
        """The class of that name or import path; SpecError with the nearest and the known names."""
        if not isinstance(name, str):
            raise SpecError("", f"must be the name of {self.one}, not {name!r}", f"known: {', '.join(self.known)}")
        if name in self.known:
            return import_class(self.known[name])
        if ":" in name:
            return self.accept(import_class(name), name)
        hint = did_you_mean(name, self.known)
        known = f"known: {', '.join(self.known)}, or module:Class"
        raise SpecError("", f'unknown {self.noun} "{name}"', f"{hint} {known}" if hint.startswith("did") else known)

    def accept(self, found: type[Any], name: str) -> type[Any]:
        """A user's own class, if it says what the lab asks of one; SpecError says what it lacks."""
        wrong = ""
        if not (isinstance(getattr(found, "Hyper", None), type) and issubclass(found.Hyper, Hyper)):
            wrong = "it has no class Hyper with its keys, a slmx.member.hyper.Hyper"
        elif self.selector not in found.Hyper.model_fields:
            wrong = f'its Hyper has no field "{self.selector}"'
        elif lacking := [need for need in self.needs if not hasattr(found, need)]:
            wrong = f"it does not say its {', '.join(lacking)}"
        if wrong:
            raise SpecError("", f'"{name}" is no {self.noun}: {wrong}')
        return found


REGISTRIES = {
    "algorithm": Registry(
        "algorithm", "algorithms", "slmx.algorithm", "ALGORITHMS", needs=("memories", "actions", "net_keys")
    ),
    "memory": Registry("memory", "memories", "slmx.memory", "MEMORIES"),
    "net": Registry("net", "nets", "slmx.net", "NETS", selector="type"),
    "optim_spec": Registry("optimiser", "optimisers", "slmx.member.optim", "OPTIMIZERS"),
    "search_spec": Registry("searcher", "searchers", "slmx.search", "SEARCHERS", needs=("learns", "ask", "tell")),
    "scheduler_spec": Registry(
        "scheduler", "schedulers", "slmx.search", "SCHEDULERS", needs=("pauses", "meet", "misfits")
    ),
}


@cache
def registry_of(field: str) -> Registry | None:
    """The registry of the component that a spec key holds: `net` and `critic_net` hold nets."""
    return next((r for key, r in REGISTRIES.items() if field == key or field.endswith(f"_{key}")), None)


def import_class(path: str) -> type[Any]:
    """`package.module:Class` -> the class; SpecError says which part is not there."""
    module, _, name = path.partition(":")
    if not module or module.startswith("."):
        raise SpecError("", f'"{path}" cannot be imported', 'a module is named in full, "module:Class"')
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise SpecError("", f'there is no module "{error.name}" for "{path}"') from error
        raise SpecError("", f'"{path}" cannot be imported: {error}') from error
    except (ImportError, SyntaxError, ValueError) as error:
        raise SpecError("", f'"{path}" cannot be imported: {error}') from error
    if not isinstance(found := getattr(imported, name, None), type):
        classes = [key for key, value in vars(imported).items() if isinstance(value, type)]
        raise SpecError("", f'there is no class "{name}" in {module}', did_you_mean(name, classes))
    return found
