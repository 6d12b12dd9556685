"""Types of arguments, for annotations: the strings that an argument may take, and dtypes.

A type checker then reports a misspelt string, and an editor offers the valid ones. Arrays are
`numrnn.backend.Array` and `Params`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

__all__ = ["Backend", "Engine", "Precision", "RealDType", "Targets"]

Backend = Literal["numpy", "cupy"]
Engine = Literal["auto", "reference", "fused"]
Precision = Literal["float32", "float64"]
Targets = Literal["label", "numbers", "labels at every step", "numbers at every step"]
RealDType = Precision | type[np.float32] | type[np.float64] | np.dtype[np.float32] | np.dtype[np.float64]
