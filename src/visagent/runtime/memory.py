"""How the C library hands out large blocks."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 1 << 30


def keep_memory() -> bool:
    """Have freed blocks of up to a gigabyte used again instead of returned to the system; whether the C library can
    (glibc).

    By default each tensor of 32 MB or more gets fresh pages, whose first touch costs several times what an element-wise
    operation does.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(
        mallopt(option, value) == 1 for option, value in ((M_MMAP_THRESHOLD, LARGEST), (M_TRIM_THRESHOLD, -1))
    )
