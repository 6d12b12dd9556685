"""How much memory this process holds, and held at most."""

from __future__ import annotations

import sys
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"


def resident_bytes() -> int | None:
    """Return the resident memory of this process now, or the most it ever had where the system does not tell."""
    return _status("VmRSS") or _most_ever()


def peak_bytes() -> int | None:
    """Return the most resident memory since `reset_peak`, or ever where that cannot be reset."""
    return _status("VmHWM") or _most_ever()


def reset_peak() -> None:
    """Forget the peak so far, where the system (Linux) can."""
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
