"""The elementwise kernels of a training step: each says what the array code beside it says, here compiled for the CPU.

GPUs contract a multiplication and an addition into one rounding; this compiler is told not to, so that most numbers are
those of NumPy bit for bit.
"""

import math

import numpy as np
import pytest
import standin_cupy
from helpers import EPS64, worst
from scipy import stats
from standin_cupy import launches, waits

from numrnn import kernels
from numrnn.backend import to_numpy, trusted_values
from numrnn.datasets import PixelEncoder, RowNoiseEncoder
from numrnn.training import SGD, Adagrad, Adam, AdamW, accuracy, clip_by_global_norm, global_norm, softmax_cross_entropy
from numrnn.training.clipping import clip_on_device
from numrnn.training.dropout import drop_inputs
from numrnn.training.ledger import LOSS, NORM, Ledger

pytestmark = pytest.mark.skipif(standin_cupy.COMPILER is None, reason="needs g++ or clang++ on the path")
REALS = ["float32", "float64"]


@pytest.fixture
def cupy(monkeypatch):
    return standin_cupy.install(monkeypatch)


def eps(dtype):
    return float(np.finfo(dtype).eps)


def same(got, wanted):
    got = to_numpy(got)
    return got.dtype == wanted.dtype and np.array_equal(got, wanted)


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(0.1),
        SGD(0.1, momentum=0.9),
        SGD(0.1, momentum=0.9, nesterov=True),
        Adagrad(0.1),
        Adam(0.1, beta2=0.99),
        AdamW(0.1, weight_decay=0.5),
    ],
    ids=repr,
)
def test_an_optimiser_in_one_launch_does_what_its_array_code_does(cupy, optimizer, dtype, rng):
    params = {"W": rng.standard_normal((3, 5)).astype(dtype), "b": rng.standard_normal(4).astype(dtype)}
    moved = {name: cupy.asarray(p) for name, p in params.items()}
    state, moved_state = optimizer.init(params), optimizer.init(moved)
    for _ in range(4):
        grads = {name: rng.standard_normal(p.shape).astype(dtype) for name, p in params.items()}
        params, state = optimizer.update(params, grads, state)
        moved_grads = {name: cupy.asarray(g) for name, g in grads.items()}
        moved, moved_state = optimizer.update(moved, moved_grads, moved_state)
    assert not waits
    assert all(same(moved[name], params[name]) for name in params)
    assert all(same(moved_state[slot][name], state[slot][name]) for slot in optimizer.slots for name in params)


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_cross_entropy_in_one_launch_does_what_its_array_code_does(cupy, dtype, size, rng):
    z, y = (size * rng.standard_normal((17, 7))).astype(dtype), rng.integers(0, 7, 17)
    loss, d = softmax_cross_entropy(z, y)
    with trusted_values():
        loss_, d_ = softmax_cross_entropy(cupy.asarray(z), cupy.asarray(y))
    assert not waits
    assert (loss_.dtype, d_.dtype) == (dtype, dtype)
    assert abs(float(loss_) - float(loss)) < 20 * eps(dtype) * max(abs(float(loss)), size)
    assert worst(to_numpy(d_), d) < 20 * eps(dtype)


def test_cross_entropy_of_logits_that_are_no_numbers_is_none(cupy):
    z = np.array([[0.0, 1.0, np.nan], [0.0, 1.0, 2.0]])
    with trusted_values():
        loss, _ = softmax_cross_entropy(cupy.asarray(z), cupy.asarray(np.array([1, 2])))
    assert math.isnan(float(loss))


def test_labels_out_of_range_are_refused_unless_values_are_trusted(cupy):
    z, y = cupy.asarray(np.zeros((2, 3))), cupy.asarray(np.array([0, 3]))
    with pytest.raises(ValueError, match="labels must be from 0 to K - 1 = 2, got 3"):
        softmax_cross_entropy(z, y)


def test_of_equal_logits_the_first_counts(cupy, rng):
    z, y = rng.integers(0, 3, (200, 5)).astype(np.float32), rng.integers(0, 5, 200)
    assert accuracy(cupy.asarray(z), cupy.asarray(y)) == accuracy(z, y)


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("bound", [0.5, 1e3])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_clipping_without_a_wait_is_clipping(cupy, dtype, bound, size, rng):
    grads = {"W": size * rng.standard_normal((30, 40)), "b": size * rng.standard_normal(7)}
    grads = {name: g.astype(dtype) for name, g in grads.items()}
    wanted, norm = clip_by_global_norm(grads, bound)
    clipped, norm_ = clip_on_device({name: cupy.asarray(g) for name, g in grads.items()}, bound)
    assert not waits
    assert abs(float(norm_) - norm) < 100 * EPS64 * norm
    for name in grads:
        assert worst(to_numpy(clipped[name]), wanted[name]) < 2 * eps(dtype)


@pytest.mark.parametrize("bound", [0.5, 1e3])
def test_clipping_on_the_host_without_a_wait_gives_the_same_bits(bound, rng):
    grads = {"W": rng.standard_normal((30, 40)).astype(np.float32), "b": rng.standard_normal(7).astype(np.float32)}
    (wanted, norm), (got, norm_) = clip_by_global_norm(grads, bound), clip_on_device(grads, bound)
    assert norm == norm_
    assert all(same(got[name], wanted[name]) for name in grads)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", REALS)
def test_a_norm_that_is_none_scales_nothing(cupy, bad, dtype):
    grads = {"a": np.array([3.0, bad, 4.0], dtype), "b": np.zeros(2, dtype)}
    moved = {name: cupy.asarray(g) for name, g in grads.items()}
    clipped, norm = clip_on_device(moved, 0.1)
    assert np.array_equal(float(norm), bad, equal_nan=True)
    assert np.array_equal(to_numpy(clipped["a"]), grads["a"], equal_nan=True)
    assert np.array_equal(global_norm(moved), bad, equal_nan=True)


def test_clipping_takes_two_launches_a_gradient_and_two_more(cupy):
    """A launch costs the host about as long as a GPU takes for all the numbers of a gradient of this size."""
    clip_on_device({name: cupy.asarray(np.ones(3, np.float32)) for name in "abcd"}, 0.1)
    assert [name for name in launches if not name.endswith("_last")] == [
        *["numrnn_squares"] * 4,
        "numrnn_norm_4",
        "numrnn_factor",
        *["numrnn_scale"] * 4,
    ]


# ---------------------------------------------------------------- ledger

SHAPES = {"W": (3, 3), "V": (3, 2), "V_z": (3, 2), "b": (3,)}
QUANTITIES = [LOSS, NORM, *(f"parameter {n}" for n in SHAPES), *(f"optimizer {s}.{n}" for s in "mv" for n in SHAPES)]


def note(cupy, ledger, step, dtype, spoiled=None, bad=np.nan):
    """Note an update in which one quantity is not finite."""

    def array(quantity, shape, kind=dtype):
        values = np.ones(shape, kind)
        if quantity == spoiled:
            values.reshape(-1)[-1] = bad
        return cupy.asarray(values)

    loss, norm = array(LOSS, ()), array(NORM, (), np.float64)
    params = {name: array(f"parameter {name}", shape) for name, shape in SHAPES.items()}
    slots = {slot: {n: array(f"optimizer {slot}.{n}", shape) for n, shape in SHAPES.items()} for slot in "mv"}
    optimizer = {"step": step, **slots}
    ledger = ledger or Ledger(params, optimizer)
    ledger.note(step, 8, loss, cupy.asarray(np.array(5)), norm, params, optimizer)
    return ledger


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_what_first_was_not_finite_is_named_with_its_update(cupy, quantity, bad, dtype):
    ledger = note(cupy, None, 1, dtype)
    for step, spoiled in ((2, None), (3, quantity), (4, None), (5, LOSS)):
        note(cupy, ledger, step, dtype, spoiled, bad)
    assert not waits
    updates, failure = ledger.read()
    assert failure == (3, quantity)
    assert [(u.step, u.images, u.correct, u.loss, u.norm) for u in updates] == [
        (1, 8, 5, 1.0, 1.0),
        (2, 8, 5, 1.0, 1.0),
    ]


@pytest.mark.parametrize("library", ["cupy", "numpy"])
@pytest.mark.parametrize("quantity", ["parameter b", "optimizer m.V"])
def test_the_order_of_a_state_from_a_checkpoint_names_nothing_else(cupy, quantity, library):
    asarray = cupy.asarray if library == "cupy" else np.asarray

    def state(names, spoiled=None):
        def one(name):
            values = np.ones(SHAPES[name.split()[-1].split(".")[-1]])
            return asarray(values * np.nan if name == spoiled else values)

        params = {n: one(f"parameter {n}") for n in names}
        return params, {"step": 1, "m": {n: one(f"optimizer m.{n}") for n in names}}

    ledger = Ledger(*state(sorted(SHAPES)))
    one = asarray(np.array(1.0))
    ledger.note(1, 8, one, asarray(np.array(5)), one, *state(SHAPES, quantity))
    assert ledger.read()[1] == (1, quantity)


def test_a_note_takes_one_launch_for_all_arrays_of_a_shape_and_one_more(cupy):
    note(cupy, None, 1, "float32")
    assert sorted(launches) == ["numrnn_not_finite_3", "numrnn_not_finite_3", "numrnn_not_finite_6", "numrnn_record"]


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("seed", [None, 92], ids=["in order", "permuted"])
@pytest.mark.parametrize(
    ("shape", "mean", "std"), [((4, 3), 0.1307, 0.3081), ((3, 4, 5), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))]
)
def test_pixels_made_on_the_device_are_those_of_the_host(cupy, shape, mean, std, seed, dtype, rng):
    images = rng.integers(0, 256, (20, *shape), np.uint8)
    encoder = PixelEncoder(shape, permutation_seed=seed, mean=mean, std=std, dtype=dtype)
    make = encoder.on_device(images, cupy.asarray(np.zeros(1, dtype)))
    rows = np.array([3, 19, 0, 3, 7])
    assert same(make(cupy.asarray(rows), rng), encoder(images[rows]))


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("noise", ["fixed", "independent"])
@pytest.mark.parametrize(("shape", "mean", "std"), [((4, 3), 0.5, 0.2), ((3, 4, 5), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))])
def test_rows_made_on_the_device_are_those_of_the_host(cupy, shape, mean, std, noise, dtype, rng):
    images = rng.integers(0, 256, (20, *shape), np.uint8)
    encoder = RowNoiseEncoder(shape, length=9, noise=noise, mean=mean, std=std, dtype=dtype)
    make = encoder.on_device(images, cupy.asarray(np.zeros(1, dtype)))
    rows = np.array([3, 19, 0, 3, 7])
    got, wanted = make(cupy.asarray(rows), rng), encoder(images[rows], rng)
    known = 9 if noise == "fixed" else 4  # the steps that show the image
    assert got.shape == wanted.shape
    assert same(got[:known], wanted[:known])


def test_images_of_another_shape_are_not_put_on_the_device(cupy):
    with pytest.raises(ValueError, match=r"images must be \(B, 4, 3\), got \(2, 3, 4\)"):
        PixelEncoder((4, 3)).on_device(np.zeros((2, 3, 4), np.uint8), cupy.asarray(np.zeros(1)))


def noise_of(cupy, rng, dtype="float32", batch=64):
    encoder = RowNoiseEncoder((2, 3), length=200, dtype=dtype)
    make = encoder.on_device(np.zeros((batch, 2, 3), np.uint8), cupy.asarray(np.zeros(1, dtype)))
    return to_numpy(make(cupy.asarray(np.arange(batch)), rng))[2:]


@pytest.mark.parametrize("dtype", REALS)
def test_noise_of_the_device_is_normal_and_independent(cupy, dtype):
    noise = noise_of(cupy, np.random.default_rng(0), dtype)
    assert stats.kstest(noise.ravel(), "norm").pvalue > 0.01
    bound = 4 / math.sqrt(noise.size)  # four standard deviations of a correlation of independent numbers
    for shifted in (noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1], noise[..., 1:] * noise[..., :-1]):
        assert abs(shifted.mean()) < 2 * bound
    assert np.abs(noise).max() < 7


def test_noise_of_the_device_is_new_at_every_call_and_follows_the_generator(cupy):
    rng = np.random.default_rng(0)
    first, second = noise_of(cupy, rng), noise_of(cupy, rng)
    again = noise_of(cupy, np.random.default_rng(0))
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4 / math.sqrt(first.size)


@pytest.mark.parametrize("dtype", REALS)
def test_dropout_of_the_device_keeps_the_share_and_the_scale_of_the_host(cupy, dtype, rng):
    x = rng.standard_normal((50, 40, 3)).astype(dtype)
    dropped = to_numpy(drop_inputs(cupy.asarray(x), 0.25, np.random.default_rng(0)))
    kept = dropped != 0
    assert dropped.dtype == dtype
    np.testing.assert_allclose(dropped[kept], x[kept] / 0.75, rtol=4 * eps(dtype))
    assert stats.binomtest(int(kept.sum()), kept.size, 0.75).pvalue > 0.01
    again, other = (to_numpy(drop_inputs(cupy.asarray(x), 0.25, np.random.default_rng(seed))) for seed in (0, 1))
    assert np.array_equal(again, dropped)
    assert abs(np.corrcoef(kept.ravel(), (other != 0).ravel())[0, 1]) < 4 / math.sqrt(x.size)


def philox(counter, key):
    """Philox-4x32-10 in the words of the paper, on Python's integers."""
    for number in range(10):
        k = [(key[0] + number * 0x9E3779B9) % 2**32, (key[1] + number * 0xBB67AE85) % 2**32]
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [b >> 32 ^ counter[1] ^ k[0], b % 2**32, a >> 32 ^ counter[3] ^ k[1], a % 2**32]
    return counter


@pytest.mark.parametrize(
    ("counter", "key", "wanted"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_published_answers(counter, key, wanted):
    counter, key, wanted = ([int(word, 16) for word in words.split()] for words in (counter, key, wanted))
    assert philox(counter, key) == wanted


def test_the_kernels_philox_is_philox(cupy, rng):
    kernel = kernels.Kernel(
        name="philox_words",
        inputs="uint64 place, uint64 key",
        outputs="uint64 word",
        operation="unsigned u, v; numrnn_philox(place, key, &u, &v); word = u | (unsigned long long)v << 32;",
        preamble=kernels.PHILOX,
    )
    place, key = rng.integers(2**64, size=(2, 50), dtype=np.uint64)
    place[0] = key[0] = 0
    words = to_numpy(kernel(cupy.asarray(place), cupy.asarray(key), like=cupy.asarray(place)))
    for p, k, word in zip(place.tolist(), key.tolist(), words.tolist(), strict=True):
        first, second, *_ = philox([p % 2**32, p >> 32, 0, 0], [k % 2**32, k >> 32])
        assert word == first + (second << 32)
