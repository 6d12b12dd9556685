"""Sequential MNIST: an image is read pixel by pixel in 784 steps, and classified after the last.

    python examples/mnist.py                          the antisymmetric cell, full MNIST, 5 epochs
    python examples/mnist.py --data embedded          on the 5,000 images that come with the package
    python examples/mnist.py --cell lstm --permuted   a baseline, pixels in one fixed random order
    python examples/mnist.py --resume                 go on where Ctrl-C, kill -9 or a power cut stopped a run

The folder given by --out receives config.json, metrics.jsonl, timings.jsonl, checkpoints, result.json and three
pictures: learning curves, the confusion matrix of the test set, and how the gradient travels back in time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import numrnn
from numrnn import plots
from numrnn.backend import BACKENDS, to_numpy
from numrnn.datasets import Dataset, PixelEncoder, load_embedded_mnist, load_mnist
from numrnn.engines import ENGINES
from numrnn.training import (
    SGD,
    Adagrad,
    Adam,
    CheckpointError,
    Classifier,
    ConstantSchedule,
    CosineSchedule,
    DivergenceError,
    Optimizer,
    Schedule,
    StepSchedule,
    Trainer,
    TrainingConfig,
    TrainingResult,
    list_checkpoints,
)

CONFIG_FILE = "config.json"
RESULT_FILE = "result.json"
OPTIMIZERS = ("adam", "adagrad", "sgd")
SCHEDULES = ("constant", "step", "cosine")
MOMENTUM = 0.9
BETA2 = 0.99  # of Adam: the size of the gradient changes within a hundred updates here, too fast for 0.999
PERMUTATION_SEED = 92
GRADIENT_FLOW_IMAGES = 50


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides the course of a run; HELP says what each field means."""

    cell: str = "antisymmetric"
    permuted: bool = False
    data: str = "full"
    root: str | None = None
    hidden_size: int = 128
    step_size: float = 0.03
    diffusion: float = 0.001
    storage: str = "triangular"
    weight_std: float = 4.0
    optimizer: str = "adam"
    learning_rate: float = 0.02
    schedule: str = "cosine"
    warmup: int = 0
    clip: float = 20.0
    batch_size: int = 128
    epochs: int | None = 5
    iterations: int | None = None
    validation_size: int | None = None
    checkpoint_interval: int = 100
    seed: int = 0
    backend: str = "numpy"
    engine: str = "auto"
    out: str = "runs/mnist"


# What differs from the defaults above for each cell: found by trial on the training set, not by the test set.
CELL_DEFAULTS: dict[str, dict[str, Any]] = {
    "antisymmetric": {},
    "gated": {"step_size": 0.01, "learning_rate": 0.01, "clip": 5.0},
    "unstructured": {"step_size": 0.01, "diffusion": 0.0, "weight_std": 1.0, "learning_rate": 0.01, "clip": 1.0},
    "gated-unstructured": {"step_size": 0.01, "diffusion": 0.0, "weight_std": 1.0, "learning_rate": 0.01, "clip": 1.0},
    "elman": {"weight_std": 1.0, "learning_rate": 0.001, "clip": 1.0},
    "lstm": {"weight_std": 1.0, "learning_rate": 0.01, "clip": 1.0},
}

HELP = {
    "cell": "the recurrent cell",
    "permuted": f"show the pixels in one fixed random order (seed {PERMUTATION_SEED})",
    "data": "full: 60,000 + 10,000 images; embedded: the 5,000 + 1,000 that come with the package",
    "root": "folder of the MNIST files; default: $NUMRNN_DATA, then the user's cache, then a download",
    "hidden_size": "n, number of units, >= 1",
    "step_size": "eps of the Euler step, > 0, without unit; for the four Euler cells",
    "diffusion": "gamma, >= 0, without unit; for the four Euler cells",
    "storage": "of W in the antisymmetric cells: its strict upper triangle, or the full matrix",
    "weight_std": "sigma_w >= 0: the recurrent weights start as N(0, sigma_w^2 / n)",
    "optimizer": f"adam with beta2 {BETA2}, adagrad, or sgd with momentum {MOMENTUM}",
    "learning_rate": "> 0, at the start of the schedule",
    "schedule": "constant; step: a tenth after every third of the run; cosine: down to 0 at its end",
    "warmup": "updates over which the learning rate rises linearly, >= 0",
    "clip": "largest global norm of the gradient, > 0",
    "batch_size": "images an update, >= 1",
    "epochs": "length of the run in passes over the training images, >= 1",
    "iterations": "length of the run in updates, >= 1, in place of epochs",
    "validation_size": "training images held out for validation, >= 0; default: a twelfth",
    "checkpoint_interval": "updates between two checkpoints, >= 1; each epoch writes one at its end as well",
    "seed": ">= 0; decides initial values, the held-out images and the order of batches",
    "backend": "numpy on the CPU, cupy on an NVIDIA GPU",
    "engine": "implementation of the time loops",
    "out": "folder for everything that the run writes; default: runs/mnist-CELL",
}
CHOICES = {
    "cell": tuple(numrnn.CELLS),
    "data": ("full", "embedded"),
    "storage": ("triangular", "full"),
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "backend": BACKENDS,
    "engine": ENGINES,
}


@dataclass(frozen=True, eq=False)
class Result:
    """What `run` returns.

    Attributes
    ----------
    training : TrainingResult
        Parameters, step, metrics.
    test_accuracy : float or None
        Share of the test images classified rightly, 0 to 1; None if the run was interrupted.
    test_loss : float or None
        Mean cross-entropy on the test images, in nats.
    pictures : list of Path
        What was drawn.
    """

    training: TrainingResult
    test_accuracy: float | None
    test_loss: float | None
    pictures: list[Path]


def make_config(cell: str = "antisymmetric", **given: Any) -> Config:
    """Return a configuration: what is given, then what suits the cell, then the defaults.

    Raises
    ------
    ValueError
        If a choice is none of those that there are.
    TypeError
        If there is no such field.
    """
    if given.get("iterations") is not None:
        given.setdefault("epochs", None)
    given.setdefault("out", f"runs/mnist-{cell}")
    for name, value in {"cell": cell, **given}.items():
        if name in CHOICES and value not in CHOICES[name]:
            raise ValueError(f"{name} must be one of {', '.join(CHOICES[name])}, got {value!r}")
    return Config(cell=cell, **(CELL_DEFAULTS[cell] | given))


def make_cell(config: Config, input_size: int) -> numrnn.Cell:
    """Return the cell of a configuration; a cell takes those of its arguments that it knows."""
    kind: Any = numrnn.CELLS[config.cell]
    euler = {"step_size": config.step_size, "diffusion": config.diffusion}
    if config.cell in ("antisymmetric", "gated"):
        return kind(input_size, config.hidden_size, triangular=config.storage == "triangular", **euler)
    if config.cell in ("unstructured", "gated-unstructured"):
        return kind(input_size, config.hidden_size, **euler)
    return kind(input_size, config.hidden_size)


def make_optimizer(config: Config, total_steps: int) -> Optimizer:
    """Return the optimiser with its schedule."""
    common: dict[str, Any] = {"learning_rate": config.learning_rate, "warmup_steps": config.warmup}
    schedule: Schedule
    if config.schedule == "cosine":
        schedule = CosineSchedule(total_steps=total_steps, **common)
    elif config.schedule == "step":
        schedule = StepSchedule(period=max(total_steps // 3, 1), factor=0.1, **common)
    else:
        schedule = ConstantSchedule(**common)
    if config.optimizer == "sgd":
        return SGD(schedule, momentum=MOMENTUM)
    return Adagrad(schedule) if config.optimizer == "adagrad" else Adam(schedule, beta2=BETA2)


def make_trainer(config: Config, data: Dataset, *, show_progress: bool = True) -> Trainer:
    """Return the trainer of a configuration, ready to run."""
    encoder = PixelEncoder(data.image_shape, permutation_seed=PERMUTATION_SEED if config.permuted else None)
    n_images = len(data.train_images)
    training = TrainingConfig(
        epochs=config.epochs,
        iterations=config.iterations,
        batch_size=config.batch_size,
        seed=config.seed,
        weight_std=config.weight_std,
        clip=config.clip,
        validation_size=n_images // 12 if config.validation_size is None else config.validation_size,
        log_interval=10,
        checkpoint_interval=config.checkpoint_interval,
        backend=config.backend,
        engine=config.engine,
    )
    return Trainer(
        Classifier(make_cell(config, encoder.input_size), data.n_classes),
        make_optimizer(config, training.total_steps(n_images)),
        encoder,
        (data.train_images, data.train_labels),
        training,
        config.out,
        show_progress=show_progress,
    )


def load_data(config: Config) -> Dataset:
    """Return the images of a configuration."""
    return load_embedded_mnist() if config.data == "embedded" else load_mnist(config.root)


def run(
    config: Config, *, resume: bool = False, overwrite: bool = False, data: Dataset | None = None, quiet: bool = False
) -> Result:
    """Train, test and draw.

    Parameters
    ----------
    config : Config
        From `make_config`.
    resume, overwrite : bool
        As for `Trainer.run`.
    data : Dataset, optional
        Images to use in place of those that the configuration names.
    quiet : bool
        Show no progress and print nothing.

    Returns
    -------
    Result

    Raises
    ------
    DivergenceError, CheckpointError, FileExistsError, FileNotFoundError, ValueError
        As `Trainer.run` and the loaders.
    """
    data = load_data(config) if data is None else data
    trainer = make_trainer(config, data, show_progress=not quiet)
    say = (lambda *_: None) if quiet else print
    say(f"{trainer.model!r}, {trainer.model.parameter_count():,} parameters, {trainer.total_steps:,} updates")
    out = Path(config.out)
    if overwrite or not list_checkpoints(out):  # else it is there, and belongs to the run that made it
        write_json(out / CONFIG_FILE, dataclasses.asdict(config))
    start = time.monotonic()
    training = trainer.run(resume=resume, overwrite=overwrite)
    if training.interrupted:
        return Result(training, None, None, [])
    test = trainer.evaluate(training.params, data.test_images, data.test_labels)
    result = {
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "validation_accuracy": training.validation_accuracy,
        "updates": training.step,
        "parameters": trainer.model.parameter_count(),
        "seconds_of_this_process": round(time.monotonic() - start, 1),
    }
    write_json(out / RESULT_FILE, result)
    pictures = draw(config, data, trainer, training, test.predictions, test.accuracy)
    say(f"test accuracy {100 * test.accuracy:.2f} %, test loss {test.loss:.4f}")
    say("written: " + ", ".join(str(path) for path in [out / RESULT_FILE, *pictures]))
    return Result(training, test.accuracy, test.loss, pictures)


def draw(
    config: Config,
    data: Dataset,
    trainer: Trainer,
    training: TrainingResult,
    predictions: np.ndarray,
    accuracy: float,
) -> list[Path]:
    """Draw the three pictures of a run and return their paths."""
    out = Path(config.out)
    task = f"{'permuted' if config.permuted else 'sequential'} MNIST, {config.cell} cell"
    flows = {f"{config.cell}, trained": gradient_norms(trainer.model, training.params, trainer, data)}
    for name in ("antisymmetric", "lstm", "elman"):
        other = make_config(name, hidden_size=config.hidden_size)
        model = Classifier(make_cell(other, trainer.model.cell.input_size), data.n_classes)
        params = model.init_params(np.random.default_rng(config.seed), weight_std=other.weight_std, backend="numpy")
        flows[f"{name}, at the start"] = gradient_norms(model, params, trainer, data)
    history = training.history
    return [
        plots.learning_curves(history("training"), history("validation"), out / "learning_curves.png", title=task),
        plots.confusion_matrix(
            data.test_labels,
            predictions,
            data.class_names,
            out / "confusion_matrix.png",
            title=f"{task}: {100 * accuracy:.2f} % of {len(predictions):,} test images",
        ),
        plots.gradient_flow(flows, out / "gradient_flow.png", title=f"How the gradient travels back in time: {task}"),
    ]


def gradient_norms(model: Classifier, params: Any, trainer: Trainer, data: Dataset) -> np.ndarray:
    """Return the norm of dL/dh_t for t = 0..T over the first test images.

    On the CPU in float64: in float32 the gradients of the Elman network and of the LSTM soon underflow.
    """
    images, labels = data.test_images[:GRADIENT_FLOW_IMAGES], data.test_labels[:GRADIENT_FLOW_IMAGES]
    double = {name: to_numpy(value).astype(np.float64) for name, value in params.items()}
    x = trainer.encoder(images, np.random.default_rng(trainer.config.seed)).astype(np.float64)
    return np.linalg.norm(model.state_gradients(double, x, labels.astype(np.int64)), axis=(1, 2))


def parse_arguments(argv: list[str] | None = None) -> tuple[Config, bool, bool]:
    """Return the configuration, and whether to resume or to overwrite."""
    head, _, tail = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python examples/mnist.py",
        description=head,
        epilog=tail,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    for field in dataclasses.fields(Config):
        flag = "--" + field.name.replace("_", "-")
        text = HELP[field.name] + default_text(field)
        if field.name == "permuted":
            parser.add_argument(flag, action="store_true", help=text)
        else:
            kind = str if "str" in str(field.type) else int if "int" in str(field.type) else float
            parser.add_argument(flag, type=kind, choices=CHOICES.get(field.name), help=text)
    parser.add_argument(
        "--resume", action="store_true", default=False, help="go on from the newest checkpoint in --out"
    )
    parser.add_argument("--overwrite", action="store_true", default=False, help="delete an earlier run in --out")
    given = vars(parser.parse_args(argv))
    resume, overwrite = given.pop("resume"), given.pop("overwrite")
    if "epochs" in given and "iterations" in given:
        parser.error("give --epochs or --iterations, not both")
    if resume:
        out = Path(given.get("out", f"runs/mnist-{given.get('cell', 'antisymmetric')}"))
        given = stored_arguments(out) | given
    return make_config(**given), resume, overwrite


def default_text(field: dataclasses.Field[Any]) -> str:
    """Return what the help says of a default, and where it differs from cell to cell."""
    if field.name in ("permuted", "root", "out", "iterations", "validation_size"):
        return ""
    others = {cell: own[field.name] for cell, own in CELL_DEFAULTS.items() if field.name in own}
    differs = "".join(f"; {cell}: {value}" for cell, value in others.items())
    return f" (default: {field.default}{differs})"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a small file of JSON, and its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def stored_arguments(out: Path) -> dict[str, Any]:
    """Return the configuration that a run left in its folder, or nothing."""
    path = out / CONFIG_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return 0, 1 after an error, or 130 after Ctrl-C."""
    config, resume, overwrite = parse_arguments(argv)
    try:
        result = run(config, resume=resume, overwrite=overwrite)
    except (DivergenceError, CheckpointError, FileExistsError, FileNotFoundError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if result.training.interrupted:
        print(f"stopped at update {result.training.step}; go on with --resume --out {config.out}")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
