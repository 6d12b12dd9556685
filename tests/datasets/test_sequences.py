"""How images become sequences, and the copying and adding problems."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numrnn.datasets import (
    PixelEncoder,
    RowNoiseEncoder,
    adding,
    copying,
    fixed_noise,
    fixed_permutation,
    load_embedded_mnist,
    pixel_statistics,
    pixels,
    rows_with_noise,
)

GRAY = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)

# A value is divided, shifted and divided again: three roundings, each of relative size eps, on numbers up to about 4.
ROUNDING = 12 * np.finfo(np.float32).eps


def rng(seed=0):
    return np.random.default_rng(seed)


def refusal(kind, function, *arguments, **options) -> str:
    with pytest.raises(kind) as caught:
        function(*arguments, **options)
    return str(caught.value)


# --- pixels


def test_gray_images_are_shown_row_by_row():
    x = pixels(GRAY)
    assert x.shape == (784, 5, 1)
    for b, row, column in [(0, 0, 0), (1, 0, 27), (2, 1, 0), (4, 27, 27)]:
        assert x[28 * row + column, b, 0] == np.float32(GRAY[b, row, column]) / np.float32(255)


def test_a_step_shows_the_three_colours_of_one_pixel():
    # The planes are stored one after the other: a reshape to (1024, 3) would show three neighbours of one plane.
    x = pixels(COLOUR)
    assert x.shape == (1024, 4, 3)
    for b, row, column in [(0, 0, 0), (1, 0, 31), (2, 1, 0), (3, 17, 5), (0, 31, 31)]:
        expected = COLOUR[b, :, row, column].astype(np.float32) / 255
        assert np.array_equal(x[32 * row + column, b], expected), (b, row, column)


def test_a_red_image_is_red_at_every_step():
    red = np.zeros((1, 3, 32, 32), np.uint8)
    red[:, 0] = 255
    x = pixels(red)
    assert np.array_equal(x, np.broadcast_to(np.float32([1, 0, 0]), (1024, 1, 3)))


def test_images_of_one_channel_equal_images_without_channels():
    assert np.array_equal(pixels(GRAY[:, None]), pixels(GRAY))


@settings(max_examples=30, deadline=None)
@given(b=st.integers(1, 3), c=st.integers(1, 4), h=st.integers(1, 5), w=st.integers(1, 5), seed=st.integers(0, 99))
def test_every_value_of_every_image_size_appears_at_its_place(b, c, h, w, seed):
    images = rng(seed).integers(0, 256, (b, c, h, w), dtype=np.uint8)
    order = fixed_permutation(h * w, seed)
    x = pixels(images, permutation=order, dtype=np.float64)
    for t, place in enumerate(order):
        assert np.array_equal(x[t], images[:, :, place // w, place % w] / 255)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("images", [GRAY, COLOUR])
def test_pixels_are_contiguous_and_of_the_dtype_asked_for(images, dtype):
    height, width = images.shape[-2:]
    for permutation in (None, fixed_permutation(height * width, 0)):
        x = pixels(images, permutation=permutation, dtype=dtype)
        assert x.dtype == dtype
        assert x.flags.c_contiguous


def test_pixels_leave_the_images_as_they_were():
    images = GRAY.copy()
    pixels(images, mean=0.5, std=0.5)
    assert np.array_equal(images, GRAY)


def test_values_run_from_zero_to_one():
    x = pixels(np.array([[[0, 255]]], np.uint8))
    assert x.ravel().tolist() == [0.0, 1.0]


def test_one_mean_and_std_serve_every_channel():
    x = pixels(COLOUR, mean=0.25, std=0.5)
    assert np.allclose(x, (pixels(COLOUR) - 0.25) / 0.5, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("container", [list, tuple, np.array])
def test_each_channel_has_its_own_mean_and_std(container):
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    x = pixels(COLOUR, mean=container(mean), std=container(std))
    plain = pixels(COLOUR)
    for channel in range(3):
        expected = (plain[:, :, channel] - mean[channel]) / std[channel]
        assert np.allclose(x[:, :, channel], expected, rtol=0, atol=ROUNDING), channel


def test_step_t_shows_pixel_permutation_of_t():
    order = fixed_permutation(784, 3)
    assert np.array_equal(pixels(GRAY, permutation=order), pixels(GRAY)[order])


def test_one_permutation_serves_all_colours():
    order = fixed_permutation(1024, 3)
    assert np.array_equal(pixels(COLOUR, permutation=order), pixels(COLOUR)[order])


@pytest.mark.parametrize(
    ("images", "got"),
    [(GRAY.astype(np.float32), "dtype float32"), (GRAY.astype(np.int8), "dtype int8"), (GRAY.tolist(), "list")],
)
def test_images_that_are_no_uint8_array_are_refused(images, got):
    assert refusal(TypeError, pixels, images) == f"images must be a numpy.ndarray of dtype uint8, got {got}"


@pytest.mark.parametrize("shape", [(28,), (28, 28), (1, 1, 3, 32, 32), (0, 28, 28), (5, 28, 0)])
def test_images_of_another_rank_or_none_are_refused(shape):
    message = refusal(ValueError, pixels, np.zeros(shape, np.uint8))
    assert message == f"images must be (B, H, W) or (B, C, H, W) with all sizes >= 1, got {shape}"


@pytest.mark.parametrize("name", ["mean", "std"])
def test_another_number_of_means_than_channels_is_refused(name):
    message = refusal(ValueError, pixels, COLOUR, **{name: [0.5, 0.5]})
    assert message == f"{name} must be one number, or 3, one for each channel, got 2"


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf, [1.0, 0.0, 1.0]])
def test_a_std_that_is_not_positive_and_finite_is_refused(std):
    assert refusal(ValueError, pixels, COLOUR, std=std).startswith("std must be a finite number > 0, got ")


@pytest.mark.parametrize("mean", [math.nan, math.inf, [0.0, 0.0, math.nan]])
def test_a_mean_that_is_not_finite_is_refused(mean):
    assert refusal(ValueError, pixels, COLOUR, mean=mean).startswith("mean must be a finite number, got ")


@pytest.mark.parametrize("dtype", [np.int32, np.float16, np.complex128, "junk", None])
def test_another_dtype_is_refused(dtype):
    message = refusal(TypeError, pixels, GRAY, dtype=dtype)
    assert message == f"dtype must be float32 or float64, got {dtype!r}"


def test_a_permutation_of_another_length_is_refused():
    message = refusal(ValueError, pixels, GRAY, permutation=fixed_permutation(783, 0))
    assert message == "permutation must be (784,), got (783,)"


@pytest.mark.parametrize("change", [(0, 784), (0, -1), (0, 1)], ids=["too large", "negative", "twice"])
def test_an_order_that_is_no_permutation_is_refused(change):
    order = np.arange(784)
    order[change[0]] = change[1]
    message = refusal(ValueError, pixels, GRAY, permutation=order)
    assert message.startswith("permutation must hold each of 0 .. 783 once, got [")


@pytest.mark.parametrize(
    ("order", "got"),
    [(list(range(784)), "list"), (np.arange(784.0), "dtype float64"), (np.ones(784, bool), "dtype bool")],
)
def test_a_permutation_that_is_no_integer_array_is_refused(order, got):
    message = refusal(TypeError, pixels, GRAY, permutation=order)
    assert message == f"permutation must be a numpy.ndarray of integers, got {got}"


# --- fixed_permutation


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 2000), seed=st.integers(0, 2**64))
def test_a_fixed_permutation_holds_every_index_once(length, seed):
    assert np.array_equal(np.sort(fixed_permutation(length, seed)), np.arange(length))


def test_a_fixed_permutation_depends_on_its_seed_only():
    assert np.array_equal(fixed_permutation(784, 1), fixed_permutation(784, 1))
    assert not np.array_equal(fixed_permutation(784, 1), fixed_permutation(784, 2))


def test_the_permutation_of_seed_zero_stays_what_it_was():
    # Published results name only the seed: a NumPy that shuffles otherwise must not go unnoticed.
    assert fixed_permutation(784, 0)[:8].tolist() == [318, 2, 606, 446, 758, 13, 98, 539]
    assert fixed_permutation(784, 0).dtype == np.int64


@pytest.mark.parametrize(
    ("length", "seed", "message"),
    [
        (0, 0, "length must be an integer >= 1, got 0"),
        (784, -1, "seed must be an integer >= 0, got -1"),
    ],
)
def test_a_permutation_out_of_range_is_refused(length, seed, message):
    assert refusal(ValueError, fixed_permutation, length, seed) == message


def test_a_seed_of_none_is_refused():
    assert refusal(TypeError, fixed_permutation, 784, None) == "seed must be an integer >= 0, got None"


# --- rows_with_noise


def test_a_step_shows_one_row_of_all_three_colours():
    x = rows_with_noise(COLOUR, rng())
    assert x.shape == (1000, 4, 96)
    for b, row in [(0, 0), (1, 31), (3, 16)]:
        for channel in range(3):
            expected = COLOUR[b, channel, row].astype(np.float32) / 255
            assert np.array_equal(x[row, b, 32 * channel : 32 * channel + 32], expected), (b, row, channel)


def test_rows_have_the_mean_and_std_of_their_channel():
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    x = rows_with_noise(COLOUR, rng(), mean=mean, std=std)
    plain = rows_with_noise(COLOUR, rng())
    for channel in range(3):
        part = slice(32 * channel, 32 * channel + 32)
        expected = (plain[:32, :, part] - mean[channel]) / std[channel]
        assert np.allclose(x[:32, :, part], expected, rtol=0, atol=ROUNDING), channel


def test_noise_is_not_standardised():
    plain = rows_with_noise(COLOUR, rng())
    assert np.array_equal(rows_with_noise(COLOUR, rng(), mean=0.5, std=0.25)[32:], plain[32:])


def test_noise_is_standard_normal():
    noise = rows_with_noise(COLOUR, rng())[32:].astype(np.float64)
    error = 5 / math.sqrt(noise.size)  # five standard errors of the mean; the others follow from N(0, 1)
    assert abs(noise.mean()) < error
    assert abs(noise.std() - 1) < error / math.sqrt(2)
    assert abs((np.abs(noise) < 1).mean() - math.erf(1 / math.sqrt(2))) < error / 2


def test_independent_noise_differs_between_the_images_of_a_batch():
    noise = rows_with_noise(COLOUR, rng())[32:]
    correlation = np.corrcoef(noise.transpose(1, 0, 2).reshape(4, -1))
    assert np.abs(correlation - np.eye(4)).max() < 5 / math.sqrt(968 * 96)


def test_independent_noise_differs_between_calls_of_one_generator():
    generator = rng()
    first, second = rows_with_noise(COLOUR, generator), rows_with_noise(COLOUR, generator)
    assert not np.any(first[32:] == second[32:])
    assert np.array_equal(first[:32], second[:32])


def test_independent_noise_is_the_same_from_the_same_generator():
    assert np.array_equal(rows_with_noise(COLOUR, rng(7)), rows_with_noise(COLOUR, rng(7)))


def test_fixed_noise_follows_every_image():
    block = fixed_noise(968, 96, 0)
    x = rows_with_noise(COLOUR, block)
    assert np.array_equal(x[32:], np.broadcast_to(block[:, None], (968, 4, 96)))


def test_a_length_equal_to_the_height_has_no_noise():
    assert rows_with_noise(COLOUR, rng(), length=32).shape == (32, 4, 96)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_with_noise_are_contiguous_and_of_the_dtype_asked_for(dtype):
    for noise in (rng(), fixed_noise(8, 96, 0)):
        x = rows_with_noise(COLOUR, noise, length=40, dtype=dtype)
        assert x.dtype == dtype
        assert x.flags.c_contiguous


def test_a_length_shorter_than_the_image_is_refused():
    message = refusal(ValueError, rows_with_noise, COLOUR, rng(), length=31)
    assert message == "length must be an integer >= 32, got 31"


def test_fixed_noise_of_another_shape_is_refused():
    message = refusal(ValueError, rows_with_noise, COLOUR, fixed_noise(967, 96, 0))
    assert message == "noise must be (968, 96), got (967, 96)"


def test_fixed_noise_that_is_not_finite_is_refused():
    block = fixed_noise(968, 96, 0)
    block[3, 4] = math.nan
    assert refusal(ValueError, rows_with_noise, COLOUR, block) == "noise must be finite, got nan at index (3, 4)"


@pytest.mark.parametrize(("noise", "got"), [(0, "int"), (None, "NoneType"), ("independent", "str")])
def test_noise_that_is_neither_generator_nor_array_is_refused(noise, got):
    message = refusal(TypeError, rows_with_noise, COLOUR, noise)
    assert message == f"noise must be a numpy.random.Generator or a numpy.ndarray, got {got}"


def test_fixed_noise_depends_on_its_seed_only():
    assert np.array_equal(fixed_noise(5, 3, 1), fixed_noise(5, 3, 1))
    assert not np.any(fixed_noise(5, 3, 1) == fixed_noise(5, 3, 2))


# --- pixel_statistics


@pytest.mark.parametrize("images", [GRAY, COLOUR])
def test_statistics_are_those_of_the_scaled_values(images):
    mean, std = pixel_statistics(images)
    planes = np.moveaxis(images.reshape(len(images), -1, *images.shape[-2:]), 1, 0) / 255
    # Sums of n terms of one sign: a relative error of n eps at worst.
    bound = planes[0].size * np.finfo(float).eps
    assert np.allclose(mean, planes.mean(axis=(1, 2, 3)), rtol=bound, atol=0)
    assert np.allclose(std, planes.std(axis=(1, 2, 3)), rtol=bound, atol=0)


@pytest.mark.parametrize("images", [GRAY, COLOUR])
def test_images_standardised_by_their_statistics_have_mean_zero_and_std_one(images):
    mean, std = pixel_statistics(images)
    x = pixels(images, mean=mean, std=std, dtype=np.float64)
    bound = x[:, :, 0].size * np.finfo(float).eps
    assert np.abs(x.mean(axis=(0, 1))).max() < bound
    assert np.abs(x.std(axis=(0, 1)) - 1).max() < bound


def test_statistics_of_the_embedded_images_are_near_those_known_of_mnist():
    # 0.1307 and 0.3081 on all of MNIST; a random 5,000 of it scatter by about 0.04 / sqrt(5000) = 0.0006 in the mean.
    (mean,), (std,) = pixel_statistics(load_embedded_mnist().train_images)
    assert abs(mean - 0.1307) < 0.003
    assert abs(std - 0.3081) < 0.003


def test_a_channel_of_one_value_has_no_statistics():
    images = COLOUR.copy()
    images[:, 1] = 7
    message = refusal(ValueError, pixel_statistics, images)
    assert message == "images must vary in every channel, got the value 7 everywhere in channel 1"


# --- encoders

ENCODERS = [
    PixelEncoder(),
    PixelEncoder((28, 28), permutation_seed=4, mean=0.13, std=0.31, dtype="float64"),
    PixelEncoder((3, 32, 32), mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.3]),
    RowNoiseEncoder(length=50),
    RowNoiseEncoder((3, 32, 32), length=50, noise="fixed", noise_seed=9, mean=0.5, std=0.25, dtype="float64"),
]


def images_for(encoder):
    return GRAY if encoder.image_shape == (28, 28) else COLOUR


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: type(e).__name__)
def test_an_encoder_keeps_its_word_on_length_and_input_size(encoder):
    images = images_for(encoder)
    assert encoder(images, rng()).shape == (encoder.length, len(images), encoder.input_size)


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: type(e).__name__)
def test_an_encoder_is_made_again_from_its_config(encoder):
    config = json.loads(json.dumps(encoder.config()))
    assert config == encoder.config()
    again = type(encoder)(**{name: value for name, value in config.items() if name != "encoder"})
    assert again.config() == config
    assert config["encoder"] == type(encoder).__name__
    x, y = encoder(images_for(encoder), rng(5)), again(images_for(encoder), rng(5))
    assert x.dtype == y.dtype
    assert np.array_equal(x, y)


def test_a_config_of_numpy_numbers_is_still_json():
    encoder = PixelEncoder(
        np.zeros((28, 28)).shape, permutation_seed=np.int64(3), mean=np.float32(0.5), std=np.array([0.25])
    )
    assert json.loads(json.dumps(encoder.config()))["permutation_seed"] == 3


def test_the_pixel_encoder_equals_the_function():
    order = fixed_permutation(784, 4)
    expected = pixels(GRAY, permutation=order, mean=0.13, std=0.31, dtype=np.float64)
    assert np.array_equal(ENCODERS[1](GRAY), expected)


def test_the_row_encoder_draws_from_the_generator_of_the_call():
    expected = rows_with_noise(COLOUR, rng(3), length=50)
    assert np.array_equal(RowNoiseEncoder(length=50)(COLOUR, rng(3)), expected)


def test_the_row_encoder_is_independent_and_1000_steps_long_unless_told():
    encoder = RowNoiseEncoder()
    assert (encoder.noise, encoder.length, encoder.input_size) == ("independent", 1000, 96)


def test_the_fixed_row_encoder_shows_the_same_noise_at_every_call():
    encoder = RowNoiseEncoder(length=50, noise="fixed", noise_seed=2)
    expected = rows_with_noise(COLOUR, fixed_noise(18, 96, 2), length=50)
    assert np.array_equal(encoder(COLOUR, rng(1)), expected)
    assert np.array_equal(encoder(COLOUR[2:], rng(2)), expected[:, 2:])


def test_the_fixed_row_encoder_leaves_the_generator_alone():
    generator = rng()
    RowNoiseEncoder(length=50, noise="fixed")(COLOUR, generator)
    assert generator.bit_generator.state == rng().bit_generator.state


def test_independent_noise_without_a_generator_is_refused():
    message = refusal(TypeError, RowNoiseEncoder(), COLOUR)
    assert message == "rng must be a numpy.random.Generator, got NoneType"


def test_an_unknown_kind_of_noise_is_refused():
    message = refusal(ValueError, RowNoiseEncoder, noise="shared")
    assert message == "noise must be one of 'independent', 'fixed', got 'shared'"


@pytest.mark.parametrize("encoder", [PixelEncoder(), RowNoiseEncoder()], ids=lambda e: type(e).__name__)
def test_images_of_another_shape_than_the_encoder_has_are_refused(encoder):
    images = np.zeros((2, 20, 20), np.uint8)
    sizes = ", ".join(map(str, encoder.image_shape))
    assert refusal(ValueError, encoder, images, rng()) == f"images must be (B, {sizes}), got (2, 20, 20)"


@pytest.mark.parametrize("encoder", [PixelEncoder(), RowNoiseEncoder()], ids=lambda e: type(e).__name__)
def test_an_empty_batch_is_refused_by_an_encoder(encoder):
    images = np.zeros((0, *encoder.image_shape), np.uint8)
    message = refusal(ValueError, encoder, images, rng())
    assert message.endswith(f"with all sizes >= 1, got {images.shape}")


@pytest.mark.parametrize("kind", [PixelEncoder, RowNoiseEncoder])
@pytest.mark.parametrize("shape", [28, (28,), (1, 3, 32, 32)])
def test_an_image_shape_of_another_rank_is_refused(kind, shape):
    message = refusal(ValueError, kind, shape)
    assert message == f"image_shape must be (H, W) or (C, H, W), got {shape!r}"


@pytest.mark.parametrize("kind", [PixelEncoder, RowNoiseEncoder])
def test_an_image_shape_with_a_zero_is_refused(kind):
    message = refusal(ValueError, kind, (28, 0))
    assert message == "every size of image_shape must be an integer >= 1, got 0"


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (PixelEncoder, {"permutation_seed": -1}, "permutation_seed must be an integer >= 0, got -1"),
        (PixelEncoder, {"std": 0.0}, "std must be a finite number > 0, got 0.0"),
        (RowNoiseEncoder, {"length": 31}, "length must be an integer >= 32, got 31"),
        (RowNoiseEncoder, {"noise_seed": -1}, "noise_seed must be an integer >= 0, got -1"),
        (RowNoiseEncoder, {"std": -1.0}, "std must be a finite number > 0, got -1.0"),
    ],
)
def test_an_encoder_refuses_its_arguments_when_it_is_made(kind, options, message):
    assert refusal(ValueError, kind, **options) == message


# --- copying


def test_the_copying_problem_has_its_standard_form():
    delay, n_memory, n_symbols = 20, 10, 8
    x, targets = copying(rng(), 6, delay=delay, n_memory=n_memory, n_symbols=n_symbols)
    shown = x.argmax(axis=2)
    assert x.shape == (40, 6, 10)
    assert targets.shape == (40, 6)
    assert shown[:10].max() < 8
    assert np.all(shown[10:29] == 8)
    assert np.all(shown[29] == 9)
    assert np.all(shown[30:] == 8)
    assert np.all(targets[:30] == 8)
    assert np.array_equal(targets[30:], shown[:10])


def test_copying_inputs_are_one_hot():
    x, _ = copying(rng(), 6, delay=5)
    assert np.array_equal(np.sort(x, axis=2)[..., -1], np.ones(x.shape[:2]))
    assert np.array_equal(x.sum(axis=2), np.ones(x.shape[:2]))


def test_the_shortest_delay_asks_at_the_step_after_the_delimiter():
    x, targets = copying(rng(), 3, delay=1, n_memory=1, n_symbols=2)
    assert x.argmax(axis=2)[1:].tolist() == [[3] * 3, [2] * 3]
    assert np.array_equal(targets[2], x.argmax(axis=2)[0])


def test_copying_draws_every_symbol_equally_often():
    _, targets = copying(rng(), 4000, delay=1, n_memory=2, n_symbols=4)
    counts = np.bincount(targets[-2:].ravel())
    assert np.abs(counts - 2000).max() < 5 * math.sqrt(8000 * 0.25 * 0.75)


def test_copying_depends_on_the_generator_only():
    first, second, other = (copying(rng(seed), 4, delay=3) for seed in (1, 1, 2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[1], other[1])


def test_the_memoryless_loss_of_copying_is_that_of_its_docstring():
    delay, n_memory, n_symbols = 30, 5, 4
    _, targets = copying(rng(), 2, delay=delay, n_memory=n_memory, n_symbols=n_symbols)
    # What is known without memory: blank for sure before the recall, one of the symbols in it.
    probability = np.where(np.arange(len(targets)) < n_memory + delay, 1.0, 1 / n_symbols)
    assert np.all((targets == n_symbols) == (probability == 1)[:, None])
    loss = -np.log(probability).mean()
    assert loss == pytest.approx(n_memory * math.log(n_symbols) / (delay + 2 * n_memory), rel=1e-15 * len(targets))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_copying_gives_contiguous_inputs_of_the_dtype_asked_for_and_int64_targets(dtype):
    x, targets = copying(rng(), 2, delay=3, dtype=dtype)
    assert x.dtype == dtype
    assert targets.dtype == np.int64
    assert x.flags.c_contiguous
    assert targets.flags.c_contiguous


@pytest.mark.parametrize("name", ["batch_size", "delay", "n_memory", "n_symbols"])
def test_copying_refuses_a_size_of_zero(name):
    options = {"batch_size": 2, "delay": 3, name: 0}
    assert refusal(ValueError, copying, rng(), **options) == f"{name} must be an integer >= 1, got 0"


@pytest.mark.parametrize("task", [lambda g: copying(g, 2, delay=3), lambda g: adding(g, 2, length=4)])
def test_a_task_without_a_generator_is_refused(task):
    assert refusal(TypeError, task, 0) == "rng must be a numpy.random.Generator, got int"


# --- adding


def test_the_target_of_adding_is_the_sum_of_the_marked_numbers():
    x, targets = adding(rng(), 50, length=30, dtype=np.float64)
    assert x.shape == (30, 50, 2)
    assert targets.shape == (50, 1)
    # One rounding of a sum that here also runs over zeros.
    assert np.allclose(targets[:, 0], (x[:, :, 0] * x[:, :, 1]).sum(axis=0), rtol=0, atol=2 * np.finfo(float).eps)


@pytest.mark.parametrize("length", [2, 3, 30, 31])
def test_adding_marks_one_step_in_each_half(length):
    x, _ = adding(rng(), 200, length=length)
    markers = x[:, :, 1]
    assert set(np.unique(markers)) <= {0.0, 1.0}
    assert np.all(markers[: length // 2].sum(axis=0) == 1)
    assert np.all(markers[length // 2 :].sum(axis=0) == 1)


def test_adding_marks_every_step_of_a_half_equally_often():
    x, _ = adding(rng(), 8000, length=8)
    assert np.abs(x[:, :, 1].sum(axis=1) - 2000).max() < 5 * math.sqrt(8000 * 0.25 * 0.75)


def test_adding_draws_numbers_uniform_in_zero_to_one():
    numbers = adding(rng(), 1000, length=50, dtype=np.float64)[0][:, :, 0]
    assert numbers.min() >= 0
    assert numbers.max() < 1
    error = 5 / math.sqrt(numbers.size)
    assert abs(numbers.mean() - 1 / 2) < error * math.sqrt(1 / 12)
    assert abs((numbers < 0.25).mean() - 0.25) < error * math.sqrt(0.25 * 0.75)


def test_the_memoryless_loss_of_adding_is_that_of_its_docstring():
    _, targets = adding(rng(), 100_000, length=4, dtype=np.float64)
    squared = (targets - 1) ** 2
    assert abs(squared.mean() - 1 / 6) < 5 * squared.std() / math.sqrt(squared.size)


def test_adding_depends_on_the_generator_only():
    first, second, other = (adding(rng(seed), 4, length=9)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adding_gives_contiguous_arrays_of_the_dtype_asked_for(dtype):
    x, targets = adding(rng(), 2, length=5, dtype=dtype)
    assert x.dtype == targets.dtype == dtype
    assert x.flags.c_contiguous
    assert targets.flags.c_contiguous


@pytest.mark.parametrize(
    ("batch_size", "length", "message"),
    [(0, 5, "batch_size must be an integer >= 1, got 0"), (2, 1, "length must be an integer >= 2, got 1")],
)
def test_adding_refuses_sizes_out_of_range(batch_size, length, message):
    assert refusal(ValueError, adding, rng(), batch_size, length=length) == message
