"""Unlike scales, single precision inside, extreme norms, and tolerances: right gradients pass, wrong ones fail."""

import numpy as np
import pytest

from gradcheck import adjoint_test, assert_gradient, check_gradient, check_linearity
from gradcheck.directions import dot, norm, rms

SEEDS = range(8)
EXTREMES = (1e-290, 1e-155, 1e-100, 1.0, 1e100, 1e155, 1e200)


def unlike(seed, decades=12):
    """Return sizes over `decades` decades, and numbers of those sizes, away from 0."""
    rng = np.random.default_rng(seed)
    s = 10.0 ** rng.uniform(-decades / 2, decades / 2, rng.integers(2, 8))
    s[:2] = 10.0 ** (decades / 2), 10.0 ** (-decades / 2)
    return s, s * rng.uniform(0.6, 1.5, s.size) * rng.choice([-1, 1], s.size)


# loss and slope of one element u = p / s
SHAPES = {
    "tanh": (lambda u: np.tanh(np.abs(u)), lambda u: np.sign(u) / np.cosh(u) ** 2),
    "power": (lambda u: np.abs(u) ** 1.5, lambda u: 1.5 * np.sign(u) * np.abs(u) ** 0.5),
    "root": (lambda u: np.sqrt(np.abs(u)), lambda u: 0.5 * np.sign(u) * np.abs(u) ** -0.5),
    "analytic": (np.sin, np.cos),
}


@pytest.mark.parametrize("method", ["auto", "elements", "richardson"])
@pytest.mark.parametrize("decades", [3, 6, 10, 12])
@pytest.mark.parametrize("shape", SHAPES)
def test_elements_of_unlike_size_in_one_array(shape, decades, method):
    f, slope = SHAPES[shape]
    for seed in SEEDS:
        s, p = unlike(seed, decades)
        right = slope(p / s) / s
        found = check_gradient(lambda q, s=s: np.sum(f(q / s)), right, p, seed=seed, method=method)
        assert found.passed, f"{seed}: {found}"
        for index in (0, 1):
            wrong = right.copy()
            wrong[index] *= 1.01 if method == "elements" else 2
            found = check_gradient(lambda q, s=s: np.sum(f(q / s)), wrong, p, seed=seed, method=method)
            assert found.failed, f"{seed}, element {index}: {found}"


@pytest.mark.parametrize("method", ["auto", "elements", "richardson", "central"])
def test_loss_that_computes_in_single_precision_inside_accuses_no_right_gradient(method):
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        x, scale = rng.normal(size=rng.integers(1, 8)), 10.0 ** rng.integers(-4, 5)

        def loss(p, scale=scale):
            return float(scale * np.sum(np.sin(p.astype(np.float32))))

        right = check_gradient(loss, scale * np.cos(x), x, seed=seed, method=method)
        assert not right.failed, f"{seed}: {right}"
        wrong = check_gradient(loss, -scale * np.cos(x), x, seed=seed, method=method)
        assert wrong.failed, f"{seed}: {wrong}"


def test_loss_in_single_precision_that_says_so_passes_and_fails():
    for seed in SEEDS:
        x = np.random.default_rng(seed).normal(size=5)

        def loss(p):
            return np.sum(np.sin(p.astype(np.complex64 if p.dtype.kind == "c" else np.float32)))

        assert check_gradient(loss, np.cos(x), x, seed=seed).passed
        assert check_gradient(loss, 1.01 * np.cos(x), x, seed=seed).failed


@pytest.mark.parametrize("size", EXTREMES)
def test_norms_and_products_neither_over_nor_underflow(size):
    for seed in SEEDS:
        a = np.random.default_rng(seed).normal(size=7)
        b = np.random.default_rng(seed + 100).normal(size=7)
        assert norm(size * a) == pytest.approx(size * np.linalg.norm(a), rel=1e-14)
        assert rms(size * a) == pytest.approx(size * np.linalg.norm(a) / np.sqrt(7), rel=1e-14)
        assert dot(size * a, b) == pytest.approx(size * float(a @ b), rel=1e-13)
        assert dot(size * a, b / size) == pytest.approx(float(a @ b), rel=1e-13)


@pytest.mark.parametrize("size", EXTREMES)
def test_operators_of_every_size(size):
    for seed in SEEDS:
        x = np.random.default_rng(seed).normal(size=4)
        right = adjoint_test(lambda x, v: size * v, lambda x, w: size * w, x, seed=seed)
        assert right.passed, str(right)
        for factor in (0, -1, 2, 1.001):
            wrong = adjoint_test(lambda x, v: size * v, lambda x, w, c=factor: size * c * w, x, seed=seed)
            assert wrong.failed, str(wrong)
        assert check_linearity(lambda x, w: size * w, x, x, seed=seed).passed
        assert check_linearity(lambda x, w: size * w + size, x, x, seed=seed).failed
        assert check_linearity(lambda x, w: size * w * np.abs(w), x, x, seed=seed).failed


@pytest.mark.parametrize("method", ["auto", "elements", "richardson"])
@pytest.mark.parametrize("size", EXTREMES)
def test_losses_of_every_size(size, method):
    for seed in SEEDS:
        x = np.random.default_rng(seed).normal(size=4)
        right = check_gradient(lambda p: size * np.sum(np.sin(p)), size * np.cos(x), x, seed=seed, method=method)
        assert right.passed, str(right)
        wrong = check_gradient(lambda p: size * np.sum(np.sin(p)), size * 1.001 * np.cos(x), x, seed=seed)
        assert wrong.failed, str(wrong)


@pytest.mark.parametrize("size", [1e-290, 1e-200, 1e-155, 1e-100, 1e-8, 1e8, 1e100, 1e155, 1e200])
def test_parameters_of_every_size(size):
    for seed in SEEDS:
        x = size * np.random.default_rng(seed).normal(size=4)
        right = check_gradient(lambda p: np.sum(np.sin(p / size)), np.cos(x / size) / size, x, seed=seed)
        assert right.passed, str(right)
        wrong = check_gradient(lambda p: np.sum(np.sin(p / size)), 1.001 * np.cos(x / size) / size, x, seed=seed)
        assert wrong.failed, str(wrong)


@pytest.mark.parametrize("method", ["auto", "elements", "richardson", "central"])
@pytest.mark.parametrize("rtol", [1e-9, 1e-6, 1.1e-5, 1e-4, 1e-3, 1e-2, 0.1])
def test_looser_tolerance_makes_no_pass_a_doubt(rtol, method):
    for seed in SEEDS:
        x = np.random.default_rng(seed).normal(size=5)
        if method != "central" or rtol > 1e-7:
            assert_gradient(lambda p: np.sum(np.sin(p)), np.cos(x), x, seed=seed, rtol=rtol, method=method)
        wrong = check_gradient(
            lambda p: np.sum(np.sin(p)), (1 + 100 * rtol) * np.cos(x), x, seed=seed, rtol=rtol, method=method
        )
        # real differences cannot show that no kink explains a difference of 1e-7
        coarse = method in ("richardson", "central") and rtol < 1e-7
        assert wrong.inconclusive if coarse else wrong.failed, str(wrong)
