"""How the C library keeps the memory that tensors lie in."""

from __future__ import annotations

import contextlib
import ctypes
import functools

# glibc's own numbers of what can be set (malloc.h).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
MB = 1 << 20


@functools.cache
def keep_freed() -> bool:
    """Have the C library keep what is freed for what is asked for next; True where it can be told to (glibc).

    One update makes and frees the same tensors as the one before. Those above some hundred kB glibc asks the system
    for, and gives back, each time: every page of them is faulted in and zeroed anew, which took a tenth of the time of
    a program of 16 members. Up to 32 MB, the most that glibc allows, a block now comes from memory that is there
    already, of which up to 512 MB may lie idle: the most that an update had in use at once, and no more than that.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  a musl or macOS library lacks it, and has other settings or none
        wanted = {M_MMAP_THRESHOLD: 32 * MB, M_TRIM_THRESHOLD: 512 * MB, M_TOP_PAD: 16 * MB}
        return all(libc.mallopt(what, value) for what, value in wanted.items())
    return False
