"""Training: a read-out and a loss on top of a cell, optimisers, schedules, checkpoints and the loop."""

from numrnn.locks import FolderInUseError
from numrnn.training.averaging import AVERAGES
from numrnn.training.callbacks import EpochEnd
from numrnn.training.capturing import why_not_captured
from numrnn.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    checkpoint_path,
    generator_from_state,
    generator_state,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from numrnn.training.clipping import clip_by_global_norm, global_norm
from numrnn.training.config import TrainingConfig
from numrnn.training.losses import accuracy, mean_squared_error, softmax_cross_entropy
from numrnn.training.masked import masked_cross_entropy, masked_squared_error
from numrnn.training.metrics import read_json_lines, training_seconds
from numrnn.training.model import Classifier, Regressor
from numrnn.training.optim import SGD, Adagrad, Adam, AdamW, Optimizer
from numrnn.training.protocol import Model
from numrnn.training.results import DivergenceError, Evaluation, TrainingResult
from numrnn.training.schedules import ConstantSchedule, CosineSchedule, Schedule, StepSchedule, TimedCosineSchedule
from numrnn.training.stored_model import load_model
from numrnn.training.trainer import Trainer

__all__ = [
    "AVERAGES",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Checkpoint",
    "CheckpointError",
    "Classifier",
    "ConstantSchedule",
    "CosineSchedule",
    "DivergenceError",
    "EpochEnd",
    "Evaluation",
    "FolderInUseError",
    "Model",
    "Optimizer",
    "Regressor",
    "Schedule",
    "StepSchedule",
    "TimedCosineSchedule",
    "Trainer",
    "TrainingConfig",
    "TrainingResult",
    "accuracy",
    "checkpoint_path",
    "clip_by_global_norm",
    "generator_from_state",
    "generator_state",
    "global_norm",
    "latest_checkpoint",
    "list_checkpoints",
    "load_checkpoint",
    "load_model",
    "masked_cross_entropy",
    "masked_squared_error",
    "mean_squared_error",
    "prune_checkpoints",
    "read_json_lines",
    "save_checkpoint",
    "softmax_cross_entropy",
    "training_seconds",
    "why_not_captured",
]
