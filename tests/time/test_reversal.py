"""Sequences turned round in time."""

import array_api_strict as strict
import numpy as np
import pytest
from helpers import EPS64, draw_sequence, worst

import gradcheck
import numrnn
from numrnn import backend, backward, forward, reverse
from numrnn.checks import FLOATING


def drawn(rng, dtype=np.float64):
    """Return x of random sizes, and lengths."""
    n_steps, batch, m = (int(size) for size in rng.integers(1, 9, 3))
    return rng.standard_normal((n_steps, batch, m)).astype(dtype), rng.integers(1, n_steps + 1, batch)


def test_every_row_is_reversed_within_its_length_and_padding_stays(rng):
    for _ in range(50):
        x, lengths = drawn(rng)
        y = reverse(x, lengths)
        for i, length in enumerate(lengths):
            assert np.array_equal(y[:length, i], x[:length, i][::-1])
            assert np.array_equal(y[length:, i], x[length:, i])


def test_without_lengths_all_of_time_is_reversed(rng):
    x, _ = drawn(rng)
    assert np.array_equal(reverse(x), x[::-1])
    assert np.array_equal(reverse(x, [len(x)] * x.shape[1]), x[::-1])


@pytest.mark.parametrize("dtype", FLOATING)
def test_it_is_its_own_inverse_and_leaves_its_argument_alone(dtype, rng):
    for _ in range(20):
        x, lengths = drawn(rng, dtype)
        x.flags.writeable = False
        before, y = x.copy(), reverse(x, lengths)
        assert y.dtype == x.dtype
        assert y.flags.c_contiguous
        assert not np.shares_memory(x, y)
        assert np.array_equal(reverse(y, lengths), x)
        assert np.array_equal(x, before)


def test_it_is_its_own_adjoint(rng):
    x, lengths = drawn(rng)
    dy = rng.standard_normal(x.shape)
    terms = dy * reverse(x, lengths)
    # The same products, added in another order.
    difference = np.sum(terms) - np.sum(reverse(dy, lengths) * x)
    assert abs(difference) <= terms.size * EPS64 * np.sum(np.abs(terms))
    report = gradcheck.check_gradient(
        lambda p: np.sum(dy * reverse(p["x"], lengths) ** 3),
        lambda p: {"x": 3 * p["x"] ** 2 * reverse(dy, lengths)},
        {"x": x},
    )
    assert report.passed, str(report)


def test_padding_of_nan_is_moved_nowhere(rng):
    x, lengths = rng.standard_normal((4, 2, 3)), [2, 4]
    x[2:, 0] = np.nan
    assert np.isnan(reverse(x, lengths)[2:, 0]).all()
    assert np.isfinite(reverse(x, lengths)[:2, 0]).all()


def test_it_runs_on_another_librarys_device(rng):
    x, lengths = drawn(rng)
    device = strict.Device("device1")
    for given in (lengths, lengths.tolist(), strict.asarray(lengths, device=device), None):
        y = reverse(strict.asarray(x, device=device), given)
        assert y.device == device
        assert np.array_equal(backend.to_numpy(y), reverse(x, None if given is None else lengths))


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([1, 2, 3], ValueError, r"lengths must be \(B=2,\), got \(3,\)"),
        ([0, 2], ValueError, "lengths must be from 1 to T=4, got values from 0 to 2"),
        ([5, 2], ValueError, "lengths must be from 1 to T=4, got values from 2 to 5"),
        ([1.0, 2.0], TypeError, "lengths must be integers, got dtype float64"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(lengths, error, message):
    with pytest.raises(error, match=message):
        reverse(np.ones((4, 2, 3)), lengths)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([[1.0]], TypeError, r"x must be an array of shape \(T, B, m\) .* got list"),
        (np.ones((4, 2)), ValueError, r"x must be \(T, B, m\) with T, B, m >= 1, got \(4, 2\)"),
        (np.ones((4, 2, 3), int), TypeError, "x must be of dtype float32, float64 or complex128, got int64"),
    ],
)
def test_arrays_that_are_no_sequences_are_refused(x, error, message):
    with pytest.raises(error, match=message):
        reverse(x)


def test_a_padded_row_read_backwards_is_the_row_alone_read_backwards(rng):
    cell = numrnn.LSTMCell(3, 4)
    params, x, h0 = draw_sequence(cell, rng, n_steps=9, batch=4)
    lengths = [9, 1, 5, 8]
    states, tape = forward(cell, params, reverse(x, lengths), h0, lengths=lengths)
    d_final = rng.standard_normal(h0.shape)
    dx = reverse(backward(tape, d_final=d_final).x, lengths)
    for i, length in enumerate(lengths):
        alone, own = forward(cell, params, x[:length, i : i + 1][::-1], h0[i : i + 1])
        assert worst(states[-1, i], alone[-1, 0]) < 100 * EPS64
        by_alone = backward(own, d_final=d_final[i : i + 1]).x[::-1]
        assert worst(dx[:length, i], by_alone[:, 0]) < 1000 * EPS64
        assert not dx[length:, i].any()
