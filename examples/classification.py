"""What examples/mnist.py and examples/cifar10.py share: configuration, presets, training, test, pictures, command line.

An `Experiment` is a family of tasks on one set of images. It says which images, how they become sequences and what is
recorded of that; everything else stands here, once.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from command_line import INTERRUPTED, default_text, guarded, make_parser, read, write_json
from experiment_config import (
    BETA2,
    CONFIG_FILE,
    LENGTHS,
    MOMENTUM,
    PRESETS,
    Config,
    merged,
    read_preset,
    stored_arguments,
)

import numrnn
from numrnn import info, plots
from numrnn.backend import asarray, astype, backend_module, to_numpy
from numrnn.datasets import Dataset, Encoder
from numrnn.initializers import CHRONO, InitialValues, gain_scales
from numrnn.training import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Checkpoint,
    Classifier,
    ConstantSchedule,
    CosineSchedule,
    Optimizer,
    Schedule,
    StepSchedule,
    TimedCosineSchedule,
    Trainer,
    TrainingConfig,
    TrainingResult,
    list_checkpoints,
    save_checkpoint,
    training_seconds,
)

RESULT_FILE = "result.json"
FINAL_CHECKPOINT = "final.npz"  # what was tested, without the state of the optimiser
GRADIENT_FLOW_IMAGES = 50
COMPARED = ("antisymmetric", "lstm", "elman")  # whose gradients at the start are drawn beside the trained ones


@dataclass(frozen=True, eq=False)
class Result:
    """What `Experiment.run` returns.

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


def make_cell(config: Config, input_size: int) -> numrnn.Cell:
    """Return the cell of a configuration; a cell takes those of its arguments that it knows."""
    kind: Any = numrnn.CELLS[config.cell]
    euler = {"step_size": config.step_size, "diffusion": config.diffusion}
    if config.cell in ("antisymmetric", "gated"):
        return kind(input_size, config.hidden_size, triangular=config.storage == "triangular", **euler)
    if config.cell in ("unstructured", "gated-unstructured"):
        return kind(input_size, config.hidden_size, **euler)
    if config.cell == "lipschitz":
        gamma = config.diffusion
        return kind(input_size, config.hidden_size, step_size=config.step_size, diffusion_A=gamma, diffusion_W=gamma)
    return kind(input_size, config.hidden_size)


def make_schedule(config: Config, total_steps: int | None) -> Schedule | TimedCosineSchedule:
    """Return the schedule of the learning rate, for a run of so many steps, or of the configuration's seconds.

    Raises
    ------
    ValueError
        If the schedule is "step" and the length of the run is in seconds.
    """
    common: dict[str, Any] = {"learning_rate": config.learning_rate, "warmup_steps": config.warmup}
    if config.schedule == "constant":
        return ConstantSchedule(**common)
    if total_steps is not None:
        if config.schedule == "cosine":
            return CosineSchedule(total_steps=total_steps, **common)
        return StepSchedule(period=max(total_steps // 3, 1), factor=0.1, **common)
    if config.schedule == "cosine" and config.seconds is not None:
        return TimedCosineSchedule(total_seconds=config.seconds, **common)
    raise ValueError(
        f"schedule must be constant or cosine for a run of {config.seconds} seconds, got {config.schedule!r}"
    )


def make_optimizer(config: Config, model: Classifier, total_steps: int | None) -> Optimizer:
    """Return the optimiser with its schedule; of weight decay, biases have none."""
    schedule = make_schedule(config, total_steps)
    rates: dict[str, Any] = {
        "multipliers": None if config.recurrent_rate == 1 else {"W": config.recurrent_rate},
        "step_scales": None if config.input_gains is None else gain_scales(config.hidden_size, *config.input_gains),
    }
    if config.optimizer == "sgd":
        return SGD(schedule, momentum=MOMENTUM, **rates)
    if config.optimizer == "adagrad":
        return Adagrad(schedule, **rates)
    if config.optimizer == "adamw":
        # The gate's biases say how long a unit remembers, and 0 is no better a value for that than another.
        biases = [name for name, shape in model.parameter_shapes.items() if len(shape) == 1]
        decay = config.weight_decay
        return AdamW(schedule, weight_decay=decay, undecayed=biases, beta2=BETA2, **rates)
    return Adam(schedule, beta2=BETA2, **rates)


def initial_values(config: Config, n_steps: int) -> dict[str, Any]:
    """Return the arguments of `init_params` of a configuration, for sequences of so many steps.

    Raises
    ------
    ValueError
        If the forget bias is neither a number nor "chrono".
    """
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(InitialValues)}
    if config.forget_bias == CHRONO and config.t_max is None:
        values["t_max"] = n_steps
    elif config.forget_bias not in (None, CHRONO):
        try:
            values["forget_bias"] = float(config.forget_bias)
        except ValueError:
            raise ValueError(f"forget_bias must be a number or 'chrono', got {config.forget_bias!r}") from None
    return values


def gradient_norms(model: Classifier, params: Any, encoder: Any, data: Dataset, seed: int) -> np.ndarray:
    """Return the norm of dL/dh_t for t = 0..T over the first test images; `seed` is that of the noise, if there is any.

    Where the parameters live, in float64: in float32 the gradients of the Elman network and of the LSTM soon underflow.
    """
    images, labels = data.test_images[:GRADIENT_FLOW_IMAGES], data.test_labels[:GRADIENT_FLOW_IMAGES]
    double = {name: astype(value, np.float64) for name, value in params.items()}
    like = double["W_out"]
    x = asarray(encoder(images, np.random.default_rng(seed)), like=like, dtype=np.float64)
    states = model.state_gradients(double, x, asarray(labels.astype(np.int64), like=like))
    return np.linalg.norm(to_numpy(states), axis=(1, 2))


class Experiment(ABC):
    """Tasks on one set of images."""

    name: ClassVar[str]
    text: ClassVar[str | None]  # the docstring of the example, for --help
    config: ClassVar[type[Any]]
    validation_share: ClassVar[int]  # one image of so many is held out unless the configuration says how many
    presets: ClassVar[tuple[str, ...]]  # what names of presets begin with
    # What differs from the defaults of the configuration for each cell.
    cell_defaults: ClassVar[dict[str, dict[str, Any]]]
    helps: ClassVar[dict[str, str]]
    choices: ClassVar[dict[str, tuple[str, ...]]]

    @abstractmethod
    def load_data(self, config: Any) -> Dataset:
        """Return the images of a configuration."""

    @abstractmethod
    def make_encoder(self, config: Any, data: Dataset) -> Encoder:
        """Return what turns images into sequences."""

    @abstractmethod
    def task(self, config: Any) -> str:
        """Return the task in words, as the headings of pictures give it."""

    def record(self, config: Any) -> dict[str, Any]:
        """Return what result.json says of the task."""
        return {"preprocessing": "standardized" if config.standardize else "scaled to 0..1"}

    def preset_names(self) -> list[str]:
        """Return the names of the presets of this experiment."""
        return sorted(path.stem for path in PRESETS.glob("*.toml") if path.stem.startswith(self.presets))

    def read_preset(self, name: str) -> dict[str, Any]:
        """Return the values of a preset, by its name, or of a .toml file.

        Raises
        ------
        ValueError
            If there is no such preset, it is no TOML, or a key or the type of a value is wrong.
        OSError
            If the file cannot be read.
        """
        return read_preset(name, self.preset_names(), self.config)

    def make_config(self, cell: str | None = None, **given: Any) -> Any:
        """Return a configuration: what is given, then the preset, then what suits the cell, then the defaults.

        Raises
        ------
        ValueError
            If a choice is none of those that there are, or as `read_preset`.
        TypeError
            If there is no such field.
        """
        if cell is not None:
            given["cell"] = cell
        preset = given.get("preset")
        return self._complete(given if preset is None else merged(self.read_preset(preset), given))

    def _complete(self, given: dict[str, Any]) -> Any:
        if given.get("iterations") is not None or given.get("seconds") is not None:
            given.setdefault("epochs", None)
        for name, value in given.items():
            if name in self.choices and value not in self.choices[name]:
                raise ValueError(f"{name} must be one of {', '.join(self.choices[name])}, got {value!r}")
        for name in ("rotations", "input_gains"):
            if isinstance(given.get(name), list):  # from JSON
                given[name] = tuple(given[name])
        config = self.config(**(self.cell_defaults.get(given.get("cell", "antisymmetric"), {}) | given))
        if config.out:
            return config
        folder = f"{self.name}-{config.cell}" if config.preset is None else f"{Path(config.preset).stem}/{config.seed}"
        return dataclasses.replace(config, out=f"runs/{folder}")

    def make_trainer(self, config: Any, data: Dataset, *, show_progress: bool = True) -> Trainer:
        """Return the trainer of a configuration, ready to run."""
        encoder, n_images = self.make_encoder(config, data), len(data.train_images)
        held_out = n_images // self.validation_share if config.validation_size is None else config.validation_size
        training = TrainingConfig(
            epochs=config.epochs,
            iterations=config.iterations,
            seconds=config.seconds,
            batch_size=config.batch_size,
            seed=config.seed,
            **initial_values(config, encoder.length),
            average=None if config.average == "none" else config.average,
            average_updates=config.average_updates,
            input_dropout=config.input_dropout,
            clip=config.clip,
            validation_size=held_out,
            log_interval=config.log_interval,
            checkpoint_interval=config.checkpoint_interval,
            backend=config.backend,
            engine=config.engine,
        )
        model = Classifier(make_cell(config, encoder.input_size), data.n_classes)
        return Trainer(
            model,
            make_optimizer(config, model, training.total_steps(n_images)),
            encoder,
            (data.train_images, data.train_labels),
            training,
            config.out,
            show_progress=show_progress,
        )

    def run(
        self,
        config: Any,
        *,
        resume: bool = False,
        overwrite: bool = False,
        data: Dataset | None = None,
        quiet: bool = False,
    ) -> Result:
        """Train, then test once, and draw.

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
        DivergenceError, CheckpointError, FileExistsError, FileNotFoundError, RuntimeError, ValueError
            As `Trainer.run`, the loaders and `backend_module`.
        """
        backend_module(config.backend)
        data = self.load_data(config) if data is None else data
        trainer = self.make_trainer(config, data, show_progress=not quiet)
        say = (lambda *_: None) if quiet else print
        say(f"{self.task(config)}, {', '.join(f'{k}: {v}' for k, v in self.record(config).items())}")
        length = (
            f"{config.seconds:g} s of training" if trainer.total_steps is None else f"{trainer.total_steps:,} updates"
        )
        say(f"{trainer.model!r}, {trainer.model.parameter_count():,} parameters, {length}")
        out = Path(config.out)
        if overwrite or not list_checkpoints(out):  # else it is there, and belongs to the run that made it
            write_json(out / CONFIG_FILE, dataclasses.asdict(config))
        training = trainer.run(resume=resume, overwrite=overwrite)
        if training.interrupted:
            return Result(training, None, None, [])
        final = Checkpoint(step=training.step, params=training.evaluated, config=trainer.describe())
        save_checkpoint(out / FINAL_CHECKPOINT, final)
        test = trainer.evaluate(training.evaluated, data.test_images, data.test_labels)
        result = {
            "test_accuracy": test.accuracy,
            "test_loss": test.loss,
            "validation_accuracy": training.validation_accuracy,
            "preset": config.preset,
            "cell": config.cell,
            "task": self.task(config),
            **self.record(config),
            "parameters": trainer.model.parameter_count(),
            "iterations": training.step,
            "batch_size": config.batch_size,
            "seconds": round(training_seconds(trainer.timings_path), 1),
            "machine": info.machine(config.backend),
            "seed": config.seed,
        }
        write_json(out / RESULT_FILE, result)
        pictures = self.draw(config, data, trainer, training, test.predictions, test.accuracy)
        say(f"test accuracy {100 * test.accuracy:.2f} %, test loss {test.loss:.4f}")
        say("written: " + ", ".join(str(path) for path in [out / RESULT_FILE, *pictures]))
        return Result(training, test.accuracy, test.loss, pictures)

    def draw(
        self,
        config: Any,
        data: Dataset,
        trainer: Trainer,
        training: TrainingResult,
        predictions: np.ndarray,
        accuracy: float,
    ) -> list[Path]:
        """Draw the three pictures of a run and return their paths."""
        out = Path(config.out)
        task = f"{self.task(config)}, {config.cell} cell"

        def norms(model: Classifier, params: Any) -> np.ndarray:
            return gradient_norms(model, params, trainer.encoder, data, config.seed)

        n_steps = self.make_encoder(config, data).length
        flows = {f"{config.cell}, trained": norms(trainer.model, training.evaluated)}
        for name in COMPARED:
            if name == config.cell:
                other = config
            else:
                other = self.make_config(name, hidden_size=config.hidden_size, backend=config.backend)
            model = Classifier(make_cell(other, trainer.model.cell.input_size), data.n_classes)
            rng = np.random.default_rng(config.seed)
            params = model.init_params(rng, **initial_values(other, n_steps), backend=config.backend)
            flows[f"{name}, at the start"] = norms(model, params)
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
            plots.gradient_flow(
                flows, out / "gradient_flow.png", title=f"How the gradient travels back in time: {task}"
            ),
        ]

    def parse_arguments(self, argv: list[str] | None = None) -> tuple[Any, bool, bool]:
        """Return the configuration, and whether to resume or to overwrite.

        Raises
        ------
        ValueError
            As `make_config`, or if the run to be resumed is of another preset.
        """
        parser = make_parser(f"{self.name}.py", self.text, self.config, self.helps, self.choices, self._default_text)
        parser.add_argument(
            "--resume", action="store_true", default=False, help="go on from the newest checkpoint in --out"
        )
        parser.add_argument("--overwrite", action="store_true", default=False, help="delete an earlier run in --out")
        given = read(parser, argv, self.config)
        resume, overwrite = given.pop("resume"), given.pop("overwrite")
        if len(given.keys() & set(LENGTHS)) > 1:
            parser.error("give only one of --epochs, --iterations and --seconds")
        config = self.make_config(**given)
        stored = stored_arguments(Path(config.out)) if resume else {}
        if stored:
            asked, found = config.preset, stored.get("preset")
            if asked not in (None, found):
                raise ValueError(f"preset must be {found!r} as in {config.out}, got {asked!r}")
            config = self._complete(merged(stored, given))
        return config, resume, overwrite

    def _default_text(self, field: dataclasses.Field[Any]) -> str:
        """Return what the help says of a default, and where it differs from cell to cell."""
        if field.name == "preset":
            return f" ({', '.join(self.preset_names())})"
        if field.name == "validation_size":
            return f" (default: one in {self.validation_share})"
        if field.name == "out":
            return f" (default: runs/{self.name}-CELL, or runs/PRESET/SEED)"
        others = {cell: own[field.name] for cell, own in self.cell_defaults.items() if field.name in own}
        differs = "".join(f"; {cell}: {value}" for cell, value in others.items())
        text = default_text(field)
        return f"{text[:-1]}{differs})" if text else ""

    def main(self, argv: list[str] | None = None) -> int:
        """Run from the command line; return 0, 1 after an error, or 130 after Ctrl-C."""

        def work() -> int:
            config, resume, overwrite = self.parse_arguments(argv)
            result = self.run(config, resume=resume, overwrite=overwrite)
            if not result.training.interrupted:
                return 0
            print(f"stopped at update {result.training.step}; go on with --resume --out {config.out}")
            return INTERRUPTED

        return guarded(work)
