"""The files of models that the sessions of a trial leave: written whole, read, and found by what they are of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmx.errors import SlmxError
from slmx.whole import whole

if TYPE_CHECKING:
    from torch import Tensor

MODEL = re.compile(r"session_(?P<session>\d+)(?:_(?P<model>best|\d+))?")  # the name of a model's file
ABOUT = "slmx"  # the one key of a file's metadata, for several would come in any order


def write_model(path: Path, model: dict[str, Tensor], members: int, frame: int | None = None) -> None:
    """Write a model file whole, on the disk when this returns.

    With the number of members of its program, and with the frame that it is of, if one is given.
    """
    from safetensors.torch import save

    about = {"members": members, "frame": frame}
    with whole(path, "wb", sync=True) as file:
        file.write(save(model, {ABOUT: json.dumps(about)}))


def read_model(path: Path) -> tuple[dict[str, Any], int | None, int | None]:
    """The tensors of a model file, the frame that it is of where that is before the end of its training, and how many
    members its program had, where the file says so.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
        about = json.loads(said[ABOUT]) if ABOUT in said else said  # older files have but a frame
        frame = about.get("frame")
        return load_file(path), None if frame is None else int(frame), about.get("members")
    except (OSError, SafetensorError) as error:
        raise SlmxError(f"{path}: not a model file: {error}") from error


def find_model(trial: Path, model: str, session: int | None) -> tuple[int, Path]:
    """A session and its model "last", "best" or of a frame; by default of the first session that left such a one.

    SlmxError where there is none, with what there is.
    """
    models: dict[int, dict[str, Path]] = {}
    for path in (trial / "model").glob("session_*.safetensors"):
        if match := MODEL.fullmatch(path.stem):
            models.setdefault(int(match["session"]), {})[match["model"] or "last"] = path
    if not models:
        raise SlmxError(f"{trial}: there is no model to play: no session came far enough to leave one")
    if session is not None and session not in models:
        known = ", ".join(map(str, sorted(models)))
        raise SlmxError(f"{trial}: there is no model of session {session}; there are those of: {known}")
    asked = sorted(models) if session is None else [session]
    chosen = next((s for s in asked if model in models[s]), None)
    if chosen is None:
        whose = "any session" if session is None else f"session {session}"
        there = sorted(
            {name for s in asked for name in models[s]}, key=lambda name: (name.isdecimal(), len(name), name)
        )
        raise SlmxError(f'{trial}: there is no model "{model}" of {whose}; there are: {", ".join(there)}')
    return chosen, models[chosen][model]
