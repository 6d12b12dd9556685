"""Estimators with scikit-learn's conventions: `RNNClassifier` and `RNNRegressor`, with fit, predict and score.

Where scikit-learn is installed they derive from its base classes, so that its pipelines, searches and cross-validation
take them. numrnn does not need it: elsewhere small base classes of our own stand in.
"""

from numrnn.estimators.classifier import RNNClassifier
from numrnn.estimators.regressor import RNNRegressor

__all__ = ["RNNClassifier", "RNNRegressor"]
