"""Optimisers and clipping: torch's stored figures, their formulas, purity, dtypes, bad input."""

import json
from pathlib import Path

import array_api_strict as xp
import numpy as np
import pytest
from helpers import EPS64, worst

from numrnn import backend, training
from numrnn.training import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    ConstantSchedule,
    StepSchedule,
    clip_by_global_norm,
    global_norm,
)
from numrnn.training.ledger import Ledger

DEVICE = xp.Device("device1")
EPS32 = np.finfo(np.float32).eps
STORED = np.load(Path(__file__).parent / "data" / "optimizer_trajectories.npz", allow_pickle=False)
CASES = json.loads(str(STORED["about"]))["optimizers"]
OPTIMIZERS = [
    SGD(0.1, momentum=0.9),
    SGD(0.1, momentum=0.9, nesterov=True),
    Adagrad(0.1),
    Adam(0.1),
    AdamW(0.1, weight_decay=0.5),
]
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)


def make(case):
    kind, arguments = CASES[case]
    return getattr(training, kind)(**arguments)


def stored(prefix, dtype=np.float64):
    return {name: STORED[f"{prefix}/{name}"].astype(dtype) for name in ("W", "b")}


def follow(optimizer, params, grads):
    """Return the parameters after each update."""
    state, trajectory = optimizer.init(params), []
    for step in range(len(grads["W"])):
        params, state = optimizer.update(params, {name: g[step] for name, g in grads.items()}, state)
        trajectory.append(params)
    return {name: np.stack([p[name] for p in trajectory]) for name in grads}


@pytest.fixture
def problem(rng):
    params = {"W": rng.standard_normal((3, 2)), "b": rng.standard_normal(2)}
    return params, {name: rng.standard_normal(p.shape) for name, p in params.items()}


@pytest.mark.parametrize("case", CASES)
def test_optimizer_follows_torch_over_50_steps(case):
    got, wanted = follow(make(case), stored("start"), stored("gradient")), stored(case)
    for name in wanted:
        assert worst(got[name], wanted[name]) < 50 * EPS64


@pytest.mark.parametrize("case", CASES)
def test_float32_follows_torchs_float64_to_float32_rounding(case):
    got, wanted = follow(make(case), stored("start", np.float32), stored("gradient", np.float32)), stored(case)
    for name in wanted:
        assert got[name].dtype == np.float32
        assert worst(got[name], wanted[name]) < 50 * EPS32


def test_the_stored_trajectories_say_which_versions_made_them():
    assert json.loads(str(STORED["about"]))["versions"].keys() == {"torch", "numpy"}


def test_sgd_without_momentum_steps_against_the_gradient(problem):
    params, grads = problem
    optimizer = SGD(0.25)
    new, _ = optimizer.update(params, grads, optimizer.init(params))
    assert np.array_equal(new["W"], params["W"] - 0.25 * grads["W"])


def test_momentum_adds_the_last_velocity_times_mu(problem):
    params, grads = problem
    optimizer = SGD(0.5, momentum=0.5)
    once, state = optimizer.update(params, grads, optimizer.init(params))
    twice, _ = optimizer.update(once, grads, state)
    assert np.allclose(twice["b"] - once["b"], -0.5 * 1.5 * grads["b"], rtol=8 * EPS64, atol=4 * EPS64)


def test_the_first_adagrad_step_has_the_size_of_the_learning_rate(problem):
    params, grads = problem
    optimizer = Adagrad(0.25)
    new, _ = optimizer.update(params, grads, optimizer.init(params))
    assert np.allclose(new["W"] - params["W"], -0.25 * np.sign(grads["W"]), rtol=1e-8, atol=0)


def test_the_first_adam_step_has_the_size_of_the_learning_rate(problem):
    params, grads = problem
    optimizer = Adam(0.25)
    new, _ = optimizer.update(params, grads, optimizer.init(params))
    assert np.allclose(new["W"] - params["W"], -0.25 * np.sign(grads["W"]), rtol=1e-6, atol=0)


@every_optimizer
def test_update_leaves_what_it_is_given_as_it_is(optimizer, problem):
    params, grads = problem
    _, state = optimizer.update(params, grads, optimizer.init(params))
    slots = {(slot, name): state[slot][name] for slot in optimizer.slots for name in params}
    before = [a.copy() for a in [*params.values(), *grads.values(), *slots.values()]]
    optimizer.update(params, grads, state)
    after = [*params.values(), *grads.values(), *(state[slot][name] for slot, name in slots)]
    assert all(np.array_equal(x, y) for x, y in zip(before, after, strict=True))
    assert state["step"] == 1


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_update_keeps_the_dtype(optimizer, dtype, problem):
    params, grads = ({name: a.astype(dtype) for name, a in group.items()} for group in problem)
    state = optimizer.init(params)
    for _ in range(2):
        params, state = optimizer.update(params, grads, state)
    arrays = [*params.values(), *(a for slot in optimizer.slots for a in state[slot].values())]
    assert {a.dtype for a in arrays} == {np.dtype(dtype)}


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_parameter_without_axes_stays_an_array_and_is_watched(optimizer, dtype, rng):
    grads = rng.standard_normal((4, 2)).astype(dtype)
    params = {"alone": np.array(rng.standard_normal(), dtype), "row": np.zeros(1, dtype)}
    params["row"][...] = params["alone"]
    state = optimizer.init(params)
    ledger = Ledger(params, state)
    for step, (g, _) in enumerate(grads, 1):
        params, state = optimizer.update(params, {"alone": np.array(g), "row": np.array([g])}, state)
        for values in (params, *(state[slot] for slot in optimizer.slots)):
            assert isinstance(values["alone"], np.ndarray)
            assert values["alone"].dtype == dtype
            assert values["alone"] == values["row"][0]
        ledger.note(step, 1, np.array(1.0), None, np.array(1.0), params, state)
        assert ledger.read()[1] is None
    for bad in (np.array(np.inf, dtype), dtype("nan")):  # an optimiser of one's own may return a number
        ledger = Ledger(params, state)
        ledger.note(5, 1, np.array(1.0), None, np.array(1.0), {**params, "alone": bad}, state)
        assert ledger.read() == ([], (5, "parameter alone"))


def test_a_learning_rate_that_is_a_numpy_float64_does_not_widen_float32(problem):
    params, grads = ({name: a.astype(np.float32) for name, a in group.items()} for group in problem)
    optimizer = Adam(lambda step: np.float64(0.1), beta1=np.float64(0.9), epsilon=np.float64(1e-8))
    new, _ = optimizer.update(params, grads, optimizer.init(params))
    assert new["W"].dtype == np.float32


@every_optimizer
def test_update_runs_on_another_librarys_device(optimizer, problem):
    params, grads = problem
    moved = [{name: xp.asarray(a, device=DEVICE) for name, a in group.items()} for group in problem]
    state, state_ = optimizer.init(params), optimizer.init(moved[0])
    for _ in range(2):
        params, state = optimizer.update(params, grads, state)
        moved[0], state_ = optimizer.update(*moved, state_)
    for name in params:
        assert moved[0][name].device == DEVICE
        assert worst(backend.to_numpy(moved[0][name]), params[name]) < 8 * EPS64


def test_a_schedule_is_asked_for_the_number_of_updates_done(problem):
    params, grads = problem
    asked = []
    optimizer = SGD(lambda step: asked.append(step) or 0.1)
    state = optimizer.init(params)
    for _ in range(3):
        params, state = optimizer.update(params, grads, state)
    assert asked == [0, 1, 2]


def test_a_schedule_sets_the_size_of_each_step(problem):
    params, grads = problem
    optimizer = SGD(StepSchedule(learning_rate=0.5, period=1, factor=0.5))
    once, state = optimizer.update(params, grads, optimizer.init(params))
    twice, _ = optimizer.update(once, grads, state)
    assert np.array_equal(twice["b"], once["b"] - 0.25 * grads["b"])


def test_a_learning_rate_of_zero_from_a_schedule_moves_nothing(problem):
    params, grads = problem
    optimizer = Adam(lambda step: 0.0)
    new, state = optimizer.update(params, grads, optimizer.init(params))
    assert np.array_equal(new["W"], params["W"])
    assert state["step"] == 1


@every_optimizer
def test_config_survives_json_and_makes_the_same_optimizer(optimizer):
    config = json.loads(json.dumps(optimizer.config()))
    assert config.pop("optimizer") == optimizer.name
    assert type(optimizer)(**config).config() == optimizer.config()


@pytest.mark.parametrize("kind", [SGD, Adagrad, Adam, AdamW])
def test_a_multiplier_is_a_learning_rate_of_its_own(kind, problem):
    params, grads = problem
    many = {name: np.stack([g, -0.5 * g, 2 * g]) for name, g in grads.items()}
    plain, fast = (follow(kind(rate), params, many) for rate in (0.125, 0.5))
    mixed = follow(kind(0.125, multipliers={"W": 4.0}), params, many)
    assert np.array_equal(mixed["W"], fast["W"])
    assert np.array_equal(mixed["b"], plain["b"])
    assert not np.array_equal(plain["W"], fast["W"])


def test_multipliers_are_in_the_config_where_there_are_any():
    assert Adam(0.1, multipliers={"W": 0.5}).config()["multipliers"] == {"W": 0.5}
    assert "multipliers" not in Adam(0.1).config()  # else older checkpoints would seem to be of another optimiser
    assert "multipliers={'W': 0.5}" in repr(SGD(0.1, multipliers={"W": 0.5}))


@pytest.mark.parametrize(
    ("multipliers", "message"),
    [
        ({"W": 0.0}, r"multipliers\['W'\] must be a finite number > 0, got 0.0"),
        ({"w": 1.0}, "multipliers must be of W, b, got w"),
    ],
)
def test_a_multiplier_that_fits_nothing_is_refused(multipliers, message, problem):
    with pytest.raises(ValueError, match=message):
        SGD(0.1, multipliers=multipliers).init(problem[0])


@pytest.mark.parametrize(("decay", "kept"), [(0.0, 1.0), (0.5, 0.875)])
def test_decay_is_apart_from_the_step_of_adam(decay, kept, problem):
    params, grads = problem
    many = {name: g[None] for name, g in grads.items()}
    wanted, got = follow(Adam(0.25), params, many), follow(AdamW(0.25, weight_decay=decay), params, many)
    for name, p in params.items():
        assert worst(got[name][0] - kept * p, wanted[name][0] - p) < 4 * EPS64


def test_what_is_undecayed_does_not_decay(problem):
    params, grads = problem
    many = {name: g[None] for name, g in grads.items()}
    optimizer = AdamW(0.25, weight_decay=0.5, undecayed=["b"])
    got, adam, adamw = (follow(o, params, many) for o in (optimizer, Adam(0.25), AdamW(0.25, weight_decay=0.5)))
    assert np.array_equal(got["b"], adam["b"])
    assert np.array_equal(got["W"], adamw["W"])
    assert optimizer.config()["undecayed"] == ["b"]
    assert "undecayed" not in AdamW(0.25).config()  # else older checkpoints would seem to be of another optimiser


@pytest.mark.parametrize(
    ("undecayed", "error", "message"),
    [
        (["w"], ValueError, "undecayed must be of W, b, got w"),
        ("b", TypeError, "undecayed must be a collection of names, got 'b'"),
        ([1], TypeError, "undecayed must be a collection of names"),
    ],
)
def test_an_undecayed_name_that_fits_nothing_is_refused(undecayed, error, message, problem):
    with pytest.raises(error, match=message):
        AdamW(0.1, undecayed=undecayed).init(problem[0])


@pytest.mark.parametrize(
    ("decay", "message"),
    [
        (-0.1, "weight_decay must be a finite number >= 0, got -0.1"),
        (2.0, r"must be below 1 / learning rate = 2, got 2"),
    ],
)
def test_a_decay_that_turns_a_parameter_round_is_refused(decay, message, problem):
    params, grads = problem
    with pytest.raises(ValueError, match=message):
        follow(AdamW(0.5, weight_decay=decay), params, {name: g[None] for name, g in grads.items()})


def test_config_holds_the_schedules_config():
    schedule = ConstantSchedule(learning_rate=0.1, warmup_steps=3)
    assert Adam(schedule).config()["learning_rate"] == schedule.config()


def half(step):
    return 0.5


def test_config_names_a_learning_rate_that_is_a_function():
    assert SGD(half).config()["learning_rate"].endswith("test_optim.half")


def test_clipping_scales_all_gradients_by_one_factor(problem):
    _, grads = problem
    clipped, norm = clip_by_global_norm(grads, 0.5)
    everything = np.concatenate([g.ravel() for g in grads.values()])
    assert abs(norm - np.linalg.norm(everything)) < 8 * EPS64 * norm
    for name in grads:
        assert worst(clipped[name], grads[name] * 0.5 / np.linalg.norm(everything)) < 8 * EPS64
    assert abs(global_norm(clipped) - 0.5) < 8 * EPS64


def test_clipping_leaves_a_gradient_within_the_bound_as_it_is(problem):
    _, grads = problem
    clipped, norm = clip_by_global_norm(grads, 1e3)
    assert norm < 1e3
    assert all(clipped[name] is grads[name] for name in grads)


def test_clipping_does_not_write_into_the_gradients(problem):
    _, grads = problem
    before = grads["W"].copy()
    clip_by_global_norm(grads, 1e-3)
    assert np.array_equal(grads["W"], before)


def test_clipping_of_elements_of_1e30_in_float32_does_not_overflow():
    grads = {"W": np.full((2, 2), 1e30, np.float32), "b": np.full(5, -1e30, np.float32)}
    with np.errstate(all="raise"):
        clipped, norm = clip_by_global_norm(grads, 3.0)
    assert abs(norm / 3e30 - 1) < 4 * EPS32
    assert clipped["b"].dtype == np.float32
    assert np.abs(clipped["b"] + 1).max() < 4 * EPS32


def test_the_norm_of_elements_near_the_ends_of_float64_is_right():
    assert abs(global_norm({"a": np.full(4, 1e200)}) / 2e200 - 1) < 4 * EPS64
    assert abs(global_norm({"a": np.full(4, 1e-200)}) / 2e-200 - 1) < 4 * EPS64


def test_the_norm_of_float32_elements_is_summed_in_float64(rng):
    array = rng.standard_normal(1000).astype(np.float32)
    wanted = np.linalg.norm(array.astype(np.float64))
    assert abs(global_norm({"a": array}) - wanted) < 20 * EPS64 * wanted


def test_the_norm_of_nothing_but_zeros_is_zero():
    assert global_norm({"a": np.zeros(3), "b": np.zeros(2, np.float32)}) == 0


@pytest.mark.parametrize("place", ["W", "b"])
def test_clipping_reports_nan_and_does_not_hide_it(place, problem):
    _, grads = problem
    grads[place].flat[1] = np.nan
    clipped, norm = clip_by_global_norm(grads, 0.5)
    assert np.isnan(norm)
    assert all(np.array_equal(clipped[name], grads[name], equal_nan=True) for name in grads)


def test_nan_beside_a_gradient_of_zeros_is_not_hidden():
    assert np.isnan(global_norm({"a": np.zeros(2), "b": np.array([1.0, np.nan])}))


def test_clipping_reports_infinity_and_does_not_hide_it(problem):
    _, grads = problem
    grads["W"][0, 1] = -np.inf
    clipped, norm = clip_by_global_norm(grads, 0.5)
    assert norm == np.inf
    assert clipped["W"][0, 1] == -np.inf


def test_clipping_runs_on_another_librarys_device(problem):
    _, grads = problem
    moved = {name: xp.asarray(g, device=DEVICE) for name, g in grads.items()}
    (clipped, norm), (clipped_, norm_) = clip_by_global_norm(grads, 0.5), clip_by_global_norm(moved, 0.5)
    assert abs(norm_ - norm) < 4 * EPS64 * norm
    assert clipped_["W"].device == DEVICE
    assert worst(backend.to_numpy(clipped_["W"]), clipped["W"]) < 8 * EPS64


@pytest.mark.parametrize("max_norm", [0, -1.0, np.nan, np.inf])
def test_a_bound_that_is_no_positive_number_is_refused(max_norm, problem):
    with pytest.raises(ValueError, match="max_norm must be a finite number > 0, got"):
        clip_by_global_norm(problem[1], max_norm)


@pytest.mark.parametrize("kind", [SGD, Adagrad, Adam, AdamW])
@pytest.mark.parametrize("rate", [-0.1, 0, np.nan])
def test_a_learning_rate_that_is_no_positive_number_is_refused(kind, rate):
    with pytest.raises(ValueError, match="learning_rate must be a finite number > 0, got"):
        kind(rate)


def test_a_learning_rate_that_is_text_is_refused():
    with pytest.raises(TypeError, match=r"learning_rate must be a finite number > 0, got '0.1'"):
        Adam("0.1")


def test_a_schedule_that_gives_a_negative_rate_is_refused_with_its_step(problem):
    params, grads = problem
    optimizer = SGD(lambda step: -1.0)
    with pytest.raises(ValueError, match=r"learning_rate\(0\) must be a finite number >= 0, got -1.0"):
        optimizer.update(params, grads, optimizer.init(params))


def test_a_momentum_of_one_is_refused():
    with pytest.raises(ValueError, match="momentum must be a finite number >= 0 and < 1, got 1"):
        SGD(0.1, momentum=1)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValueError, match="nesterov must go with momentum > 0"):
        SGD(0.1, nesterov=True)


def test_a_beta_of_one_is_refused():
    with pytest.raises(ValueError, match="beta2 must be a finite number >= 0 and < 1, got 1"):
        Adam(0.1, beta2=1.0)


def test_an_epsilon_of_zero_is_refused():
    with pytest.raises(ValueError, match="epsilon must be a finite number > 0, got 0"):
        Adagrad(0.1, epsilon=0)


@every_optimizer
def test_a_missing_gradient_is_refused(optimizer, problem):
    params, grads = problem
    with pytest.raises(ValueError, match="grads must have the names W, b, got W"):
        optimizer.update(params, {"W": grads["W"]}, optimizer.init(params))


@every_optimizer
def test_a_gradient_that_would_broadcast_is_refused(optimizer, problem):
    params, grads = problem
    with pytest.raises(ValueError, match=r"grads\['b'\] must be \(2,\), got \(1,\)"):
        optimizer.update(params, grads | {"b": grads["b"][:1]}, optimizer.init(params))


@every_optimizer
def test_a_gradient_of_another_precision_is_refused(optimizer, problem):
    params, grads = problem
    with pytest.raises(TypeError, match="one precision, got .*float64 and .*float32"):
        optimizer.update(params, grads | {"b": grads["b"].astype(np.float32)}, optimizer.init(params))


def test_the_state_of_another_optimizer_is_refused(problem):
    params, grads = problem
    with pytest.raises(ValueError, match="state must have step, mean, square_mean, got step, velocity"):
        Adam(0.1).update(params, grads, SGD(0.1).init(params))


def test_the_state_of_other_parameters_is_refused(problem):
    params, grads = problem
    with pytest.raises(ValueError, match=r"state\['velocity'\] must have the names W, b, got W"):
        SGD(0.1).update(params, grads, SGD(0.1).init({"W": params["W"]}))


# Of Adam's kin: p = s p', p' trained by the same optimiser, has the gradient s g, of which only the direction counts;
# epsilon is then scaled as well, which a small one hides.
@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_scale_of_the_steps_trains_p_as_its_scale_times_a_parameter(kind, dtype, problem, rng):
    params, grads = ({name: value.astype(dtype) for name, value in mapping.items()} for mapping in problem)
    scales = {"W": np.array([[0.25], [1.0], [64.0]]), "b": np.float64(8.0)}
    many = {name: np.stack([g, -0.5 * g, 2 * g]) for name, g in grads.items()}
    scaled = follow(kind(0.125, step_scales=scales, epsilon=1e-30), params, many)
    inner = {name: p / scales[name].astype(dtype) for name, p in params.items()}
    plain = follow(kind(0.125, epsilon=1e-30), inner, many)
    for name in params:
        assert scaled[name].dtype == dtype
        np.testing.assert_allclose(scaled[name], scales[name] * plain[name], rtol=16 * np.finfo(dtype).eps)


@pytest.mark.parametrize("kind", [SGD, Adagrad, Adam, AdamW])
def test_a_scale_of_the_steps_multiplies_each_step(kind, problem):
    params, grads = problem
    scales = {"b": np.array([0.25, 4.0])}
    steps = []
    for optimizer in (kind(0.125), kind(0.125, step_scales=scales)):
        # W has no scale here, and b starts at 0 so that nothing decays in it.
        start = params | {"b": np.zeros(2)}
        steps.append(optimizer.update(start, grads, optimizer.init(start))[0])
    assert np.array_equal(steps[0]["W"], steps[1]["W"])
    np.testing.assert_allclose(steps[1]["b"], steps[0]["b"] * scales["b"], rtol=4 * EPS64)


def test_step_scales_keep_the_arrays_of_another_library_where_they_are(problem):
    params, grads = ({name: xp.asarray(value, device=DEVICE) for name, value in mapping.items()} for mapping in problem)
    optimizer = Adam(0.125, step_scales={"W": [[1.0], [2.0], [3.0]]})
    new, _ = optimizer.update(params, grads, optimizer.init(params))
    assert new["W"].device == DEVICE


def test_step_scales_are_in_the_config_to_six_digits():
    config = json.loads(json.dumps(Adam(0.1, step_scales={"V": np.geomspace(0.3, 30, 3)[:, None] / 3}).config()))
    assert config["step_scales"] == {"V": [[0.1], [1.0], [10.0]]}
    assert "step_scales" not in Adam(0.1).config()
    assert "step_scales=['V']" in repr(Adam(0.1, step_scales={"V": [1.0]}))


def test_a_step_scale_is_a_copy(problem):
    params, grads = problem
    scale = np.ones((3, 1))
    optimizer = SGD(0.5, step_scales={"W": scale})
    scale[...] = 7
    new, _ = optimizer.update(params, grads, optimizer.init(params))
    assert np.array_equal(new["W"], params["W"] - 0.5 * grads["W"])


@pytest.mark.parametrize(
    ("scales", "error", "message"),
    [
        ({"w": [1.0]}, ValueError, "step_scales must be of W, b, got w"),
        ({"W": [1.0, 0.0]}, ValueError, r"step_scales\['W'\] must be finite and > 0, got 0.0"),
        ({"W": [1.0, np.nan]}, ValueError, r"step_scales\['W'\] must be finite and > 0, got nan"),
        ({"W": ["a"]}, TypeError, r"step_scales\['W'\] must be an array of real numbers, got dtype"),
        ({"W": np.ones(3)}, ValueError, r"step_scales\['W'\] must broadcast to \(3, 2\), got shape \(3,\)"),
        ({"b": np.ones((1, 2))}, ValueError, r"step_scales\['b'\] must broadcast to \(2,\), got shape \(1, 2\)"),
    ],
)
def test_a_step_scale_that_fits_nothing_is_refused(scales, error, message, problem):
    with pytest.raises(error, match=message):
        SGD(0.1, step_scales=scales).init(problem[0])
