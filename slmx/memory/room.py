"""Where the numbers of a memory lie: in main memory, or in a file that is mapped into it."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from slmx.errors import WriteError
from slmx.lazy import torch

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container
MOST = 1 / 2  # of the main memory that one store may take; a larger one lies in a file
ON_DISK = Path("/var/tmp")  # for large files, where /tmp may be main memory


def machine_bytes() -> int:
    """The main memory that programs may have here: the machine's, or the container's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit: "max"
        return total


def mapped(size: int) -> bool:
    """Whether a store of so many bytes lies in a file."""
    return size > MOST * machine_bytes()


def scratch() -> Path:
    """The directory of such files: $TMPDIR, or /var/tmp."""
    return ON_DISK if "TMPDIR" not in os.environ and ON_DISK.is_dir() else Path(tempfile.gettempdir())


def disk_bytes() -> int:
    """What such files may take."""
    return shutil.disk_usage(scratch()).free


def zeros(*shape: int, like: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Zeros on the device of `like`; where they are many, in a file without a name, which goes with the process.

    WriteError where the file cannot be made.
    """
    dtype = dtype or like.dtype
    count = math.prod(shape)
    if like.device.type != "cpu" or not mapped(count * dtype.itemsize):
        return torch.zeros(shape, dtype=dtype, device=like.device)
    try:
        with tempfile.NamedTemporaryFile(dir=scratch()) as file:
            return torch.from_file(file.name, shared=True, size=count, dtype=dtype).view(shape)
    except OSError as error:
        raise WriteError(scratch(), error) from error


def chosen(store: torch.Tensor, index: Sequence[int]) -> torch.Tensor:
    """Of a store `[M, ...]` what the members `index` have, in that order, in a store of its own."""
    kept = zeros(len(index), *store.shape[1:], like=store)
    for place, member in enumerate(index):  # one by one, for all at once would be in main memory first
        kept[place] = store[member]
    return kept


def settled(store: torch.Tensor) -> torch.Tensor:
    """A store as it was read from a checkpoint, where one of its size lies."""
    return zeros(*store.shape, like=store).copy_(store) if mapped(store.nbytes) else store
