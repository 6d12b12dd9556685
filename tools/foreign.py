"""Checkers of other libraries as rules of a kill matrix, each with its own defaults.

All are optional: `installed` returns those whose library can be imported. Loss and gradient are NumPy functions, so
each is wrapped in the library's form of a hand-written derivative: a torch.autograd.Function, a jax.custom_vjp around
pure callbacks, a primitive of autograd. So the checkers compare exactly our loss and our gradient.

Two of them leave a choice to the user, which is made here: SciPy's returns the norm of the difference but no verdict
(`SCIPY_LIMIT`), and numdifftools has a numerical gradient but no checker (numpy.allclose with its defaults).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from gradcheck.arrays import Host
from gradcheck.mutants import Gradient, Rule
from gradcheck.tree import Tree

SCIPY_LIMIT = 1e-6


class Counted:
    """A loss and a gradient of separate arrays, with their calls counted."""

    def __init__(self, loss: Callable[[Any], Any], gradient: Gradient, params: Any) -> None:
        self.tree = Tree.of(params)
        self.arrays = list(self.tree.host().values())
        self.user_loss, self.user_gradient = loss, gradient
        self.calls = 0

    def loss(self, *arrays: Any) -> Host:
        """Return the loss as an array of shape (), in the dtype of the parameters."""
        self.calls += 1
        return np.asarray(self.user_loss(self._build(arrays)), self.arrays[0].dtype)

    def gradient(self, *arrays: Any) -> list[Host]:
        """Return the gradient, array by array."""
        self.calls += 1
        return list(Tree.of(self.user_gradient(self._build(arrays))).host().values())

    def flat_loss(self, x: Host) -> float:
        """Return the loss at all parameters in a row."""
        return float(self.loss(*self._split(x)))

    def flat_gradient(self, x: Host) -> Host:
        """Return the gradient in a row."""
        return np.concatenate([g.ravel() for g in self.gradient(*self._split(x))]).astype(float)

    def flat(self) -> Host:
        """Return the parameters in a row."""
        return np.concatenate([array.ravel() for array in self.arrays]).astype(float)

    def _build(self, arrays: Any) -> Any:
        named = zip(self.tree.names, arrays, self.arrays, strict=True)
        return self.tree.build({name: np.asarray(array, like.dtype) for name, array, like in named})

    def _split(self, x: Host) -> list[Host]:
        cuts = np.cumsum([array.size for array in self.arrays])[:-1]
        return [part.reshape(like.shape) for part, like in zip(np.split(x, cuts), self.arrays, strict=True)]


def _torch(fast: bool) -> Callable[[Counted, int], bool]:
    torch: Any = importlib.import_module("torch")

    class Wrapped(torch.autograd.Function):
        """The NumPy loss with the NumPy gradient as its backward pass."""

        @staticmethod
        def forward(ctx: Any, counted: Counted, *tensors: Any) -> Any:
            ctx.counted = counted
            ctx.save_for_backward(*tensors)
            return torch.from_numpy(counted.loss(*(tensor.detach().numpy() for tensor in tensors)))

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            found = ctx.counted.gradient(*(tensor.detach().numpy() for tensor in ctx.saved_tensors))
            return None, *(torch.from_numpy(np.array(g)) * cotangents[0] for g in found)

    def objects(counted: Counted, seed: int) -> bool:
        inputs = tuple(torch.tensor(array, requires_grad=True) for array in counted.arrays)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of float32 inputs
            passed = torch.autograd.gradcheck(
                lambda *tensors: Wrapped.apply(counted, *tensors), inputs, fast_mode=fast, raise_exception=False
            )
        return not passed

    return objects


def _jax() -> Callable[[Counted, int], bool]:
    jax: Any = importlib.import_module("jax")
    check_grads = importlib.import_module("jax.test_util").check_grads

    jax.config.update("jax_enable_x64", True)

    def objects(counted: Counted, seed: int) -> bool:
        shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in counted.arrays]

        @jax.custom_vjp
        def loss(*arrays: Any) -> Any:
            return jax.pure_callback(counted.loss, jax.ShapeDtypeStruct((), shapes[0].dtype), *arrays)

        def backward(arrays: Any, cotangent: Any) -> Any:
            return tuple(cotangent * g for g in jax.pure_callback(counted.gradient, shapes, *arrays))

        loss.defvjp(lambda *arrays: (loss(*arrays), arrays), backward)
        try:
            check_grads(loss, tuple(counted.arrays), order=1, modes=["rev"])
        except AssertionError:
            return True
        return False

    return objects


def _autograd() -> Callable[[Counted, int], bool]:
    extend: Any = importlib.import_module("autograd.extend")
    check_grads = importlib.import_module("autograd.test_util").check_grads

    def objects(counted: Counted, seed: int) -> bool:
        loss = extend.primitive(lambda *arrays: counted.loss(*arrays)[()])

        def pullback(position: int) -> Callable[..., Any]:
            dtype = counted.arrays[position].dtype
            return lambda _, *arrays: (
                lambda cotangent: np.asarray(cotangent * counted.gradient(*arrays)[position], dtype)
            )

        extend.defvjp(loss, *(pullback(k) for k in range(len(counted.arrays))))
        np.random.seed(seed)  # noqa: NPY002 - the checker draws its direction from this state
        try:
            check_grads(loss, modes=["rev"], order=1)(*counted.arrays)
        except AssertionError:
            return True
        return False

    return objects


def _scipy() -> Callable[[Counted, int], bool]:
    from scipy.optimize import check_grad

    return lambda counted, seed: bool(
        check_grad(counted.flat_loss, counted.flat_gradient, counted.flat()) > SCIPY_LIMIT
    )


def _numdifftools() -> Callable[[Counted, int], bool]:
    numdifftools: Any = importlib.import_module("numdifftools")

    known: dict[str, Any] = {}  # the numerical gradient of the last loss: all mutants of a problem share it

    def objects(counted: Counted, seed: int) -> bool:
        if known.get("loss") is not counted.user_loss:
            numeric = numdifftools.Gradient(counted.flat_loss)(counted.flat())
            known.update(loss=counted.user_loss, numeric=numeric, calls=counted.calls)
        else:
            counted.calls += known["calls"]
        return not np.allclose(counted.flat_gradient(counted.flat()), known["numeric"])

    return objects


# Library, name of the rule, its constructor, seeds: few, or the run for the page takes too long.
CHECKERS: tuple[tuple[str, str, Callable[[], Callable[[Counted, int], bool]], int], ...] = (
    ("torch", "torch, slow mode", lambda: _torch(fast=False), 1),
    ("torch", "torch, fast mode", lambda: _torch(fast=True), 1),
    ("jax", "JAX", _jax, 1),
    ("autograd", "autograd", _autograd, 5),
    ("scipy", "SciPy", _scipy, 1),
    ("numdifftools", "numdifftools", _numdifftools, 1),
)


def installed() -> list[Rule]:
    """Return a rule for every checker whose library is installed."""
    return [
        Rule(name, _counting(make()), seeds)
        for library, name, make, seeds in CHECKERS
        if importlib.util.find_spec(library) is not None
    ]


def versions() -> dict[str, str]:
    """Return the versions of the installed libraries, NumPy's first."""
    wanted = dict.fromkeys(["numpy", *(library for library, *_ in CHECKERS)])
    return {name: importlib.metadata.version(name) for name in wanted if importlib.util.find_spec(name) is not None}


def _counting(
    objects: Callable[[Counted, int], bool],
) -> Callable[[Callable[[Any], Any], Gradient, Any, int], tuple[bool, int]]:
    def rule(loss: Callable[[Any], Any], gradient: Gradient, params: Any, seed: int) -> tuple[bool, int]:
        counted = Counted(loss, gradient, params)
        return objects(counted, seed), counted.calls

    return rule
