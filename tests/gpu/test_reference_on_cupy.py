"""The cells, the loops over time and training on CuPy arrays: the numbers of NumPy, and nothing left on the host."""

import numpy as np
import pytest
from helpers import EPS64, draw_sequence, draw_step, worst

import numrnn
from numrnn import backward, forward
from numrnn.backend import to_numpy
from numrnn.training import Adam, Classifier, Trainer, TrainingConfig, clip_by_global_norm

GROWTH = 1000 * EPS64  # other libraries sum in another order


def move(cupy, array):
    return {k: cupy.asarray(v) for k, v in array.items()} if isinstance(array, dict) else cupy.asarray(array)


def test_every_method_of_a_cell_gives_the_numbers_of_numpy(cupy, cell, rng):
    params, x, h = draw_step(cell, rng)
    arguments = [move(cupy, a) for a in (params, x, h)]
    pairs = [
        (cell.step(*arguments), cell.step(params, x, h)),
        (cell.step_jvp(*arguments, *arguments), cell.step_jvp(params, x, h, params, x, h)),
        (cell.jacobian(*arguments), cell.jacobian(params, x, h)),
    ]
    dparams, dx, dh = cell.step_vjp(params, x, h, h)
    dparams_, dx_, dh_ = cell.step_vjp(*arguments, arguments[2])
    pairs += [(dx_, dx), (dh_, dh), *((dparams_[k], dparams[k]) for k in params)]
    for got, wanted in pairs:
        assert isinstance(got, cupy.ndarray)
        assert worst(to_numpy(got), wanted) < GROWTH


@pytest.mark.parametrize("lengths", [None, [6, 1, 4]], ids=["full rows", "padded rows"])
@pytest.mark.parametrize("every", [None, "sqrt"], ids=["all states", "checkpoints"])
def test_the_loops_over_time_give_the_numbers_of_numpy(cupy, cell, lengths, every, rng):
    params, x, h0 = draw_sequence(cell, rng)
    states, tape = forward(cell, params, x, h0, lengths=lengths)
    d_states = rng.standard_normal(states.shape)
    wanted = backward(tape, d_states)
    moved = [move(cupy, a) for a in (params, x, h0)]
    states_, tape_ = forward(cell, *moved, lengths=lengths, recompute_every=every, engine="reference")
    got = backward(tape_, cupy.asarray(d_states))
    assert worst(to_numpy(states_[-1]), states[-1]) < GROWTH
    pairs = [(got.x, wanted.x), (got.h0, wanted.h0), *((got.params[k], wanted.params[k]) for k in params)]
    for got_, wanted_ in pairs:
        assert worst(to_numpy(got_), wanted_) < GROWTH


def test_host_and_device_arrays_are_not_mixed(cupy, cell, rng):
    params, x, h = draw_step(cell, rng)
    with pytest.raises((TypeError, ValueError), match="one library|one device"):
        cell.step(move(cupy, params), x, move(cupy, h))


def test_one_seed_draws_one_network_on_both(cupy, cell):
    host = cell.init_params(np.random.default_rng(3), backend="numpy")
    device = cell.init_params(np.random.default_rng(3), backend="cupy")
    assert all(np.array_equal(to_numpy(device[k]), host[k]) for k in host)


def test_a_gradient_and_an_update_give_the_numbers_of_numpy(cupy, rng):
    model = Classifier(numrnn.GatedAntisymmetricCell(1, 8), 3)
    params = model.init_params(rng, dtype=np.float64, backend="numpy")
    x, labels = rng.standard_normal((20, 5, 1)), np.array([0, 2, 1, 1, 0])
    results = []
    for to in (np.asarray, cupy.asarray):
        own = {k: to(v) for k, v in params.items()}
        loss, grads, _ = model.loss_and_gradient(own, to(x), to(labels))
        grads, norm = clip_by_global_norm(grads, 0.1)
        updated, _ = Adam(0.01).update(own, grads, Adam(0.01).init(own))
        results.append((float(loss), norm, {k: to_numpy(v) for k, v in updated.items()}))
    (loss, norm, host), (loss_, norm_, device) = results
    assert abs(loss - loss_) < GROWTH * abs(loss)
    assert abs(norm - norm_) < GROWTH * norm
    assert all(worst(device[k], host[k]) < 1e-9 for k in host)  # Adam divides by the root of a small square


def test_a_run_on_the_device_resumes_from_its_checkpoint(cupy, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 5), np.uint8), rng.integers(0, 3, 40)
    model = Classifier(numrnn.AntisymmetricCell(1, 8), 3)

    def encode(images, rng):
        return images.T[:, :, None] / np.float32(255)

    def trainer(epochs):
        config = TrainingConfig(epochs=epochs, batch_size=8, backend="cupy")
        return Trainer(model, Adam(0.01), encode, (images, labels), config, tmp_path, show_progress=False)

    trainer(1).run()
    result = trainer(3).run(resume=True)
    assert result.step == 15
    assert all(isinstance(p, cupy.ndarray) and bool(cupy.isfinite(p).all()) for p in result.params.values())
