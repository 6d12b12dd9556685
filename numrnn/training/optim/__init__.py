"""Optimisers as pure functions of parameters, gradients and state.

    state = optimizer.init(params)
    params, state = optimizer.update(params, grads, state)

Arguments are not changed; dtype and device are kept. A state is a dictionary that a checkpoint can store: the number of
updates, "step", and for every slot of the optimiser one array per parameter, of its shape. Definitions and defaults are
those of torch.optim, so its hyperparameters apply here. The learning rate r is a number, a function of the number of
updates (see schedules.py), or a `TimedCosineSchedule` of the updates and the seconds of training.

base.py     base class of all optimisers: arguments, state, the update of every parameter
sgd.py      stochastic gradient descent with momentum
adagrad.py  one learning rate per element
adam.py     Adam, and AdamW with weight decay
"""

from numrnn.training.optim.adagrad import Adagrad
from numrnn.training.optim.adam import Adam, AdamW
from numrnn.training.optim.base import LearningRate, Optimizer, State, describe
from numrnn.training.optim.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "LearningRate", "Optimizer", "State", "describe"]
