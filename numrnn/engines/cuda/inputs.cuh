// V x + b inside the forward kernel of lean.cu. With few inputs a thread has V and b of its elements in registers and reads x
// of its row. M, a constant, is their number m rounded up. With M = 0 the product V x + b has been computed for all steps
// before, and acts holds it.

// x of a thread's row: M numbers per step, prefetched; those beyond m are zero.
template <class L, int M>
struct Row {
    using T = typename L::T;
    Prefetch<L, M, 1> numbers;
    const T* coming;
    long long stride;  // from one step to the next that is fetched
    int m;
    bool exists;

    __device__ Row(unsigned char* memory, const Place<L>& own, const T* x, long long stride, int m)
        : numbers(memory, own), coming(x), stride(stride), m(m), exists(own.kept_units > 0) {
        if (exists) coming += static_cast<size_t>(own.row) * m;
    }

    __device__ void fetch(int round) {
#pragma unroll
        for (int j = 0; j < M; ++j) numbers.fetch(round, j, 0, coming + (j < m ? j : 0), exists && j < m);
        coming += stride;
    }

    __device__ T at(int round, int j) const { return numbers.at(round, j, 0); }
};

// Forward: V x + b of a thread's elements, for gates one after the other, whose rows of V and b are n apart.
template <class L, int GATES, int M>
struct Projection {
    using T = typename L::T;
    Row<L, M> x;
    T V[GATES][L::KEPT][M], b[GATES][L::KEPT];

    __device__ Projection(unsigned char* memory, const Place<L>& own, const T* all_V, const T* all_b, const T* all_x,
                          int m, const T*, int n, int batch)
        : x(memory, own, all_x, static_cast<long long>(batch) * m, m) {
#pragma unroll
        for (int gate = 0; gate < GATES; ++gate) {
#pragma unroll
            for (int k = 0; k < L::KEPT; ++k) {
                const size_t row = gate * n + own.unit + k;
                b[gate][k] = own.exists(k) ? all_b[row] : T(0);
#pragma unroll
                for (int j = 0; j < M; ++j) V[gate][k][j] = own.exists(k) && j < m ? all_V[row * m + j] : T(0);
            }
        }
    }

    __device__ void fetch(int round) { x.fetch(round); }
    __device__ void close() { x.numbers.close(); }

    template <int younger>
    __device__ void await() {
        x.numbers.template await<younger>();
    }

    // b + V_1 x_1 + V_2 x_2 + ..., added from left to right.
    __device__ T at(int round, int gate, int k) const {
        T sum = b[gate][k];
#pragma unroll
        for (int j = 0; j < M; ++j) sum += V[gate][k][j] * x.at(round, j);
        return sum;
    }
};

template <class L, int GATES>
struct Projection<L, GATES, 0> {
    using T = typename L::T;
    Prefetch<L, GATES> projected;
    const Place<L>& own;
    const T* coming;
    int n;
    size_t stride;

    __device__ Projection(unsigned char* memory, const Place<L>& own, const T*, const T*, const T*, int, const T* act,
                          int n, int batch)
        : projected(memory, own), own(own), coming(act), n(n), stride(static_cast<size_t>(batch) * GATES * n) {}

    __device__ void fetch(int round) {
#pragma unroll
        for (int gate = 0; gate < GATES; ++gate) {
#pragma unroll
            for (int k = 0; k < L::KEPT; ++k) {
                projected.fetch(round, gate, k, coming + gate * n + (own.exists(k) ? k : 0), own.exists(k));
            }
        }
        coming += stride;
    }

    __device__ void close() { projected.close(); }

    template <int younger>
    __device__ void await() {
        projected.template await<younger>();
    }

    __device__ T at(int round, int gate, int k) const { return projected.at(round, gate, k); }
};
