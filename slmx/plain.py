"""Plain data, as JSON has it, by dotted paths."""

from __future__ import annotations

from typing import Any


def join(*parts: str | int) -> str:
    """A dotted path."""
    return ".".join(str(part) for part in parts if part != "")


def value_at(raw: Any, path: str) -> Any:
    """What plain data holds at a dotted path; None where there is nothing."""
    for part in path.split("."):
        if isinstance(raw, list):
            raw = raw[int(part)] if part.isdigit() and int(part) < len(raw) else None
        else:
            raw = raw.get(part) if isinstance(raw, dict) else None
    return raw


def put(raw: Any, path: list[str], value: Any) -> None:
    """Set the value at a path, making groups on the way that are not there; in place.

    `agent` and `env` need no number where there is one. KeyError names the part of the path that leads nowhere.
    """
    for i, part in enumerate(path):
        if isinstance(raw, list) and len(raw) == 1 and not part.isdigit():
            raw = raw[0]
        key: Any = part
        if isinstance(raw, list):
            if not part.isdigit() or int(part) >= len(raw):
                raise KeyError(join(*path[: i + 1]))
            key = int(part)
        elif not isinstance(raw, dict):
            raise KeyError(join(*path[: i + 1]))
        elif part == "0" and i == 1 < len(path) - 1 and path[0] in ("agent", "env"):
            continue  # an object where there is one
        if i == len(path) - 1:
            raw[key] = value
        else:
            raw = raw.setdefault(key, {}) if isinstance(raw, dict) else raw[key]
