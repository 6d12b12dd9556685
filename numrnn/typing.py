"""Types of arguments, for annotations: the words of which an argument may be one, and dtypes.

A checker of types then names a word that is misspelt, and an editor offers those that there are. Arrays are
`numrnn.backend.Array` and `Params`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

__all__ = ["Backend", "Engine", "Precision", "RealDType"]

Backend = Literal["numpy", "cupy"]
Engine = Literal["auto", "reference", "fused"]
Precision = Literal["float32", "float64"]
RealDType = Precision | type[np.float32] | type[np.float64] | np.dtype[np.float32] | np.dtype[np.float64]
