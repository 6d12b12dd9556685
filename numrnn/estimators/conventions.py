"""The base classes of estimators: scikit-learn's if it is installed, else small ones of this package.

Only this file depends on which of the two is used. The replacements have get_params, set_params and a short repr, like
scikit-learn's; they lack its tags, metadata routing and pictures in notebooks.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from typing import Any

__all__ = [
    "BaseEstimator",
    "ClassifierMixin",
    "DataConversionWarning",
    "NotFittedError",
    "RegressorMixin",
    "note_feature_names",
]

has_sklearn = importlib.util.find_spec("sklearn") is not None


class _BaseEstimator:
    """Base of every estimator: its parameters are the arguments of `__init__`, kept under their names."""

    @classmethod
    def _names(cls) -> list[str]:
        return sorted(inspect.signature(cls).parameters)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the estimator by name; `deep` has no effect, since none of them is an estimator."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Any:
        """Change arguments by name, and return the estimator; ValueError if it has no argument of that name."""
        unknown = [name for name in params if name not in self._names()]
        if unknown:
            names = ", ".join(self._names())
            raise ValueError(f"parameters of {type(self).__name__} must be among {names}, got {unknown[0]!r}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = {name: one.default for name, one in inspect.signature(type(self)).parameters.items()}
        changed = {name: value for name, value in self.get_params().items() if repr(value) != repr(defaults[name])}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"


class _NotFittedError(ValueError, AttributeError):
    """An estimator was asked to predict before it was fitted."""


class _DataConversionWarning(UserWarning):
    """Data were converted to another form than the given one."""


class _Mixin:
    """Empty: scikit-learn's mixins add tags, and a score, which `numrnn.estimators` computes itself."""


BaseEstimator: Any = _BaseEstimator
ClassifierMixin: Any = _Mixin
RegressorMixin: Any = _Mixin
NotFittedError: Any = _NotFittedError
DataConversionWarning: Any = _DataConversionWarning

if has_sklearn:
    _base, _exceptions = importlib.import_module("sklearn.base"), importlib.import_module("sklearn.exceptions")
    BaseEstimator, ClassifierMixin, RegressorMixin = _base.BaseEstimator, _base.ClassifierMixin, _base.RegressorMixin
    NotFittedError, DataConversionWarning = _exceptions.NotFittedError, _exceptions.DataConversionWarning


def note_feature_names(estimator: Any, X: Any, *, reset: bool) -> None:
    """Let scikit-learn keep (`reset`) or compare the column names of a data frame; without it, do nothing."""
    if has_sklearn:
        validation = sys.modules.get("sklearn.utils.validation") or importlib.import_module("sklearn.utils.validation")
        validation.validate_data(estimator, X, reset=reset, skip_check_array=True, ensure_2d=False)
