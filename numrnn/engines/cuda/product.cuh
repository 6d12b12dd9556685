// The product in which both passes spend their time: a matrix, kept in registers for all T steps, times a vector that
// changes at every step. docs/cuda_engine.md shows how it is distributed over threads. numrnn/engines/cuda/kernels.py
// defines AHEAD, the number of steps by which inputs are prefetched, in front of this text.

constexpr int WARP = 32;

// How the matrix is spread over threads. numrnn/engines/cuda/kernels.py chooses the numbers.
//   T        float or double
//   UNITS    rows of the matrix, rounded up to the width of a layout; entries beyond the matrix are zero
//   ROWS     rows of the batch per block
//   CLUSTER  blocks that share the matrix, each with UNITS / CLUSTER of its rows
//   OUTPUTS  rows of the matrix per thread
//   LANES    neighbouring threads that share those rows, each with INPUTS / LANES of their columns
//   HELD     packs (16 bytes) of a thread's weights in registers; the rest is in shared memory
//   INPUTS   columns of the matrix, rounded up, and elements of the vector; as many as UNITS for a square matrix
template <typename T_, int UNITS_, int ROWS_, int CLUSTER_, int OUTPUTS_, int LANES_, int HELD_, int INPUTS_ = UNITS_>
struct Layout {
    using T = T_;
    static constexpr int UNITS = UNITS_, ROWS = ROWS_, CLUSTER = CLUSTER_, INPUTS = INPUTS_;
    static constexpr int OUTPUTS = OUTPUTS_, LANES = LANES_, HELD = HELD_;
    static constexpr int THREADS = UNITS / CLUSTER / OUTPUTS * LANES;
    static constexpr int PACK = 16 / sizeof(T);
    static constexpr int PACKS = INPUTS / LANES / PACK;           // packs of a vector that a thread reads
    static constexpr int WEIGHTS = PACKS * OUTPUTS;               // packs of the matrix per thread
    static constexpr int SUMS = ROWS * OUTPUTS;                   // sums that the lanes of a group add up
    static constexpr int KEPT = SUMS > LANES ? SUMS / LANES : 1;  // sums that one lane finishes
    static constexpr int COPIES = LANES * KEPT / SUMS;            // lanes that finish the same sums; the first counts
    static_assert(LANES <= WARP && ROWS <= LANES && HELD <= WEIGHTS && PACKS * PACK * LANES == INPUTS, "no such layout");
};

template <typename T>
__device__ inline T tanh_of(T u);
template <>
__device__ inline float tanh_of(float u) { return tanhf(u); }
template <>
__device__ inline double tanh_of(double u) { return tanh(u); }

template <typename T>
struct alignas(16) Pack {
    T value[16 / sizeof(T)];
};

// Which part of the matrix a thread has, and which elements (row of the batch, unit) it finishes.
template <class L>
struct Place {
    int lane;        // in its group of LANES
    int first_unit;  // first of its OUTPUTS rows of the matrix
    int row_here;    // row of its elements, within the block
    int row, unit;   // row and unit of its first element, in the batch; it has KEPT neighbouring units
    int kept_units;  // how many of them exist: 0 for rows and units that are padding, and for copies
    bool counts;     // false for copies

    __device__ Place(int n, int batch) {
        lane = threadIdx.x % L::LANES;
        const int rank = blockIdx.x % L::CLUSTER;
        first_unit = rank * (L::UNITS / L::CLUSTER) + threadIdx.x / L::LANES * L::OUTPUTS;
        int first = 0;  // where reduce_scatter leaves this lane's sums
        int count = L::SUMS;
        for (int distance = L::LANES / 2; distance > 0; distance /= 2) {
            if (count > 1) {
                count /= 2;
                if (lane & distance) first += count;
            }
        }
        counts = lane % L::COPIES == 0;
        row_here = first / L::OUTPUTS;
        row = blockIdx.x / L::CLUSTER * L::ROWS + row_here;
        unit = first_unit + first % L::OUTPUTS;
        kept_units = counts && row < batch ? (n - unit < L::KEPT ? n - unit : L::KEPT) : 0;
    }

    __device__ bool exists(int k) const { return k < kept_units; }
};

// Element (i, j) of W - W^T, or of W: the recurrent matrix without diffusion.
enum Storage { FULL, TRIANGULAR, UNSTRUCTURED };

template <typename T>
__device__ T recurrent(const T* W, int n, int i, int j, int storage) {
    if (storage == UNSTRUCTURED) return W[i * n + j];  // (F9)
    if (storage == FULL) return W[i * n + j] - W[j * n + i];  // (F1)
    return i < j ? W[i * n + j] : (i > j ? -W[j * n + i] : T(0));  // (F1)
}

// The elements of A, zero beyond n. The backward pass needs the transpose: for an antisymmetric matrix, the same
// registers with the opposite sign. The diffusion is a part of it: zero on the diagonal times an infinite element would
// be NaN.
template <typename T>
struct Recurrent {
    const T* W;
    int n, storage;
    T diffusion;
    bool transposed;

    __device__ T operator()(int i, int j) const {
        if (i >= n || j >= n) return T(0);
        T element = recurrent(W, n, transposed ? j : i, transposed ? i : j, storage);
        if (i == j) element -= diffusion;  // (F1) (F9)
        return element;
    }
};

// A thread's part of the matrix: OUTPUTS rows by INPUTS / LANES columns. Pack p starts at column (p LANES + lane) PACK,
// so that the lanes of a group read neighbouring packs of the vector at the same time, without bank conflicts.
template <class L>
struct Matrix {
    using T = typename L::T;
    Pack<T> held[L::HELD];
    Pack<T>* rest;  // in shared memory; only this thread reads it

    static constexpr int REST_BYTES = (L::WEIGHTS - L::HELD) * L::THREADS * sizeof(Pack<T>);

    template <class Element>
    __device__ Matrix(const Place<L>& own, unsigned char* memory, const Element& element) {
        rest = reinterpret_cast<Pack<T>*>(memory) + threadIdx.x;
#pragma unroll
        for (int p = 0; p < L::PACKS; ++p) {
#pragma unroll
            for (int o = 0; o < L::OUTPUTS; ++o) {
                Pack<T> pack;
#pragma unroll
                for (int e = 0; e < L::PACK; ++e) {
                    pack.value[e] = element(own.first_unit + o, (p * L::LANES + own.lane) * L::PACK + e);
                }
                const int index = p * L::OUTPUTS + o;
                if (index < L::HELD) {
                    held[index] = pack;
                } else {
                    rest[(index - L::HELD) * L::THREADS] = pack;
                }
            }
        }
    }

    __device__ Pack<T> at(int p, int o) const {
        const int index = p * L::OUTPUTS + o;
        return index < L::HELD ? held[index] : rest[(index - L::HELD) * L::THREADS];
    }
};

// Add `sum`, COUNT numbers per lane, over the lanes of a group; every lane ends with its share of the totals in front.
// A lane sends half of its numbers in every round, so LANES lanes need COUNT (1 - 1 / LANES) shuffles, not
// COUNT log2(LANES).
template <int COUNT, int DISTANCE, typename T>
__device__ inline void reduce_scatter(T* sum, int lane) {
    if constexpr (DISTANCE > 0) {
        constexpr int HALF = COUNT > 1 ? COUNT / 2 : 1;
        const bool upper = COUNT > 1 && (lane & DISTANCE);
#pragma unroll
        for (int i = 0; i < HALF; ++i) {
            const T mine = upper ? sum[COUNT - HALF + i] : sum[i];
            const T given = upper ? sum[i] : sum[COUNT - HALF + i];
            sum[i] = mine + __shfl_xor_sync(0xffffffffu, given, DISTANCE);
        }
        reduce_scatter<HALF, DISTANCE / 2>(sum, lane);
    }
}

// kept = the elements of matrix @ vector that this thread finishes; vector is (ROWS, INPUTS), in shared memory.
template <class L>
__device__ inline void product(const Matrix<L>& matrix, const typename L::T* vector, const Place<L>& own,
                               typename L::T (&kept)[L::KEPT]) {
    using T = typename L::T;
    T sum[L::SUMS];
#pragma unroll
    for (int s = 0; s < L::SUMS; ++s) sum[s] = T(0);
#pragma unroll
    for (int p = 0; p < L::PACKS; ++p) {
        Pack<T> in[L::ROWS];
#pragma unroll
        for (int r = 0; r < L::ROWS; ++r) {
            in[r] = reinterpret_cast<const Pack<T>*>(vector + r * L::INPUTS)[p * L::LANES + own.lane];
        }
#pragma unroll
        for (int o = 0; o < L::OUTPUTS; ++o) {
            const Pack<T> weight = matrix.at(p, o);
#pragma unroll
            for (int r = 0; r < L::ROWS; ++r) {
#pragma unroll
                for (int e = 0; e < L::PACK; ++e) sum[r * L::OUTPUTS + o] += weight.value[e] * in[r].value[e];
            }
        }
    }
    reduce_scatter<L::SUMS, L::LANES / 2>(sum, own.lane);
#pragma unroll
    for (int k = 0; k < L::KEPT; ++k) kept[k] = sum[k];
}
