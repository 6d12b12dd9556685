"""The three pictures of a run: learning curves, confusion matrix, and how the gradient travels back in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from numrnn import plots
from numrnn.backend import asarray, astype, to_numpy
from numrnn.datasets import Dataset
from numrnn.experiments.builders import initial_values, make_cell
from numrnn.extras import MissingExtraError
from numrnn.training import Classifier, Evaluation, Trainer, TrainingResult

GRADIENT_FLOW_IMAGES = 50


def can_draw(say: Callable[[str], Any]) -> bool:
    """Tell whether matplotlib is installed; if not, say in one line why there will be no pictures."""
    try:
        plots.require_matplotlib()
    except MissingExtraError as error:
        say(f"no pictures: {error}")
        return False
    return True


def gradient_norms(model: Classifier, params: Any, encoder: Any, data: Dataset, seed: int) -> np.ndarray:
    """Return the norm of dL/dh_t for t = 0..T over the first test images; `seed` is that of any noise.

    Computed in float64 where the parameters live: in float32 the gradients of the Elman network and of the LSTM soon
    underflow.
    """
    images, labels = data.test_images[:GRADIENT_FLOW_IMAGES], data.test_labels[:GRADIENT_FLOW_IMAGES]
    double = {name: astype(value, np.float64) for name, value in params.items()}
    like = double["W_out"]
    x = asarray(encoder(images, np.random.default_rng(seed)), like=like, dtype=np.float64)
    states = model.state_gradients(double, x, asarray(labels.astype(np.int64), like=like))
    return np.linalg.norm(to_numpy(states), axis=(1, 2))


def draw_run(
    config: Any,
    heading: str,
    starts: Mapping[str, Any],
    n_steps: int,
    data: Dataset,
    trainer: Trainer,
    training: TrainingResult,
    test: Evaluation,
) -> list[Path]:
    """Draw the three pictures of a run into its folder and return their paths.

    Parameters
    ----------
    config : Config
        Configuration of the run.
    heading : str
        Of the pictures.
    starts : mapping of str to Config
        Cells whose gradients at their initial values are drawn next to those of the trained network.
    n_steps : int
        T of its sequences.
    data : Dataset
    trainer : Trainer
    training : TrainingResult
    test : Evaluation
        Of the test images of `data`.
    """
    out = Path(config.out)

    def norms(model: Classifier, params: Any) -> np.ndarray:
        return gradient_norms(model, params, trainer.encoder, data, config.seed)

    flows = {f"{config.cell}, trained": norms(trainer.model, training.evaluated)}
    for name, other in starts.items():
        model = Classifier(make_cell(other, trainer.model.cell.input_size), data.n_classes)
        rng = np.random.default_rng(config.seed)
        params = model.init_params(rng, **initial_values(other, n_steps), backend=config.backend)
        flows[f"{name}, at the start"] = norms(model, params)
    history = training.history
    written = [out / f"{name}.png" for name in ("learning_curves", "confusion_matrix", "gradient_flow")]
    plots.learning_curves(history("training"), history("validation"), written[0], title=heading)
    plots.confusion_matrix(
        data.test_labels,
        test.predictions,
        data.class_names,
        written[1],
        title=f"{heading}: {100 * (test.accuracy or 0):.2f} % of {len(test.predictions):,} test images",
    )
    plots.gradient_flow(flows, written[2], title=f"How the gradient travels back in time: {heading}")
    return written
