"""Bad input is met before any work, by one error that names the argument, what was expected and what came."""

import numpy as np
import pytest
from helpers import draw_sequence, draw_step

import numrnn
from numrnn import backward, forward
from numrnn.cells.euler import EulerCell

EULER_CELLS = [kind for kind in numrnn.CELLS.values() if issubclass(kind, EulerCell)]


@pytest.fixture
def sequence(rng):
    cell = numrnn.AntisymmetricCell(3, 4)
    return cell, *draw_sequence(cell, rng)


def test_x_of_wrong_rank(sequence):
    cell, params, x, _ = sequence
    with pytest.raises(ValueError, match=r"x must be \(T, B, m=3\) with T, B >= 1, got \(6, 3\)"):
        forward(cell, params, x[:, :, 0])


def test_x_of_wrong_width(sequence):
    cell, params, x, _ = sequence
    with pytest.raises(ValueError, match=r"x must be \(T, B, m=3\) .* got \(6, 3, 2\)"):
        forward(cell, params, x[:, :, :2])


def test_no_time_steps(sequence):
    cell, params, x, _ = sequence
    with pytest.raises(ValueError, match=r"T, B >= 1, got \(0, 3, 3\)"):
        forward(cell, params, x[:0])


def test_no_batch(sequence):
    cell, params, x, _ = sequence
    with pytest.raises(ValueError, match=r"T, B >= 1, got \(6, 0, 3\)"):
        forward(cell, params, x[:, :0])


def test_parameters_of_another_hidden_size(sequence):
    cell, params, x, _ = sequence
    with pytest.raises(ValueError, match=r"params\['W'\] must be \(4, 4\), got \(5, 5\)"):
        forward(cell, {**params, "W": np.ones((5, 5))}, x)


def test_h0_of_another_hidden_size(sequence):
    cell, params, x, _ = sequence
    with pytest.raises(ValueError, match=r"h0 must be \(B=3, n=4\), got \(3, 5\)"):
        forward(cell, params, x, np.ones((3, 5)))


def test_h0_of_another_batch(sequence):
    cell, params, x, h0 = sequence
    with pytest.raises(ValueError, match=r"h0 must be \(B=3, n=4\), got \(2, 4\)"):
        forward(cell, params, x, h0[:2])


def test_h0_without_a_batch_is_not_broadcast(sequence):
    cell, params, x, h0 = sequence
    with pytest.raises(ValueError, match=r"h0 must be \(B=3, n=4\), got \(4,\)"):
        forward(cell, params, x, h0[0])


def test_mixed_precision_in_a_sequence(sequence):
    cell, params, x, _ = sequence
    with pytest.raises(TypeError, match=r"one precision, got params\['W'\] of float64 and x of float32"):
        forward(cell, params, x.astype(np.float32))


def test_mixed_precision_among_parameters(sequence):
    cell, params, x, _ = sequence
    with pytest.raises(TypeError, match=r"one precision, got params\['W'\] of float64 and params\['b'\] of float32"):
        forward(cell, {**params, "b": params["b"].astype(np.float32)}, x)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16, bool])
def test_x_that_is_not_floating_point(sequence, dtype):
    cell, params, x, _ = sequence
    with pytest.raises(TypeError, match=f"x must be of dtype .* got {np.dtype(dtype).name}"):
        forward(cell, params, np.ones(x.shape, dtype))


def test_x_that_is_no_array(sequence):
    cell, params, x, _ = sequence
    with pytest.raises(TypeError, match="x must be an array of shape .* got list"):
        forward(cell, params, x.tolist())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_x_that_is_not_finite(sequence, value):
    cell, params, x, _ = sequence
    x[2, 1, 0] = value
    with pytest.raises(ValueError, match=rf"x must be finite, got {value} at index \(2, 1, 0\)"):
        forward(cell, params, x)


def test_x_that_is_not_finite_before_a_length(sequence):
    cell, params, x, _ = sequence
    x[2, 1, 0] = np.nan
    with pytest.raises(ValueError, match=r"x must be finite, got nan at index \(2, 1, 0\)"):
        forward(cell, params, x, lengths=[6, 3, 6])


@pytest.mark.parametrize("name", ["W", "V", "b"])
def test_parameters_that_are_not_finite(sequence, name):
    cell, params, x, _ = sequence
    params[name].flat[1] = np.inf
    with pytest.raises(ValueError, match=rf"params\['{name}'\] must be finite, got inf"):
        forward(cell, params, x)


def test_h0_that_is_not_finite(sequence):
    cell, params, x, h0 = sequence
    h0[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"h0 must be finite, got nan at index \(1, 2\)"):
        forward(cell, params, x, h0)


def test_missing_parameter(sequence):
    cell, params, x, _ = sequence
    del params["V"]
    with pytest.raises(ValueError, match="params must have the names W, V, b, got W, b"):
        forward(cell, params, x)


def test_unknown_parameter(sequence):
    cell, params, x, _ = sequence
    with pytest.raises(ValueError, match="params must have the names W, V, b, got W, V, b, V_z"):
        forward(cell, {**params, "V_z": params["V"]}, x)


def test_parameters_that_are_no_mapping(sequence):
    cell, params, x, _ = sequence
    with pytest.raises(TypeError, match="params must be a mapping of names to arrays, got list"):
        forward(cell, list(params.values()), x)


def test_cell_that_is_no_cell(sequence):
    _, params, x, _ = sequence
    with pytest.raises(TypeError, match="cell must be a numrnn cell, got str"):
        forward("antisymmetric", params, x)


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([0, 6, 6], ValueError, "from 1 to T=6, got values from 0 to 6"),
        ([6, 7, 6], ValueError, "from 1 to T=6, got values from 6 to 7"),
        ([-1, 6, 6], ValueError, "from 1 to T=6, got values from -1 to 6"),
        ([6, 6], ValueError, r"lengths must be \(B=3,\), got \(2,\)"),
        (6, ValueError, r"lengths must be \(B=3,\), got \(\)"),
        ([6.0, 6.0, 6.0], TypeError, "lengths must be integers, got dtype float64"),
    ],
)
def test_lengths_out_of_range_or_shape(sequence, lengths, error, message):
    cell, params, x, _ = sequence
    with pytest.raises(error, match=message):
        forward(cell, params, x, lengths=lengths)


@pytest.mark.parametrize("kind", EULER_CELLS)
@pytest.mark.parametrize("step_size", [0, -0.1, np.nan, np.inf])
def test_step_size_that_is_not_positive(kind, step_size):
    with pytest.raises(ValueError, match=f"step_size must be a finite number > 0, got {step_size}"):
        kind(3, 4, step_size=step_size)


@pytest.mark.parametrize("kind", EULER_CELLS)
@pytest.mark.parametrize("diffusion", [-1e-9, np.nan])
def test_diffusion_that_is_negative(kind, diffusion):
    with pytest.raises(ValueError, match=f"diffusion must be a finite number >= 0, got {diffusion}"):
        kind(3, 4, diffusion=diffusion)


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)])
@pytest.mark.parametrize("name", ["input_size", "hidden_size"])
def test_sizes_that_are_no_positive_integers(name, value, error):
    with pytest.raises(error, match=f"{name} must be an integer >= 1, got {value}"):
        numrnn.ElmanCell(**{"input_size": 3, "hidden_size": 4, name: value})


def test_step_size_that_is_no_number():
    with pytest.raises(TypeError, match="step_size must be a finite number > 0, got '0.1'"):
        numrnn.AntisymmetricCell(3, 4, step_size="0.1")


def test_triangular_that_is_no_boolean():
    with pytest.raises(TypeError, match="triangular must be True or False, got 1"):
        numrnn.AntisymmetricCell(3, 4, triangular=1)


def test_init_params_without_a_generator():
    with pytest.raises(TypeError, match="rng must be a numpy.random.Generator, got int"):
        numrnn.ElmanCell(3, 4).init_params(0)


def test_init_params_with_negative_weight_std(rng):
    with pytest.raises(ValueError, match="weight_std must be a finite number >= 0, got -1"):
        numrnn.ElmanCell(3, 4).init_params(rng, weight_std=-1)


@pytest.mark.parametrize("dtype", [np.int64, np.float16])
def test_init_params_of_wrong_dtype(rng, dtype):
    with pytest.raises(TypeError, match="dtype must be one of float32, float64, complex128, got"):
        numrnn.ElmanCell(3, 4).init_params(rng, dtype=dtype)


@pytest.mark.parametrize("engine", ["fast", "", None])
def test_unknown_engine(sequence, engine):
    cell, params, x, _ = sequence
    with pytest.raises((TypeError, ValueError), match="engine must be one of 'auto', 'reference', 'fused', got"):
        forward(cell, params, x, engine=engine)


@pytest.mark.parametrize(("every", "error"), [(0, ValueError), (-3, ValueError), ("log", ValueError), (2.5, TypeError)])
def test_recompute_every_out_of_range(sequence, every, error):
    cell, params, x, _ = sequence
    with pytest.raises(error, match="recompute_every must be an integer >= 1"):
        forward(cell, params, x, recompute_every=every)


def test_backward_without_a_cotangent(sequence):
    cell, params, x, _ = sequence
    with pytest.raises(ValueError, match="give d_states, d_final or both"):
        backward(forward(cell, params, x)[1])


def test_backward_without_a_tape(sequence):
    cell, params, x, h0 = sequence
    with pytest.raises(TypeError, match="tape must be the tape that forward returned, got ndarray"):
        backward(forward(cell, params, x)[0], d_final=h0)


def test_d_states_without_the_first_state(sequence):
    cell, params, x, _ = sequence
    states, tape = forward(cell, params, x)
    with pytest.raises(ValueError, match=r"d_states must be \(T\+1=7, B=3, n=4\), got \(6, 3, 4\)"):
        backward(tape, states[1:])


def test_d_final_of_wrong_shape(sequence):
    cell, params, x, h0 = sequence
    with pytest.raises(ValueError, match=r"d_final must be \(B=3, n=4\), got \(1, 4\)"):
        backward(forward(cell, params, x)[1], d_final=h0[:1])


def test_d_final_of_another_precision(sequence):
    cell, params, x, h0 = sequence
    with pytest.raises(TypeError, match="one precision, got x of float64 and d_final of float32"):
        backward(forward(cell, params, x)[1], d_final=h0.astype(np.float32))


def test_cotangent_that_is_not_finite(sequence):
    cell, params, x, h0 = sequence
    h0[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"d_final must be finite, got nan at index \(0, 0\)"):
        backward(forward(cell, params, x)[1], d_final=h0)


@pytest.mark.parametrize("wrt", [("W",), "params", ("params", "h_0")])
def test_unknown_gradient(sequence, wrt):
    cell, params, x, h0 = sequence
    with pytest.raises(ValueError, match="wrt must be a collection of 'params', 'x', 'h0', 'states'"):
        backward(forward(cell, params, x)[1], d_final=h0, wrt=wrt)


def test_one_step_checks_its_arguments_too(cell, rng):
    params, x, h = draw_step(cell, rng)
    width = cell.state_size
    with pytest.raises(ValueError, match=rf"h must be \(B=5, n={width}\), got \({width},\)"):
        cell.step(params, x, h[0])
    with pytest.raises(ValueError, match=r"x must be \(B, m=3\) with B >= 1, got \(5, 2\)"):
        cell.step(params, x[:, :2], h)
    with pytest.raises(ValueError, match=rf"dh_next must be \(B=5, n={width}\), got \(4, {width}\)"):
        cell.step_vjp(params, x, h, h[:4])
    with pytest.raises(ValueError, match=r"x_dot must be \(B=5, m=3\), got \(5, 1\)"):
        cell.step_jvp(params, x, h, params, x[:, :1], h)
    with pytest.raises(ValueError, match=r"params_dot must have the names"):
        cell.step_jvp(params, x, h, {}, x, h)
    with pytest.raises(ValueError, match=r"h must be finite, got nan"):
        cell.jacobian(params, x, np.full_like(h, np.nan))


def test_a_call_with_an_argument_too_few_or_too_many(cell, rng):
    params, x, h = draw_step(cell, rng)
    with pytest.raises(TypeError, match="dh_next"):
        cell.step_vjp(params, x, h)
    with pytest.raises(TypeError):
        cell.step(params, x, h, h)
    with pytest.raises(TypeError):
        cell.step_jvp(params, x, h, params, x)


def test_arguments_by_name_are_checked_as_those_by_position_are(cell, rng):
    params, x, h = draw_step(cell, rng)
    assert np.array_equal(cell.step(params, h=h, x=x), cell.step(params, x, h))
    with pytest.raises(ValueError, match=r"h must be \(B=5"):
        cell.step(params=params, x=x, h=h[:2])
