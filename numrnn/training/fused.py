"""The kernels of a training step: loss, norm, optimisers, and the ledger's notes.

Each stands for array code that is named beside it; see `numrnn.kernels`.
"""

from __future__ import annotations

import functools

from numrnn.kernels import Kernel, Reduction

# losses.softmax_cross_entropy: one thread a row of logits z, (B, K).
CROSS_ENTROPY = Kernel(
    name="cross_entropy",
    inputs="int64 y, raw T z, int64 K, T batch",
    outputs="T loss, raw T d",
    operation="""
        const long long first = i * K;
        T peak = z[first];
        for (long long k = 1; k < K; ++k) {
            peak = z[first + k] > peak ? z[first + k] : peak;
        }
        T total = 0;
        for (long long k = 0; k < K; ++k) {
            total += exp(z[first + k] - peak);
        }
        loss = log(total) - (z[first + y] - peak);                            // (F18), this row's share
        for (long long k = 0; k < K; ++k) {
            d[first + k] = (exp(z[first + k] - peak) / total - T(k == y)) / batch;  // (B28)
        }
    """,
)

# losses.correct_rows: of equal logits the first counts.
CORRECT = Kernel(
    name="correct",
    inputs="int64 y, raw T z, int64 K",
    outputs="int64 correct",
    operation="""
        long long best = 0;
        for (long long k = 1; k < K; ++k) {
            best = z[i * K + k] > z[i * K + best] ? k : best;
        }
        correct = best == y;
    """,
)

# clipping.norm_on_device, for float32: no square of a float32 overflows or vanishes in float64.
SQUARES = Reduction(name="squares", inputs="T g", outputs="float64 total", term="double(g) * double(g)")


@functools.cache
def norm_of(count: int) -> Kernel:
    """Return the kernel that makes a norm of so many sums of squares, each of shape ()."""
    names = [f"s{k}" for k in range(count)]
    inputs, total = ", ".join(f"float64 {name}" for name in names), " + ".join(names)
    return Kernel(name=f"norm_{count}", inputs=inputs, outputs="float64 length", operation=f"length = sqrt({total});")


# clipping.clip_on_device: the factor of all gradients, and one of them times that.
FACTOR = Kernel(
    name="factor",
    inputs="float64 norm, float64 bound",
    outputs="float64 factor",
    operation="factor = isfinite(norm) && norm > bound ? bound / norm : 1.0;",
)
SCALE = Kernel(name="scale", inputs="T g, float64 factor", outputs="T scaled", operation="scaled = g * T(factor);")

_ADAM = "T rate, T beta1, T rest1, T beta2, T rest2, T scale, T epsilon"
_ADAMS_MEANS = """
            m = beta1 * m0 + rest1 * g;
            v = beta2 * v0 + rest2 * (g * g);"""
_ADAMS_STEP = "rate * (m / (sqrt(v) / scale + epsilon))"

# optim.SGD._one, Adagrad._one, Adam._one, AdamW._one: the scalars are those of `_constants`.
UPDATES = {
    "sgd": Kernel(
        name="sgd",
        inputs="T p, T g, T v0, T rate, T mu, T ahead",
        outputs="T q, T v",
        operation="""
            v = mu * v0 + g;
            q = p - rate * (ahead != T(0) ? g + mu * v : v);
        """,
    ),
    "adagrad": Kernel(
        name="adagrad",
        inputs="T p, T g, T s0, T rate, T epsilon",
        outputs="T q, T s",
        operation="""
            s = s0 + g * g;
            q = p - rate * g / (sqrt(s) + epsilon);
        """,
    ),
    "adam": Kernel(
        name="adam",
        inputs=f"T p, T g, T m0, T v0, {_ADAM}",
        outputs="T q, T m, T v",
        operation=f"""{_ADAMS_MEANS}
            q = p - {_ADAMS_STEP};
        """,
    ),
    "adamw": Kernel(
        name="adamw",
        inputs=f"T p, T g, T m0, T v0, T keep, {_ADAM}",
        outputs="T q, T m, T v",
        operation=f"""{_ADAMS_MEANS}
            q = keep * p - {_ADAMS_STEP};
        """,
    ),
}

# ledger.Ledger: the three numbers of an update, and whether two of them are finite.
RECORD = Kernel(
    name="record",
    inputs="T loss, int64 correct, float64 norm, float64 step, int64 row, int64 bad",
    outputs="raw float64 ledger",
    operation="""
        ledger[row] = loss;
        ledger[row + 1] = correct;
        ledger[row + 2] = norm;
        if (!isfinite(double(loss)) && step < ledger[bad]) ledger[bad] = step;
        if (!isfinite(norm) && step < ledger[bad + 1]) ledger[bad + 1] = step;
    """,
)


@functools.cache
def not_finite(count: int) -> Kernel:
    """Return the kernel that notes for so many arrays of one shape, each at its own place, that it is not finite.

    See `ledger.Ledger`; all threads that write into a place write the same number.
    """
    places = range(count)
    return Kernel(
        name=f"not_finite_{count}",
        inputs=", ".join([*(f"T a{k}" for k in places), "float64 step", *(f"int64 bad{k}" for k in places)]),
        outputs="raw float64 ledger",
        operation="".join(f"if (!isfinite(a{k}) && step < ledger[bad{k}]) ledger[bad{k}] = step;\n" for k in places),
    )
