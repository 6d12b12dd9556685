"""Sequences of one's own: what is taken, how it is padded, and what is refused in one line."""

import numpy as np
import pytest

from numrnn.datasets import Sequences


def draw(rng, lengths=(3, 5, 1, 4), m=2):
    return [rng.standard_normal((t, m)) for t in lengths]


def padded(rows, fill=0.0):
    out = np.full((len(rows), max(map(len, rows)), *rows[0].shape[1:]), fill)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


@pytest.mark.parametrize("kind", ["list", "padded"])
def test_a_batch_is_time_first_padded_to_its_longest_row_and_in_the_order_asked_for(kind, rng):
    rows = draw(rng)
    lengths = [len(row) for row in rows]
    data = Sequences(rows) if kind == "list" else Sequences(padded(rows, np.nan), lengths=lengths)
    batch = data.batch([3, 0, 0])
    assert batch.x.shape == (4, 3, 2)
    assert batch.lengths.tolist() == [4, 3, 3]
    for b, row in enumerate([3, 0, 0]):
        assert np.array_equal(batch.x[: lengths[row], b], rows[row])
        assert not batch.x[lengths[row] :, b].any()
    assert batch.y is batch.mask is None


DTYPES = (np.uint8, np.int8, np.int32, np.int64, np.uint64, np.float16, np.float32, np.float64)


@pytest.mark.parametrize("seed", range(20))
def test_rows_of_different_dtypes_keep_their_values_in_every_order(seed):
    rng = np.random.default_rng(seed)
    dtypes = rng.choice(DTYPES, 4)
    rows = [(100 * rng.random((t, 2))).astype(k) for t, k in zip((3, 5, 1, 4), dtypes, strict=True)]
    numbers = [(100 * rng.random((len(row), 2))).astype(rng.choice(DTYPES[-3:])) for row in rows]
    integers = rng.choice(DTYPES[:5], 4)
    labels = [rng.integers(np.iinfo(k).max, size=len(row), dtype=k) for row, k in zip(rows, integers, strict=True)]
    order = rng.permutation(4)
    for y in (numbers, labels):
        batch = Sequences(rows, y).batch(order)
        for b, row in enumerate(order):
            assert np.array_equal(batch.x[: len(rows[row]), b], rows[row])
            assert np.array_equal(batch.y[: len(rows[row]), b], y[row])
        assert batch.y.dtype.kind == "f" if y is numbers else batch.y.dtype.kind in "iu"


def test_rows_of_one_length_need_no_lengths(rng):
    data = Sequences(rng.standard_normal((6, 7, 1)))
    assert data.batch([1, 2]).lengths is None
    assert np.array_equal(data.batch([4]).x[:, 0], data.sequence(4))


def test_a_batch_of_short_rows_is_short(rng):
    data = Sequences(draw(rng), [0, 1, 0, 1])
    assert data.batch([0, 2]).x.shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("y", "kind", "n_outputs"),
    [
        ([0, 4, 1, 1], "label", 5),
        (np.ones((4, 3)), "numbers", 3),
        ([np.zeros(3)] * 4, "numbers", 3),
        ([np.array([0, 1, 2]), np.array([0] * 5), np.array([6]), np.array([0] * 4)], "labels at every step", 7),
        ([np.ones((t, 2)) for t in (3, 5, 1, 4)], "numbers at every step", 2),
    ],
)
def test_kinds_of_targets_of_a_list(y, kind, n_outputs, rng):
    data = Sequences(draw(rng), y)
    assert (data.targets, data.n_outputs) == (kind, n_outputs)
    batch = data.batch([1, 2])
    steps = (5,) if "every" in kind else ()
    assert batch.y.shape == (*steps, 2, *((n_outputs,) if kind.startswith("numbers") else ()))
    assert (batch.mask is None) == (not steps)
    if steps:
        assert batch.mask.sum(0).tolist() == [5, 1]


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (np.arange(24).reshape(4, 6), "labels at every step"),
        (np.ones((4, 6, 2)), "numbers at every step"),
        (np.ones((4, 6)), "numbers"),
        (np.arange(4), "label"),
    ],
)
def test_kinds_of_targets_of_one_array(y, kind):
    data = Sequences(np.ones((4, 6, 3)), y, lengths=[6, 2, 3, 1])
    assert data.targets == kind
    batch = data.batch([3, 1])
    if "every" in kind:
        assert batch.y.shape[:2] == (2, 2)
        assert not batch.y[1:, 0].any()  # behind its length
        assert np.array_equal(batch.y[:2, 1], y[1, :2])


def test_a_mask_takes_steps_out_and_never_reaches_behind_a_length(rng):
    mask = np.ones((4, 6), bool)
    mask[1, 0] = False
    data = Sequences(np.ones((4, 6, 1)), np.zeros((4, 6), int), lengths=[6, 2, 3, 1], mask=mask)
    assert data.batch([0, 1]).mask.sum(0).tolist() == [6, 1]


def test_a_memory_map_is_read_and_checked_batch_by_batch(tmp_path, rng):
    x = rng.standard_normal((50, 6, 2)).astype(np.float32)
    x[7, 3, 1] = np.nan
    np.save(tmp_path / "x.npy", x)
    data = Sequences(np.load(tmp_path / "x.npy", mmap_mode="r"), np.arange(50))
    order = rng.permutation(50)[:9]
    order = order[order != 7]
    assert np.array_equal(data.batch(order).x, x[order].swapaxes(0, 1))
    assert data.batch(order).y.tolist() == order.tolist()
    with pytest.raises(ValueError, match=r"x must be finite, got nan at sequence 7, step 3, feature 1"):
        data.batch([3, 7])


def test_npz_files(tmp_path, rng):
    rows = draw(rng)
    np.savez(tmp_path / "list.npz", y=[0, 1, 1, 0], **{f"x_{i}": row for i, row in enumerate(rows)})
    np.savez(tmp_path / "one.npz", x=padded(rows), y=[0, 1, 1, 0], lengths=[len(row) for row in rows])
    labels = {f"y_{i}": np.arange(len(row)) for i, row in enumerate(rows)}
    np.savez(tmp_path / "steps.npz", **{f"x_{i}": row for i, row in enumerate(rows)}, **labels)
    for name in ("list", "one", "steps"):
        data = Sequences.from_npz(tmp_path / f"{name}.npz")
        for i, row in enumerate(rows):
            assert np.array_equal(data.sequence(i), row)
    assert data.targets == "labels at every step"
    many = {f"x_{i}": np.full((1, 1), float(i)) for i in range(12)}  # x_10 comes after x_9, not after x_1
    np.savez(tmp_path / "many.npz", **many)
    assert [float(Sequences.from_npz(tmp_path / "many.npz").sequence(i)[0, 0]) for i in range(12)] == list(range(12))


def test_files_that_are_none_of_these(tmp_path, rng):
    def refused(match, error=ValueError, **arrays):
        np.savez(tmp_path / "bad.npz", **arrays)
        with pytest.raises(error, match=match):
            Sequences.from_npz(tmp_path / "bad.npz")

    refused("the key x, or x_0, x_1, ..., is missing", y=[1])
    refused("keys must be x or .*; got labels", x=np.ones((2, 3, 1)), labels=[0, 1])
    refused("x must be one key or x_0 to x_N without a gap", x_0=np.ones((3, 1)), x_2=np.ones((3, 1)))
    refused("x must be an array of numbers", TypeError, x=np.array([np.ones((2, 1)), np.ones((3, 1))], object))
    refused(r"bad.npz: x must be \(N, T, m\)", x=np.ones((2, 3)))
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match="must be a file that numpy.savez wrote"):
        Sequences.from_npz(tmp_path / "text.npz")
    np.save(tmp_path / "single.npy", np.ones((2, 3, 1)))
    with pytest.raises(ValueError, match="must be an .npz file"):
        Sequences.from_npz(tmp_path / "single.npy")
    with pytest.raises(FileNotFoundError):
        Sequences.from_npz(tmp_path / "nowhere.npz")


X = np.ones((3, 4, 2))
LIST = [np.ones((2, 2)), np.ones((3, 2))]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        ((np.ones((3, 4)),), {}, ValueError, r"x must be \(N, T, m\).*got \(3, 4\); give x\[:, :, None\]"),
        ((np.ones((3, 0, 2)),), {}, ValueError, "N, T, m >= 1"),
        ((np.array([np.ones((2, 1)), np.ones((3, 1))], object),), {}, TypeError, "got an array of dtype object"),
        ((X + 0j,), {}, TypeError, "real numbers, got dtype complex128"),
        (("abc",), {}, TypeError, "got str"),
        (([],), {}, ValueError, "empty list"),
        (([np.ones(3)],), {}, ValueError, r"x\[0\] must be .*give x\[0\]\[:, None\]"),
        (([np.ones((3, 2)), np.ones((3, 1))],), {}, ValueError, r"x\[1\] must be \(T_i, m=2\).*got \(3, 1\)"),
        ((np.where(X > 0, np.inf, X),), {}, ValueError, "got inf at sequence 0, step 0, feature 0"),
        ((X,), {"lengths": [1, 2]}, ValueError, r"lengths must be \(N=3,\)"),
        ((X,), {"lengths": [1, 5, 2]}, ValueError, "from 1 to T=4, got 5 for sequence 1"),
        ((X,), {"lengths": [1.0, 2.0, 3.0]}, TypeError, "lengths must be integers"),
        ((LIST,), {"lengths": [1, 2]}, ValueError, "each array has its own"),
        ((X, [0, 1]), {}, ValueError, "a target for each of the 3 sequences"),
        ((X, [0, -1, 1]), {}, ValueError, "labels >= 0, got -1"),
        ((X, [0.0, 1.0, 2.0]), {}, TypeError, r"must be integer labels.*y\[:, None\]"),
        ((X, np.full((3, 2), np.nan)), {}, ValueError, "y must be finite"),
        ((X, np.ones((3, 3), int)), {}, ValueError, "y must be labels"),
        ((X, np.ones((3, 5, 2))), {}, ValueError, "y must be labels"),
        (
            (LIST, [np.zeros(2, int), np.zeros(2, int)]),
            {},
            ValueError,
            r"y\[1\] must be integer labels of shape \(3,\)",
        ),
        ((X, [0, 1, 2]), {"mask": np.ones((3, 4), bool)}, ValueError, "only for targets at every step"),
        ((X, np.zeros((3, 4), int)), {"mask": np.ones((3, 4))}, TypeError, "True and False"),
        ((X, np.zeros((3, 4), int)), {"mask": np.ones((3, 3), bool)}, ValueError, r"mask must be \(N=3, T=4\)"),
        ((X, np.zeros((3, 4), int)), {"mask": np.zeros((3, 4), bool)}, ValueError, r"mask\[0\] must have a True"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(arguments, options, error, match):
    with pytest.raises(error, match=match):
        Sequences(*arguments, **options)


def test_the_digest_knows_the_content_and_not_the_padding(rng):
    rows = draw(rng)
    lengths = [len(row) for row in rows]
    y = [0, 1, 2, 0]
    plain = Sequences(rows, y).digest()
    assert Sequences(padded(rows, 9.0), y, lengths=lengths).digest() == plain
    changed = [row.copy() for row in rows]
    changed[2][0, 1] += 1
    assert len({plain, Sequences(changed, y).digest(), Sequences(rows, y[::-1]).digest()}) >= 2
    assert Sequences(changed, y).digest() != plain
    assert Sequences(rows, [1, 1, 2, 0]).digest() != plain
