"""Optimisers as pure functions of parameters, gradients and state.

    state = optimizer.init(params)
    params, state = optimizer.update(params, grads, state)

Nothing given is changed, dtype and device are kept, and a state is a dictionary that a checkpoint can store: the number
of updates done, "step", and one array like each parameter for every slot of the optimiser. Definitions and defaults are
those of torch.optim, so that figures from there can be used here. The learning rate r is a number, or a function of the
number of updates done (see schedules.py), or of that and the seconds of training, a `TimedCosineSchedule`.

base.py     what all optimisers share: arguments, state, the update of every parameter
sgd.py      stochastic gradient descent with momentum
adagrad.py  a learning rate for each element
adam.py     Adam, and AdamW with its decay of the weights
"""

from numrnn.training.optim.adagrad import Adagrad
from numrnn.training.optim.adam import Adam, AdamW
from numrnn.training.optim.base import LearningRate, Optimizer, State, describe
from numrnn.training.optim.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "LearningRate", "Optimizer", "State", "describe"]
