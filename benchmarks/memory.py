"""The memory of this process, now and at its peak."""

from __future__ import annotations

import sys
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"


def resident_bytes() -> int | None:
    """Return the current resident memory of this process, or its peak if the system does not report the current one."""
    return _status("VmRSS") or _most_ever()


def peak_bytes() -> int | None:
    """Return the peak resident memory since `reset_peak`, or since the start if it cannot be reset."""
    return _status("VmHWM") or _most_ever()


def reset_peak() -> None:
    """Reset the peak, if the system (Linux) can."""
    try:
        CLEAR.write_text(RESET_PEAK)
    except OSError:
        return


def _status(field: str) -> int | None:
    if not STATUS.exists():
        return None
    for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    return None


def _most_ever() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
