"""Matrix products in blocks and tiles are those of one product."""

import numpy as np
import pytest

from numrnn.engines.cpu import products
from numrnn.engines.cpu.products import TILED_SIZE, TILES, UNPACKED_SIZE, multiply_transposed


def test_a_product_in_tiles_is_the_product_but_for_the_order_of_its_sums(rng, monkeypatch):
    tiled = []
    monkeypatch.setattr(products, "unpacked_kernels", lambda: True)
    matmul = np.matmul
    monkeypatch.setattr(np, "matmul", lambda *args, **kwargs: (tiled.append(args), matmul(*args, **kwargs))[1])
    for _ in range(60):
        dtype = rng.choice([np.float32, np.float64])
        rows = int(rng.integers(1, 700))
        n, m = (int(rng.choice([1, 2, 31, 32, 64, 96, 100, 128, 160])) for _ in range(2))
        left, right = (rng.standard_normal((rows, k)).astype(dtype) for k in (n, m))
        out = np.full((n, m), np.nan, dtype)
        multiply_transposed(left, right, out)
        wanted = left.T.astype(np.float64) @ right.astype(np.float64)
        bound = rows * np.finfo(dtype).eps * (np.abs(left).T.astype(np.float64) @ np.abs(right))
        assert np.all(np.abs(out - wanted) <= bound), (dtype, rows, n, m)
    assert len(tiled) > 5


@pytest.mark.parametrize(
    ("rows", "n", "m", "unpacked", "tiles"),
    [
        (512, 128, 128, True, (4, 4, 32, 32)),
        (256, 256, 256, True, (8, 8, 32, 32)),
        (TILED_SIZE, 64, 64, True, (2, 2, 32, 32)),
        (1024, 64, 64, True, (2, 4, 32, 16)),  # a tile of (32, 32) would be packed
        (512, 128, 80, True, (4, 5, 32, 16)),
        (TILED_SIZE - 1, 64, 64, True, None),  # a short sum
        (512, 32, 32, True, None),  # a small matrix
        (512, 128, 2, True, None),  # [dV | db]
        (512, 100, 128, True, None),  # tiles do not fit
        (UNPACKED_SIZE // (32 * 16) + 1, 128, 128, True, None),  # every tile would be packed
        (512, 128, 128, False, None),  # a BLAS that packs always
    ],
)
def test_tiles_are_used_where_they_are_faster(rows, n, m, unpacked, tiles, rng, monkeypatch):
    shapes = []
    matmul = np.matmul
    monkeypatch.setattr(products, "unpacked_kernels", lambda: unpacked)
    monkeypatch.setattr(np, "matmul", lambda a, b, out: (shapes.append(out.shape), matmul(a, b, out=out))[1])
    out = np.empty((n, m), np.float32)
    multiply_transposed(np.ones((rows, n), np.float32), np.ones((rows, m), np.float32), out)
    assert shapes == ([] if tiles is None else [tiles])
    assert tiles is None or tiles[2:] in TILES
    assert np.all(out == rows)
