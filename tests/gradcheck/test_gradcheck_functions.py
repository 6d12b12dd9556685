"""Functions with several arguments, pairs of other libraries, and losses of a batch, each in one line."""

import numpy as np
import pytest

from gradcheck import check_batched_gradient, check_function, pair

SEEDS = range(10)


def matrices(seed):
    draw = np.random.default_rng(seed)
    n, k, m = draw.integers(1, 5, 3)
    return draw.normal(size=(n, k)), draw.normal(size=(k, m))


def product(a, b, w):
    return w @ b.T, a.T @ w


WRONG_PRODUCTS = {
    "first sign": lambda a, b, w: (-w @ b.T, a.T @ w),
    "second factor": lambda a, b, w: (w @ b.T, 1.01 * a.T @ w),
    "cotangent ignored": lambda a, b, w: (np.ones_like(w) @ b.T, a.T @ w),
    "constant added": lambda a, b, w: (w @ b.T, a.T @ w + 1),
    "cotangent clipped": lambda a, b, w: (np.clip(w, -0.1, 0.1) @ b.T, a.T @ w),
}


def test_right_reverse_pass_of_several_arguments_passes():
    for seed in SEEDS:
        report = check_function(np.matmul, product, *matrices(seed), seed=seed)
        assert report.passed, str(report)
        assert report.title == "check_function"


@pytest.mark.parametrize("mistake", WRONG_PRODUCTS)
def test_wrong_reverse_pass_fails(mistake):
    for seed in SEEDS:
        report = check_function(np.matmul, WRONG_PRODUCTS[mistake], *matrices(seed), seed=seed)
        assert report.failed, f"{seed}: {report}"


@pytest.mark.parametrize("factor", [1, 1.01, -1])
def test_several_outputs_take_a_structure_of_cotangents(factor):
    def function(x, y):
        return {"sum": np.sin(x) + y, "parts": (x * y, np.sum(x, axis=0))}

    def vjp(x, y, w):
        first, last = w["parts"]
        return np.cos(x) * w["sum"] + y * first + factor * last, w["sum"] + x * first

    for seed in SEEDS:
        x, y = np.random.default_rng(seed).normal(size=(2, 3, 2))
        report = check_function(function, vjp, x, y, seed=seed)
        assert report.passed if factor == 1 else report.failed, str(report)


def test_arguments_without_derivative_are_handed_on():
    def take(x, index, axis, scale):
        return scale * np.take(x, index, axis)

    def vjp(x, index, axis, scale, w):
        dx = np.zeros_like(x)
        np.add.at(dx, (slice(None),) * axis + (index,), scale * w)
        return dx, None, None, np.sum(w * np.take(x, index, axis))

    for seed in SEEDS:
        draw = np.random.default_rng(seed)
        x, index = draw.normal(size=(4, 5)), draw.integers(0, 4, 6)
        assert check_function(take, vjp, x, index, int(draw.integers(2)), 1.5, seed=seed).passed

    def overwrites(x, index, axis, scale, w):
        dx = np.zeros_like(x)
        dx[index] = scale * w  # repeated indices must add up
        return dx, None, None, np.sum(w * np.take(x, index, axis))

    assert check_function(take, overwrites, np.ones((4, 5)), np.array([0, 0, 1]), 0, 1.5).failed


def test_options_reach_the_check():
    x = np.array([0.5, 0.0, -1.0])

    def vjp(x, w):
        return w * (x > 0)

    assert check_function(lambda x: np.maximum(x, 0), vjp, x).inconclusive
    assert check_function(lambda x: np.maximum(x, 0), vjp, x, subgradient=True).passed


class Affine:
    """In the style of torch.autograd.Function."""

    @staticmethod
    def forward(ctx, x, w, b):
        ctx.save_for_backward(x, w)
        ctx.shape = b.shape
        return x @ w + b

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        assert ctx.needs_input_grad == (True, True, True)
        return g @ w.T, x.T @ g, g.sum(0)


class Apart:
    """The same with the context set up apart."""

    @staticmethod
    def forward(x, w, b):
        return x @ w + b

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])

    backward = staticmethod(lambda ctx, g: Affine.backward(ctx, g))


class Forgotten(Affine):
    """Its bias gets the mean instead of the sum."""

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w.T, x.T @ g, g.mean(0)


@pytest.mark.parametrize("cls", [Affine, Apart, Forgotten])
def test_class_with_forward_and_backward(cls):
    for seed in SEEDS:
        draw = np.random.default_rng(seed)
        report = check_function(*pair(cls), draw.normal(size=(4, 3)), draw.normal(size=(3, 2)), draw.normal(size=2))
        if cls is Forgotten:
            assert {e.parameter for e in report.entries if e.verdict == "failed"} == {"b"}, str(report)
        else:
            assert report.passed, str(report)


@pytest.mark.parametrize("factor", [1, 1.01])
def test_forward_and_backward_rules(factor):
    def forward(power, x, y):
        return x**power * y, (x, y)

    def backward(power, residuals, w):
        x, y = residuals
        return factor * power * x ** (power - 1) * y * w, x**power * w

    for seed in SEEDS:
        x, y = np.random.default_rng(seed).uniform(0.5, 2, (2, 4))
        report = check_function(*pair(forward, backward, constants=[0]), 3, x, y, seed=seed)
        assert report.passed if factor == 1 else report.failed, str(report)


@pytest.mark.parametrize("given", [(3,), (Affine, 3), (object,), (lambda x: (x, x),)])
def test_what_is_no_pair_is_refused(given):
    with pytest.raises(TypeError, match="forward must be a class with forward and backward, or come with backward"):
        pair(*given)


def losses(p):
    return np.sum(np.sin(p["x"]) * p["w"], axis=1)


def rows(p):
    """Return one gradient a row for x, and all gradients of w: (B, n)."""
    return {"x": np.cos(p["x"]) * p["w"], "w": np.sin(p["x"])}


@pytest.mark.parametrize("given_as", ["function", "arrays"])
def test_batch_of_losses(given_as):
    for seed in SEEDS:
        draw = np.random.default_rng(seed)
        p = {"x": draw.normal(size=(5, 3)), "w": draw.normal(size=3)}
        report = check_batched_gradient(losses, rows if given_as == "function" else rows(p), p, seed=seed)
        assert report.passed, str(report)
        wrong = rows(p)
        wrong["x"][seed % 5] *= 1.01
        report = check_batched_gradient(losses, wrong, p, seed=seed)
        assert (report["x"].verdict, report["w"].verdict) == ("failed", "passed"), str(report)
        wrong = rows(p)
        wrong["w"] = np.roll(wrong["w"], 1, axis=0)  # the gradients of other rows
        assert check_batched_gradient(losses, wrong, p, seed=seed)["w"].verdict == "failed"


def test_row_that_takes_part_in_the_loss_of_another_is_found():
    for seed in SEEDS:
        x = np.random.default_rng(seed).normal(size=(4, 3))
        report = check_batched_gradient(lambda p: np.sum(p * np.roll(p, 1, axis=0), axis=1), np.roll(x, 1, axis=0), x)
        assert report.failed, str(report)


def test_losses_that_are_no_batch_are_refused():
    x = np.ones((3, 2))
    with pytest.raises(ValueError, match=r"losses must return one array of shape \(B,\), got params of shape \(3, 2\)"):
        check_batched_gradient(np.sin, np.cos(x), x)
    with pytest.raises(ValueError, match=r"gradient of params must hold one gradient for each of 3 losses"):
        check_batched_gradient(lambda p: p.sum(1), np.ones((2, 2)), x)


def test_batched_gradients_with_names_that_no_parameter_has_are_refused():
    x = np.random.default_rng(11).normal(size=(3, 2))
    with pytest.raises(ValueError, match=r"^gradient has unexpected y; the parameters are x$"):
        check_batched_gradient(lambda p: np.sum(p["x"] ** 2, axis=1), {"x": 2 * x, "y": x}, {"x": x})
