"""The reference code uses nothing that only NumPy has, and moves no data to the host.

array-api-strict has exactly the functions of the Python array API standard, and a device that refuses to mix with the
host; what runs there runs on any library that follows the standard.
"""

import array_api_strict as xp
import numpy as np
import pytest
from helpers import EPS64, draw_sequence, draw_step, worst

from numrnn import backend, backward, forward

DEVICE = xp.Device("device1")


def move(array):
    if isinstance(array, dict):
        return {k: move(v) for k, v in array.items()}
    return xp.asarray(array, device=DEVICE)


def back(array):
    assert array.device == DEVICE
    return backend.to_numpy(array)


def test_every_method_of_a_cell_runs_on_another_librarys_device(cell, rng):
    params, x, h = draw_step(cell, rng)
    arguments = (move(params), move(x), move(h))
    dparams, dx, dh = cell.step_vjp(params, x, h, h)
    dparams_, dx_, dh_ = cell.step_vjp(*arguments, move(h))
    pairs = [(cell.step(*arguments), cell.step(params, x, h)), (dx_, dx), (dh_, dh)]
    pairs += [(cell.step_jvp(*arguments, *arguments), cell.step_jvp(params, x, h, params, x, h))]
    pairs += [(cell.jacobian(*arguments), cell.jacobian(params, x, h))]
    pairs += [(dparams_[k], dparams[k]) for k in params]
    for got, wanted in pairs:
        assert worst(back(got), wanted) < 20 * EPS64


@pytest.mark.parametrize("lengths", [None, [6, 1, 4]], ids=["full rows", "padded rows"])
@pytest.mark.parametrize("every", [None, "sqrt"], ids=["all states", "checkpoints"])
def test_the_loops_over_time_run_on_another_librarys_device(cell, lengths, every, rng):
    params, x, h0 = draw_sequence(cell, rng)
    states, tape = forward(cell, params, x, h0, lengths=lengths)
    d_states = rng.standard_normal(states.shape)
    wanted = backward(tape, d_states, d_final=h0)
    states_, tape_ = forward(cell, move(params), move(x), move(h0), lengths=lengths, recompute_every=every)
    got = backward(tape_, move(d_states), d_final=move(h0))
    assert worst(back(states_[-1, ...]), states[-1]) < 20 * EPS64
    pairs = [(got.x, wanted.x), (got.h0, wanted.h0)]
    for got_, wanted_ in pairs + [(got.params[k], wanted.params[k]) for k in params]:
        assert worst(back(got_), wanted_) < 100 * EPS64


def test_complex_steps_run_on_another_librarys_device(cell, rng):
    params, x, h = draw_step(cell, rng)
    moved = {k: v + 1e-30j for k, v in params.items()}
    got = cell.step(move(moved), move(x), move(h))
    assert worst(back(got), cell.step(moved, x, h)) < 20 * EPS64


def test_checkpointed_states_become_a_numpy_array_when_asked(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    lean, _ = forward(cell, move(params), move(x), move(h0), recompute_every=2)
    assert worst(np.asarray(lean), forward(cell, params, x, h0)[0]) < 20 * EPS64
    assert lean[1:3].device == DEVICE


def test_arrays_of_two_libraries_are_refused(cell, rng):
    params, x, h = draw_step(cell, rng)
    with pytest.raises((TypeError, ValueError), match="one library|one device"):
        cell.step(params, move(x), h)


def test_arrays_of_two_devices_are_refused(cell, rng):
    params, x, h = draw_step(cell, rng)
    with pytest.raises(ValueError, match="one device, got params.* and x on"):
        cell.step(move(params), xp.asarray(x), move(h))


def test_not_finite_input_is_found_on_another_librarys_device(cell, rng):
    params, x, h = draw_step(cell, rng)
    x[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"x must be finite, got nan at index \(1, 2\)"):
        cell.step(move(params), move(x), move(h))


def test_integer_input_is_refused_on_another_librarys_device(cell, rng):
    params, x, h = draw_step(cell, rng)
    with pytest.raises(TypeError, match="x must be of dtype .* got int64"):
        cell.step(move(params), move(np.ones(x.shape, np.int64)), move(h))
