// C = A B, the products of a step of a traced cell: matrices of any size and any strides. In place of cuBLAS, which CuPy
// refuses while a stream is captured (capture.py). product.py chooses the tile.
//
// A block computes ROWS x COLUMNS elements of C. It brings DEPTH columns of A and rows of B at a time into shared memory;
// while it computes with them, it loads the next ones into registers. A thread has 4 x 4 sums. A tile smaller than
// 64 x 64 has fewer of them than the block's threads can hold, so the threads divide the sum over k too: slice s takes
// k = s, s + SLICES, ... The partial sums of the slices are added in shared memory in the order of s. So two runs give
// the same bits, and a sum of K products is one of K / SLICES in each slice and one over the slices.

constexpr int THREADS = 256;  // of a block
constexpr int SIDE = 4;       // a thread has SIDE x SIDE sums

// An operand's part of a tile, DEPTH x WIDTH. In shared memory a row of it has WIDTH + 1 elements, so that both orders of
// writing meet different banks.
template <typename T, int WIDTH, int DEPTH>
struct Part {
    static constexpr int EACH = WIDTH * DEPTH / THREADS;  // elements that a thread loads
    static_assert(WIDTH * DEPTH % THREADS == 0, "every thread loads as many elements");

    T loaded[EACH];
    long long width_stride, depth_stride;

    // Neighbouring threads load along the smaller stride.
    __device__ int k_of(int e) const { return depth_stride < width_stride ? e % DEPTH : e / WIDTH; }
    __device__ int w_of(int e) const { return depth_stride < width_stride ? e / DEPTH : e % WIDTH; }

    // Load what exists of the matrix from its element `from`: `width` by `depth` elements; the rest is zero.
    __device__ void load(const T* from, int width, int depth) {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const int e = threadIdx.x + i * THREADS, k = k_of(e), w = w_of(e);
            loaded[i] = k < depth && w < width ? from[w * width_stride + k * depth_stride] : T(0);
        }
    }

    __device__ void store(T* tile) const {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const int e = threadIdx.x + i * THREADS;
            tile[k_of(e) * (WIDTH + 1) + w_of(e)] = loaded[i];
        }
    }
};

// Strides are in elements: of A from row to row and along k, of B along k and from column to column.
template <typename T, int ROWS, int COLUMNS, int DEPTH>
__global__ void __launch_bounds__(THREADS)
    product(int rows, int columns, int inner, const T* a, long long a_row, long long a_inner, const T* b,
            long long b_inner, long long b_column, T* c, long long c_row, long long c_column) {
    constexpr int DOWN = ROWS / SIDE, ACROSS = COLUMNS / SIDE;  // threads of a slice
    constexpr int SLICES = THREADS / (DOWN * ACROSS);
    static_assert(DOWN * ACROSS * SLICES == THREADS && DEPTH % SLICES == 0, "slices have as many threads and steps");
    static_assert(DEPTH * (ROWS + COLUMNS + 2) <= THREADS * SIDE * SIDE, "the partial sums need the most shared memory");

    T* const shared = reinterpret_cast<T*>(shared_memory());
    T *const a_tile = shared, *const b_tile = shared + DEPTH * (ROWS + 1);
    const int tiles = (columns + COLUMNS - 1) / COLUMNS;  // side by side
    const int first_row = blockIdx.x / tiles * ROWS, first_column = blockIdx.x % tiles * COLUMNS;
    const int slice = threadIdx.x / (DOWN * ACROSS), down = threadIdx.x / ACROSS % DOWN, across = threadIdx.x % ACROSS;
    const T *const a_first = a + first_row * a_row, *const b_first = b + first_column * b_column;

    Part<T, ROWS, DEPTH> a_part{{}, a_row, a_inner};
    Part<T, COLUMNS, DEPTH> b_part{{}, b_column, b_inner};
    auto load = [&](int k) {
        a_part.load(a_first + k * a_inner, rows - first_row, inner - k);
        b_part.load(b_first + k * b_inner, columns - first_column, inner - k);
    };

    T sum[SIDE][SIDE] = {};
    load(0);
    for (int k = 0; k < inner; k += DEPTH) {
        a_part.store(a_tile);
        b_part.store(b_tile);
        __syncthreads();
        if (k + DEPTH < inner) load(k + DEPTH);
#pragma unroll
        for (int d = slice; d < DEPTH; d += SLICES) {
#pragma unroll
            for (int i = 0; i < SIDE; ++i) {
#pragma unroll
                for (int j = 0; j < SIDE; ++j) {
                    sum[i][j] += a_tile[d * (ROWS + 1) + i * DOWN + down] * b_tile[d * (COLUMNS + 1) + j * ACROSS + across];
                }
            }
        }
        __syncthreads();  // all have read the tile: it is filled again, or the partial sums take its place
    }

#pragma unroll
    for (int i = 0; i < SIDE; ++i) {
#pragma unroll
        for (int j = 0; j < SIDE; ++j) {
            shared[slice * ROWS * COLUMNS + (i * DOWN + down) * COLUMNS + j * ACROSS + across] = sum[i][j];
        }
    }
    __syncthreads();
    for (int e = threadIdx.x; e < ROWS * COLUMNS; e += THREADS) {
        const int i = first_row + e / COLUMNS, j = first_column + e % COLUMNS;
        if (i >= rows || j >= columns) continue;
        T total = shared[e];
        for (int s = 1; s < SLICES; ++s) total += shared[s * ROWS * COLUMNS + e];
        c[i * c_row + j * c_column] = total;
    }
}
