// C = A B, the products of a step of a traced cell: matrices of any size and any strides. In place of cuBLAS, which CuPy
// refuses while a stream is captured (capture.py). product.py chooses the tile.
//
// A block computes ROWS x COLUMNS elements of C. It brings DEPTH columns of A and rows of B at a time into shared memory;
// while it computes with them, it loads the next ones into registers. A thread has 4 x 4 sums. A tile smaller than
// 64 x 64 has fewer of them than the block's threads can hold, so the threads divide the sum over k too: slice s takes
// k = s, s + SLICES, ... The partial sums of the slices are added in shared memory in the order of s. So two runs give
// the same bits, and a sum of K products is one of K / SLICES in each slice and one over the slices.
//
// What reads C can be computed here too, before C is written anywhere (epilogue.py). If it reads several columns of C at
// once, as the four gates of a unit, the columns of the tile are PARTS times UNITS: of each gate those of the same units.
// The sums of an element are the same, in the same order.

constexpr int THREADS = 256;  // of a block
constexpr int SIDE = 4;       // a thread has SIDE x SIDE sums

// A matrix: A, whose width are its rows, or B, whose width are its columns. Strides are in elements.
template <typename T>
struct Operand {
    const T* first;
    long long width_stride, depth_stride;
};

// An operand's part of a tile, DEPTH x WIDTH. In shared memory a row of it has PITCH elements, one more than the tile is
// wide, so that both orders of writing meet different banks.
template <typename T, int WIDTH, int DEPTH, int PITCH>
struct Part {
    static constexpr int EACH = WIDTH * DEPTH / THREADS;  // elements that a thread loads
    static_assert(WIDTH * DEPTH % THREADS == 0, "every thread loads as many elements");

    T loaded[EACH];
    bool along_depth;  // neighbouring threads load along the smaller stride

    __device__ int k_of(int e) const { return along_depth ? e % DEPTH : e / WIDTH; }
    __device__ int w_of(int e) const { return along_depth ? e / DEPTH : e % WIDTH; }

    // Load from column or row `w0` and k on what exists of a matrix that is `width` by `depth`; the rest is zero.
    __device__ void load(const Operand<T>& of, int w0, int k0, int width, int depth) {
        along_depth = of.depth_stride < of.width_stride;
        const T* from = of.first + w0 * of.width_stride + k0 * of.depth_stride;
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const int e = threadIdx.x + i * THREADS, k = k_of(e), w = w_of(e);
            loaded[i] = k < depth - k0 && w < width - w0 ? from[w * of.width_stride + k * of.depth_stride] : T(0);
        }
    }

    __device__ void store(T* tile) const {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const int e = threadIdx.x + i * THREADS;
            tile[k_of(e) * PITCH + w_of(e)] = loaded[i];
        }
    }
};

// Compute sums of rows of A and columns of B, and call epilogue(i, j, sums) for each row i and unit j: sum p is the
// element (i, j) of a[p] b[p], or of a[0] b[p] where all have the same left operand.
template <typename T, int ROWS, int COLUMNS, int DEPTH, int LEFTS, int PARTS, class Epilogue>
__device__ void products(int rows, int units, int inner, const Operand<T> (&a)[LEFTS], const Operand<T> (&b)[PARTS],
                         const Epilogue& epilogue) {
    constexpr int DOWN = ROWS / SIDE, ACROSS = COLUMNS / SIDE;  // threads of a slice
    constexpr int SLICES = THREADS / (DOWN * ACROSS);
    constexpr int OWN = SIDE / PARTS, UNITS = ACROSS * OWN;  // units of a thread and of the tile; with 3 parts some are idle
    static_assert(DOWN * ACROSS * SLICES == THREADS && DEPTH % SLICES == 0, "slices have as many threads and steps");
    static_assert(LEFTS == 1 || LEFTS == PARTS, "all parts have the same left operand, or each its own");
    static_assert(DEPTH * (LEFTS * (ROWS + 1) + COLUMNS + 1) <= THREADS * SIDE * SIDE,
                  "the partial sums need the most shared memory");

    T* const shared = reinterpret_cast<T*>(shared_memory());
    T *const a_tile = shared, *const b_tile = shared + LEFTS * DEPTH * (ROWS + 1);
    const int tiles = (units + UNITS - 1) / UNITS;  // side by side
    const int first_row = blockIdx.x / tiles * ROWS, first_unit = blockIdx.x % tiles * UNITS;
    const int slice = threadIdx.x / (DOWN * ACROSS), down = threadIdx.x / ACROSS % DOWN, across = threadIdx.x % ACROSS;

    Part<T, ROWS, DEPTH, ROWS + 1> a_part[LEFTS];
    Part<T, UNITS, DEPTH, COLUMNS + 1> b_part[PARTS];
    auto load = [&](int k) {
#pragma unroll
        for (int p = 0; p < LEFTS; ++p) a_part[p].load(a[p], first_row, k, rows, inner);
#pragma unroll
        for (int p = 0; p < PARTS; ++p) b_part[p].load(b[p], first_unit, k, units, inner);
    };

    T sum[SIDE][SIDE] = {};
    load(0);
    for (int k = 0; k < inner; k += DEPTH) {
#pragma unroll
        for (int p = 0; p < LEFTS; ++p) a_part[p].store(a_tile + p * DEPTH * (ROWS + 1));
#pragma unroll
        for (int p = 0; p < PARTS; ++p) b_part[p].store(b_tile + p * UNITS);
        __syncthreads();
        if (k + DEPTH < inner) load(k + DEPTH);
#pragma unroll
        for (int d = slice; d < DEPTH; d += SLICES) {
#pragma unroll
            for (int i = 0; i < SIDE; ++i) {
#pragma unroll
                for (int j = 0; j < OWN * PARTS; ++j) {
                    const T* from = a_tile + (LEFTS == 1 ? 0 : j / OWN * DEPTH * (ROWS + 1));
                    sum[i][j] += from[d * (ROWS + 1) + i * DOWN + down] * b_tile[d * (COLUMNS + 1) + j * ACROSS + across];
                }
            }
        }
        __syncthreads();  // all have read the tile: it is filled again, or the partial sums take its place
    }

#pragma unroll
    for (int i = 0; i < SIDE; ++i) {
#pragma unroll
        for (int j = 0; j < OWN * PARTS; ++j) {
            shared[slice * ROWS * COLUMNS + (i * DOWN + down) * COLUMNS + j * ACROSS + across] = sum[i][j];
        }
    }
    __syncthreads();
    for (int e = threadIdx.x; e < ROWS * UNITS; e += THREADS) {
        const int i = first_row + e / UNITS, j = first_unit + e % UNITS;
        if (i >= rows || j >= units) continue;
        T total[PARTS];
#pragma unroll
        for (int p = 0; p < PARTS; ++p) {
            const T* partial = shared + e / UNITS * COLUMNS + p * UNITS + e % UNITS;
            total[p] = partial[0];
            for (int s = 1; s < SLICES; ++s) total[p] += partial[s * ROWS * COLUMNS];
        }
        epilogue(i, j, total);
    }
}

// Strides are in elements: of A from row to row and along k, of B along k and from column to column.
template <typename T, int ROWS, int COLUMNS, int DEPTH>
__global__ void __launch_bounds__(THREADS)
    product(int rows, int columns, int inner, const T* a, long long a_row, long long a_inner, const T* b,
            long long b_inner, long long b_column, T* c, long long c_row, long long c_column) {
    const Operand<T> left[] = {{a, a_row, a_inner}}, right[] = {{b, b_column, b_inner}};
    products<T, ROWS, COLUMNS, DEPTH>(rows, columns, inner, left, right, [=](long long i, int j, const T* sum) {
        c[i * c_row + j * c_column] = *sum;
    });
}
