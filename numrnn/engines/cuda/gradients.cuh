// Gradients of the parameters inside the backward kernel of lean.cu, in registers for all steps. A sum over the steps and
// rows of a block is a chain of additions, in the order of the kernel's steps; the tape adds up the sums of all blocks.

// The gradients of a thread's elements of V and b, for its row of the batch.
template <class L, int GATES, int M>
struct InputGradients {
    using T = typename L::T;
    Row<L, M> x;
    T dV[GATES][L::KEPT][M] = {}, db[GATES][L::KEPT] = {};

    __device__ InputGradients(unsigned char* memory, const Place<L>& own, const T* all_x, int m, int batch, int steps)
        : x(memory, own, all_x + (steps - 1) * static_cast<size_t>(batch) * m, -static_cast<long long>(batch) * m, m) {}

    __device__ void fetch(int round) { x.fetch(round); }

    __device__ void add(int round, int gate, int k, T delta) {
        db[gate][k] += delta;  // (B4) (B12) (B13) (B18)
#pragma unroll
        for (int j = 0; j < M; ++j) dV[gate][k][j] += delta * x.at(round, j);  // (B4) (B12) (B13) (B18)
    }

    // Write them into of_V_b (batch, GATES n (m + 1)): of each row of the batch dV (GATES n, m), then db (GATES n).
    __device__ void store(T* of_V_b, const Place<L>& own, int n) const {
        const size_t size = static_cast<size_t>(GATES) * n;
        T* const of_V = of_V_b + own.row * size * (x.m + 1);
        T* const of_b = of_V + size * x.m;
#pragma unroll
        for (int gate = 0; gate < GATES; ++gate) {
#pragma unroll
            for (int k = 0; k < L::KEPT; ++k) {
                if (!own.exists(k)) continue;
                const size_t at = gate * n + own.unit + k;
                of_b[at] = db[gate][k];
#pragma unroll
                for (int j = 0; j < M; ++j) {
                    if (j < x.m) of_V[at * x.m + j] = dV[gate][k][j];
                }
            }
        }
    }
};

template <class L, int GATES>
struct InputGradients<L, GATES, 0> {
    using T = typename L::T;
    __device__ InputGradients(unsigned char*, const Place<L>&, const T*, int, int, int) {}
    __device__ void fetch(int) {}
    __device__ void add(int, int, int, T) {}
    __device__ void store(T*, const Place<L>&, int) const {}
};

// Whether the backward kernel has registers for as many sums as weights; numrnn/engines/cuda/kernels.py says so too.
template <class L>
constexpr bool ADDS_dA = L::CLUSTER == 1 && L::WEIGHTS * sizeof(typename L::T) <= 64 &&
                         L::WEIGHTS * sizeof(typename L::T) * L::ROWS <= 128;

// The gradient of A: the sum of delta_i h_j over the steps and rows of a block. A thread adds up the elements whose weights
// it has, as columns of A^T are rows of A.
template <class L, bool ADDED = ADDS_dA<L>>
struct MatrixGradient;

template <class L>
struct MatrixGradient<L, true> {
    using T = typename L::T;
    static constexpr int SIZE = L::ROWS * L::UNITS;
    static constexpr int BYTES = 2 * SIZE * sizeof(T);
    static_assert(L::OUTPUTS % L::PACK == 0, "a thread reads whole packs of h");
    Pack<T> dA[L::WEIGHTS] = {};
    T* vectors;  // h in two buffers, as delta is in those of `Mailbox`

    __device__ explicit MatrixGradient(unsigned char* memory) : vectors(reinterpret_cast<T*>(memory)) {}

    // Put a thread's elements of h beside its elements of delta; the same barrier makes both complete.
    __device__ void send(int round, const T (&h)[L::KEPT], const Place<L>& own) const {
        if (!own.counts) return;
#pragma unroll
        for (int k = 0; k < L::KEPT; ++k) vectors[round % 2 * SIZE + own.row_here * L::UNITS + own.unit + k] = h[k];
    }

    // Add the products of a step; delta is (ROWS, UNITS), in shared memory.
    __device__ void add(int round, const T* delta, const Place<L>& own) {
#pragma unroll
        for (int r = 0; r < L::ROWS; ++r) {
            const T* h_row = vectors + round % 2 * SIZE + r * L::UNITS + own.first_unit;
            T h[L::OUTPUTS];
#pragma unroll
            for (int o = 0; o < L::OUTPUTS; o += L::PACK) {
                const Pack<T> some = *reinterpret_cast<const Pack<T>*>(h_row + o);
#pragma unroll
                for (int e = 0; e < L::PACK; ++e) h[o + e] = some.value[e];
            }
#pragma unroll
            for (int p = 0; p < L::PACKS; ++p) {
                const Pack<T> some = reinterpret_cast<const Pack<T>*>(delta + r * L::UNITS)[p * L::LANES + own.lane];
#pragma unroll
                for (int o = 0; o < L::OUTPUTS; ++o) {
#pragma unroll
                    for (int e = 0; e < L::PACK; ++e) {
                        dA[p * L::OUTPUTS + o].value[e] += some.value[e] * h[o];  // (B5) (B14) (B18)
                    }
                }
            }
        }
    }

    // Write the block's sums into `of_A` (blocks, n, n).
    __device__ void store(T* of_A, const Place<L>& own, int n) const {
        of_A += static_cast<size_t>(blockIdx.x) * n * n;
#pragma unroll
        for (int p = 0; p < L::PACKS; ++p) {
#pragma unroll
            for (int o = 0; o < L::OUTPUTS; ++o) {
#pragma unroll
                for (int e = 0; e < L::PACK; ++e) {
                    const int i = (p * L::LANES + own.lane) * L::PACK + e, j = own.first_unit + o;
                    if (i < n && j < n) of_A[i * n + j] = dA[p * L::OUTPUTS + o].value[e];
                }
            }
        }
    }
};

template <class L>
struct MatrixGradient<L, false> {
    using T = typename L::T;
    static constexpr int BYTES = 0;
    __device__ explicit MatrixGradient(unsigned char*) {}
    __device__ void send(int, const T (&)[L::KEPT], const Place<L>&) const {}
    __device__ void add(int, const T*, const Place<L>&) {}
    __device__ void store(T*, const Place<L>&, int) const {}
};
