"""Estimators with scikit-learn's conventions: `RNNClassifier` and `RNNRegressor`, with fit, predict and score.

If scikit-learn is installed, they derive from its base classes, so that its pipelines, searches and cross-validation
accept them. numrnn does not need it: without it they derive from small base classes of this package.
"""

from numrnn.estimators.classifier import RNNClassifier
from numrnn.estimators.regressor import RNNRegressor

__all__ = ["RNNClassifier", "RNNRegressor"]
