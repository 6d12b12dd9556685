// The exchange of the vector and the prefetched inputs of euler.cu; loop.cuh has those of the other kernels.

// The vector that the next product reads, gathered from all threads, in two buffers: fast threads write the vector of the
// next step while slow ones still read that of this step, so one barrier per step is enough.
template <class L>
struct Exchange {
    using T = typename L::T;
    T* buffers;

    static constexpr int BYTES = 2 * L::ROWS * L::UNITS * sizeof(T);

    // No block may write to another block's memory before that block has started.
    __device__ explicit Exchange(unsigned char* memory) : buffers(reinterpret_cast<T*>(memory)) {
        if constexpr (L::CLUSTER > 1) cluster_barrier();
    }

    // Gather every thread's elements, and return the vector (ROWS, UNITS).
    __device__ const T* gather(int step, const T (&elements)[L::KEPT], const Place<L>& own) {
        T* vector = buffers + step % 2 * (L::ROWS * L::UNITS);
        if (own.counts) {
#pragma unroll
            for (int k = 0; k < L::KEPT; ++k) {
                T* element = vector + own.row_here * L::UNITS + own.unit + k;
                if constexpr (L::CLUSTER == 1) {
                    *element = elements[k];
                } else {
#pragma unroll
                    for (int rank = 0; rank < L::CLUSTER; ++rank) store_to_block(element, rank, elements[k]);
                }
            }
        }
        if constexpr (L::CLUSTER == 1) {
            __syncthreads();
        } else {
            cluster_barrier();
        }
        return vector;
    }
};

// A thread's prefetched inputs, copied from global to shared memory: ARRAYS numbers for each of its elements, for AHEAD
// steps. A thread reads only what it fetched itself, so no barrier is needed.
template <class L, int ARRAYS>
struct Inputs {
    using T = typename L::T;
    T* own_column;

    static constexpr int BYTES = AHEAD * ARRAYS * L::KEPT * L::THREADS * sizeof(T);

    __device__ explicit Inputs(unsigned char* memory) : own_column(reinterpret_cast<T*>(memory) + threadIdx.x) {}

    __device__ T* slot(int step, int array, int k) const {
        return own_column + ((step % AHEAD * ARRAYS + array) * L::KEPT + k) * L::THREADS;
    }
};
