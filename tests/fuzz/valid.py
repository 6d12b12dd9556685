"""A valid value for every argument of every public callable, by its name; exceptions by callable and name."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import gradcheck
import numrnn
from numrnn import ode, plots, reversible, stability, training
from numrnn.datasets import PixelEncoder, RowNoiseEncoder, Sequences, Standardization, adding
from numrnn.experiments import mnist
from numrnn.testing import assert_cell  # noqa: F401 - so that the module is imported once

T, B, M, N = 5, 2, 3, 4
rng = np.random.default_rng(0)
CELL = numrnn.AntisymmetricCell(M, N, step_size=0.1, diffusion=0.1)
PARAMS = CELL.init_params(np.random.default_rng(0), dtype=np.float64)
X, H = rng.standard_normal((T, B, M)), rng.standard_normal((B, N))
STATES, TAPE = numrnn.forward(CELL, PARAMS, X, engine="reference")  # which holds no memory of the engine
LIN = stability.linearize(CELL, PARAMS, X, engine="reference")
MODEL = training.Classifier(CELL, 2)
MODEL_PARAMS = MODEL.init_params(np.random.default_rng(0), dtype=np.float64)
REGRESSOR = training.Regressor(CELL, 2)
IMAGES = rng.integers(0, 256, (4, 4, 4), np.uint8)
COLOURED = rng.integers(0, 256, (4, 3, 4, 4), np.uint8)
DATA = Sequences(rng.standard_normal((6, T, M)), np.array([0, 1, 0, 1, 0, 1]))
CONFIG = training.TrainingConfig(epochs=1, batch_size=3)
P = {"a": np.array([0.3, -0.7]), "b": np.array([[0.5]])}


def loss(p: Any) -> Any:
    return np.sum(np.sin(p["a"])) + np.sum(p["b"] ** 3)


def gradient(p: Any) -> Any:
    return {"a": np.cos(p["a"]), "b": 3 * p["b"] ** 2}


def double(x: Any) -> Any:
    return 2 * x


def task(rng: np.random.Generator, batch_size: int) -> Any:
    return adding(rng, batch_size, length=4)


VALUES: dict[str, Any] = {
    "input_size": M,
    "hidden_size": N,
    "step_size": 0.1,
    "diffusion": 0.1,
    "triangular": True,
    "cells": [CELL],
    "cell": CELL,
    "params": PARAMS,
    "x": X,
    "h": H,
    "h0": H,
    "h_next": H,
    "h_final": H,
    "states": STATES,
    "tape": TAPE,
    "x_dot": X[0],
    "h_dot": H,
    "params_dot": PARAMS,
    "dh_next": H,
    "d_states": STATES,
    "d_final": H,
    "wrt": ("params",),
    "lengths": None,
    "engine": "auto",
    "recompute_every": None,
    "checkpoint_every": None,
    "beta_A": 0.7,
    "beta_W": 0.7,
    "diffusion_A": 0.1,
    "diffusion_W": 0.1,
    "method": "euler",
    "rng": lambda: np.random.default_rng(1),
    "dtype": "float64",
    "backend": "numpy",
    "weight_std": 1.0,
    "input_std": 1.0,
    "gate_bias": 0.0,
    "gate_spread": 0.0,
    "rotations": None,
    "input_gains": None,
    "bias_std": 0.0,
    "forget_bias": None,
    "t_max": None,
    "lin": LIN,
    "seed": 1,
    "k": 2,
    "row": 0,
    "times": [1, 3],
    "eigenvalues": np.array([0.1j, -0.2]),
    "omega": 0.5,
    "M": np.array([[0.0, 1.0], [-1.0, 0.0]]),
    "u": np.array([0.3, -2.0]),
    "which": "largest",
    "tolerance": 1e-8,
    "every": 2,
    "images": IMAGES,
    "mean": 0.0,
    "std": 1.0,
    "image_shape": (4, 4),
    "permutation": None,
    "permutation_seed": 3,
    "length": 6,
    "noise_seed": 3,
    "batch_size": 2,
    "delay": 3,
    "n_memory": 2,
    "n_symbols": 3,
    "n_sequences": 5,
    "n_outputs": 2,
    "task": lambda: task,
    "y": np.array([0, 1, 0, 1]),
    "mask": None,
    "learning_rate": 0.1,
    "momentum": 0.5,
    "nesterov": False,
    "multipliers": {"W": 2.0},
    "step_scales": {"b": 2.0},
    "epsilon": 1e-8,
    "beta1": 0.9,
    "beta2": 0.99,
    "weight_decay": 0.1,
    "undecayed": ("b",),
    "grads": PARAMS,
    "seconds": 3.0,
    "step": 2,
    "n_classes": 2,
    "output": "last",
    "warmup_steps": 1,
    "total_steps": 10,
    "final_learning_rate": 0.0,
    "period": 3,
    "factor": 0.1,
    "total_seconds": 5.0,
    "model": MODEL,
    "optimizer": training.Adam(0.1),
    "encoder": None,
    "data": DATA,
    "config": CONFIG,
    "validation": None,
    "metrics": None,
    "callbacks": (),
    "show_progress": False,
    "clock": lambda: lambda: 0.0,
    "resume": False,
    "overwrite": False,
    "time_limit": None,
    "logits": np.array([[0.1, 0.9], [0.3, 0.2]]),
    "labels": np.array([1, 0]),
    "max_norm": 1.0,
    "generator": lambda: np.random.default_rng(2),
    "arrays": PARAMS,
    "keep": 2,
    "outputs": np.array([[0.1, 0.9], [0.3, 0.2]]),
    "targets": np.array([[0.5, 0.1], [0.3, 0.2]]),
    "title": "a title",
    "low": 0.3,
    "high": 3.0,
    "slowest": 0.1,
    "fastest": 0.5,
    "loss": lambda: loss,
    "losses": lambda: lambda p: np.sin(p),
    "gradient": lambda: gradient,
    "inputs": np.array([0.3, 0.7]),
    "rtol": None,
    "function": lambda: double,
    "vjp": lambda: lambda x, g: 2 * g,
    "jvp": lambda: lambda x, v: 2 * v,
    "repeats": 2,
    "cotangent": np.array([0.1, 0.4]),
    "constants": False,
    "growth": 256.0,
    "directions": 2,
    "sizes": None,
    "budget": 10,
    "subgradient": False,
    "return_error": False,
    "product": lambda: lambda p, v: v,
    "width": 3.0,
    "height": 2.0,
    "index": 1,
    "norms": {"a": np.array([1.0, 2.0])},
    "floor": 1e-8,
    "label": "a",
    "class_names": ("a", "b"),
    "kind": "training",
    "predictions": np.array([0, 1]),
    "rows": [0, 1],
    "noise": "independent",
    "piece": 1,
    "sensitivity": False,
    "atol": 1e-8,
    "refinements": (1, 2),
    "halvings": 2,
    "check_every": 2,
    "v": H,
    "g": H,
    "t": 1,
    "gate": False,
    "source": "math",
    "X": rng.standard_normal((6, T, M)),
    "sample_weight": None,
    "download": False,
    "random_state": 0,
    "initial_values": None,
    "cell_options": None,
    "schedule": "constant",
    "clip": 1.0,
    "patience": None,
    "validation_fraction": 0.0,
    "verbose": False,
    "epochs": 1,
    "n_features": M,
    "state": lambda: np.random.default_rng(3),
}


def saved(folder: Path) -> Path:
    """Return the path of a checkpoint."""
    path = folder / "checkpoint_00000001.npz"
    if not path.exists():
        config = {"model": MODEL.config()}
        training.save_checkpoint(path, training.Checkpoint(1, MODEL_PARAMS, config=config))
    return path


def lines(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def idx(folder: Path) -> Path:
    (folder / "images").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 3, 4]))
    return folder / "images"


def batch_of_cifar(folder: Path) -> Path:
    path = folder / "batch.bin"
    if not path.exists():
        path.write_bytes(bytes(10_000 * 3073))
    return path


RECORD = {"kind": "training", "step": 1, "loss": 1.0, "accuracy": 0.5, "learning_rate": 0.1, "epoch": 1}
RECORD |= {"gradient_norm": 1.0, "largest_gradient_norm": 1.0}
PICTURE = lambda folder: folder / "picture.png"  # noqa: E731
ONE_STEP = {"x": X[0]}
OF_THE_MODEL = {
    "params": MODEL_PARAMS,
    "y": np.array([0, 1]),
    "outputs": np.array([[0.1, 0.9], [0.3, 0.2]]),
    "labels": np.array([0, 1]),
}
Override = dict[str, Any]
EXCEPTIONS: dict[str, Override] = {
    "numrnn.register_cell": {"kind": lambda: numrnn.ElmanCell},  # again: what is new would stay
    "numrnn.cells.load_cells": {"source": "numrnn.cells.elman"},
    "numrnn.cells.cell_from_config": {"config": {"cell": "elman", "input_size": 2, "hidden_size": 3}},
    "numrnn.datasets.fixed_noise": {},
    "numrnn.datasets.Standardization": {"mean": np.zeros(M), "std": np.ones(M)},
    "numrnn.datasets.RowNoiseEncoder": {"image_shape": (3, 4, 4)},
    "numrnn.datasets.rows_with_noise": {"images": COLOURED, "noise": lambda: np.random.default_rng(0)},
    "numrnn.datasets.Sequences": {"x": rng.standard_normal((4, T, M))},
    "numrnn.datasets.DrawnSequences": {"n_outputs": None},
    "numrnn.datasets.read_cifar10_batch": {"path": batch_of_cifar},
    "numrnn.datasets.read_idx": {"path": idx},
    "numrnn.stability.amplification_factors": {},
    "numrnn.stability.contraction_rate": {"cell": lambda: LIPSCHITZ, "params": lambda: LIPSCHITZ_PARAMS},
    "numrnn.stability.step_bound": {"cell": lambda: LIPSCHITZ, "params": lambda: LIPSCHITZ_PARAMS},
    "numrnn.stability.stability_report": {"path": saved, "images": 1, "steps": 3},
    "numrnn.stability.energy": ONE_STEP,
    "numrnn.stability.energy_change_bounds": ONE_STEP,
    "numrnn.stability.slopes": ONE_STEP,
    "numrnn.ode.forward_and_back_defect": ONE_STEP,
    "numrnn.ode.forward_and_back_order": ONE_STEP,
    "numrnn.ode.solve": {"rtol": 1e-6},
    "numrnn.reversible.invert_step": {"x": X[0]},
    "numrnn.training.Classifier": {},
    "numrnn.training.Regressor": {},
    "numrnn.training.Trainer": {"out": lambda folder: folder / "run", "metrics": None, "validation": None},
    "numrnn.training.Trainer.evaluate": {"params": MODEL_PARAMS, "labels": None},
    "numrnn.training.Trainer.predict": {"params": MODEL_PARAMS},
    "numrnn.training.Trainer.predict_proba": {"params": MODEL_PARAMS},
    "numrnn.training.accuracy": {},
    "numrnn.training.checkpoint_path": {"directory": lambda folder: folder},
    "numrnn.training.generator_from_state": {"state": training.generator_state(np.random.default_rng(0))},
    "numrnn.training.latest_checkpoint": {"directory": lambda folder: saved(folder).parent},
    "numrnn.training.list_checkpoints": {"directory": lambda folder: folder},
    "numrnn.training.prune_checkpoints": {"directory": lambda folder: folder},
    "numrnn.training.load_checkpoint": {"path": saved},
    "numrnn.training.load_model": {"path": saved},
    "numrnn.training.save_checkpoint": {
        "path": lambda folder: folder / "a.npz",
        "checkpoint": training.Checkpoint(1, PARAMS),
    },
    "numrnn.training.why_not_captured": {"trainer": lambda folder: instance(".Trainer")},
    "numrnn.training.read_json_lines": {"path": lambda folder: lines(folder, "m.jsonl", '{"step": 1}\n')},
    "numrnn.training.training_seconds": {"path": lambda folder: lines(folder, "t.jsonl", '{"seconds": 1.0}\n')},
    "numrnn.training.masked_cross_entropy": {
        "logits": rng.standard_normal((T, B, 2)),
        "labels": np.zeros((T, B), np.int64),
        "mask": np.ones((T, B), bool),
    },
    "numrnn.training.masked_squared_error": {
        "outputs": rng.standard_normal((T, B, 2)),
        "targets": rng.standard_normal((T, B, 2)),
        "mask": np.ones((T, B), bool),
    },
    "numrnn.initializers.input_gains": {},
    "numrnn.testing.assert_cell": {"params": PARAMS},
    "numrnn.plots.save_figure": {"figure": lambda: plots.new_figure(), "path": PICTURE},
    "numrnn.plots.check_picture_path": {"name": "path", "path": PICTURE},
    "numrnn.plots.bare": {"axes": lambda: plots.new_figure().subplots()},
    "numrnn.plots.euler_disc": {"axes": lambda: plots.new_figure().subplots()},
    "numrnn.plots.learning_curves": {
        "training": [RECORD],
        "validation": [{**RECORD, "kind": "validation"}],
        "path": PICTURE,
    },
    "numrnn.plots.confusion_matrix": {"labels": np.array([0, 1]), "path": PICTURE},
    "numrnn.plots.gradient_flow": {"path": PICTURE},
    "numrnn.plots.compare_learning": {"runs": {"a": ([1.0, 2.0], [0.1, 0.2])}, "path": PICTURE},
    "numrnn.plots.stability_report": {
        "report": lambda folder: stability.stability_report(saved(folder), steps=3),
        "path": PICTURE,
    },
    "gradcheck.assert_gradient": {"params": P, "options": {}},
    "gradcheck.check_gradient": {"params": P, "method": "auto"},
    "gradcheck.numerical_gradient": {"params": P, "method": "complex"},
    "gradcheck.taylor_test": {"params": P},
    "gradcheck.check_precision": {"params": P},
    "gradcheck.check_batched_gradient": {"gradient": lambda: np.cos, "params": np.array([0.3, 0.6]), "options": {}},
    "gradcheck.check_hessian_vector_product": {
        "gradient": lambda: lambda p: p,
        "params": np.array([0.3, 0.6]),
        "options": {},
    },
    "gradcheck.check_function": {"args": (np.array([0.3, 0.7]),), "options": {}},
    "gradcheck.check_jvp": {"options": {}},
    "gradcheck.check_vjp": {"options": {}},
    "gradcheck.pair": {"forward": lambda: double, "backward": lambda: lambda x, g: 2 * g, "constants": ()},
    "gradcheck.first_wrong_step": {
        "problem": lambda: lambda steps: (loss, gradient),
        "steps": 2,
        "params": P,
        "options": {},
    },
    "gradcheck.kill_matrix": {"problems": [], "rules": (), "scales": (1.0,), "dtypes": ("float64",), "seeds": (0,)},
}
LIPSCHITZ = numrnn.LipschitzCell(M, N)
LIPSCHITZ_PARAMS = LIPSCHITZ.init_params(np.random.default_rng(0), dtype=np.float64)


@functools.cache
def instances() -> dict[str, Callable[[], Any]]:
    """Return what makes an object of each class whose methods are called."""
    cells = {f"numrnn.{kind.__name__}": kind(M, N) for kind in numrnn.CELLS.values()}
    made: dict[str, Any] = {
        **cells,
        "numrnn.Stack": numrnn.Stack([CELL]),
        "numrnn.datasets.Sequences": DATA,
        "numrnn.datasets.DrawnSequences": numrnn.datasets.DrawnSequences(task, 5, seed=0),
        "numrnn.datasets.Standardization": Standardization(np.zeros(M), np.ones(M)),
        "numrnn.datasets.PixelEncoder": PixelEncoder((4, 4)),
        "numrnn.datasets.RowNoiseEncoder": RowNoiseEncoder((3, 4, 4), length=6),
        "numrnn.stability.EulerForm": stability.EulerForm(CELL, PARAMS),
        "numrnn.stability.Linearization": LIN,
        "numrnn.training.Classifier": MODEL,
        "numrnn.training.Regressor": REGRESSOR,
        "numrnn.training.SGD": training.SGD(0.1),
        "numrnn.training.Adagrad": training.Adagrad(0.1),
        "numrnn.training.Adam": training.Adam(0.1),
        "numrnn.training.AdamW": training.AdamW(0.1),
    }
    return {name: (lambda value=value: value) for name, value in made.items()}


def instance(name: str) -> Any:
    """Return an object of a class."""
    if name.endswith(".Trainer"):
        import tempfile

        out = tempfile.mkdtemp(dir=Path.cwd())
        return training.Trainer(MODEL, training.Adam(0.1), None, DATA, CONFIG, out, show_progress=False)
    if ".RNN" in name:
        return copy.deepcopy(_fitted(name))
    return instances()[name]()


@functools.cache
def _fitted(name: str) -> Any:
    kind = getattr(numrnn.estimators, name.rpartition(".")[2])
    estimator = kind(hidden_size=3, epochs=1, random_state=0)
    return estimator.fit(VALUES["X"], np.array([0, 1, 0, 1, 0, 1]) if "Classifier" in name else np.arange(6.0))


def _value(value: Any, folder: Path) -> Any:
    """Return a fresh value: what is made by a function is made anew, with or without a folder."""
    if not inspect.isfunction(value):
        return value
    return value(folder) if inspect.signature(value).parameters.keys() == {"folder"} else value()


def overrides(name: str) -> Override:
    """Return the exceptions for a callable."""
    own = dict(EXCEPTIONS.get(name, {}))
    kind, _, method = name.rpartition(".")
    if kind.split(".")[-1] in ("Classifier", "Regressor") and kind.startswith("numrnn.training"):
        own |= OF_THE_MODEL
        if kind.endswith("Regressor"):
            own["y"] = np.array([[0.1, 0.2], [0.3, 0.4]])
        if method == "check_targets":
            own["targets"] = "label" if kind.endswith("Classifier") else "numbers"
        if method == "init_params":
            own["initial"] = {}
    if kind.startswith(("numrnn.", "numrnn.cells")) and kind.rpartition(".")[2] in {k.__name__ for k in _cell_kinds()}:
        cell = instances()[kind]()
        drawn = cell.init_params(np.random.default_rng(0), dtype=np.float64)
        h = rng.standard_normal((B, cell.state_size))
        own |= {"params": drawn, "params_dot": drawn, "x": X[0], "x_dot": X[0], "h": h, "h_dot": h, "dh_next": h}
    if kind.rpartition(".")[2] == "EulerForm":
        own |= ONE_STEP
    if kind.rpartition(".")[2] in ("SGD", "Adagrad", "Adam", "AdamW") and method == "update":
        own["state"] = instances()[kind]().init(PARAMS)
    if ".RNN" in name:
        classes = np.array([0, 1, 0, 1, 0, 1])
        own |= {"y": classes if "Classifier" in name else np.arange(6.0), "cell": "antisymmetric", "optimizer": "adam"}
        own |= {"multipliers": None}
    return own


def _cell_kinds() -> list[type]:
    return [*numrnn.CELLS.values(), numrnn.Stack]


def arguments(name: str, function: Callable[..., Any], folder: Path) -> dict[str, Any]:
    """Return the arguments of a valid call.

    Raises
    ------
    KeyError
        If one has no value here.
    """
    own, given = overrides(name), {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self" or (parameter.name == "initial" and parameter.kind is parameter.VAR_KEYWORD):
            continue
        value = own[parameter.name] if parameter.name in own else VALUES.get(parameter.name, VALUES)
        if value is VALUES:
            if parameter.default is parameter.empty:
                raise KeyError(f"{name}: {parameter.name} has no valid value in tests/fuzz/valid.py")
            value = parameter.default
        given[parameter.name] = _value(value, folder)
    return given


def settings(config: type, folder: Path) -> dict[str, Any]:
    """Return all fields of a dataclass of options, valid."""
    needed = {"epochs": 1} if config is training.TrainingConfig else {}
    made = config(**needed)
    return {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}


__all__ = ["arguments", "gradcheck", "instance", "mnist", "ode", "reversible", "settings"]
