// The device instructions that the kernels need beyond plain CUDA C++, in PTX, so that no header is needed.
// On a CPU, tests/cuda/standin.h replaces this file, with the same functions.

// Blocks of a cluster run on neighbouring processors and can write into each other's shared memory (sm_90).
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define CLUSTER_OF(blocks) __cluster_dims__(blocks)
#else
#define CLUSTER_OF(blocks)
#endif

// Before sm_80 a copy into shared memory goes through a register, which the thread waits for.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
[[maybe_unused]] constexpr bool ASYNC_COPIES = true;
#else
[[maybe_unused]] constexpr bool ASYNC_COPIES = false;
#endif

__device__ inline unsigned char* shared_memory() {
    extern __shared__ __align__(16) unsigned char memory[];
    return memory;
}

__device__ inline unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// Write a value to another block of the cluster, at the place in its shared memory that `own` has in this block's.
__device__ inline void store_to_block(float* own, int rank, float value) {
    unsigned remote;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(shared_address(own)), "r"(rank));
    asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(remote), "f"(value) : "memory");
}

__device__ inline void store_to_block(double* own, int rank, double value) {
    unsigned remote;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(shared_address(own)), "r"(rank));
    asm volatile("st.shared::cluster.f64 [%0], %1;" ::"r"(remote), "d"(value) : "memory");
}

// Wait for all threads of all blocks of the cluster; what they wrote before is visible after it.
__device__ inline void cluster_barrier() {
    __syncwarp();  // "aligned" requires the threads of a warp to arrive together
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Start copying one number from global to shared memory, or a zero if it does not exist; `commit_copies` closes a
// group.
template <typename T>
__device__ inline void copy_async(T* to, const T* from, bool exists) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(to)), "l"(from),
                 "n"(sizeof(T)), "r"(exists ? static_cast<int>(sizeof(T)) : 0)
                 : "memory");
}

__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Wait until at most `younger` groups of this thread's copies are still in flight.
template <int younger>
__device__ inline void await_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(younger) : "memory");
}

// An arrival counter ("mbarrier") in shared memory. Its phase ends when one thread has said how many bytes to expect, and
// as many have arrived (sm_90).
using Arrivals = unsigned long long;

__device__ inline void create_arrivals(Arrivals* counter) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(counter)) : "memory");
}

// Make the counters that this thread has created visible to the other blocks, at the next `cluster_barrier`.
__device__ inline void publish_arrivals() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ inline void expect_bytes(Arrivals* counter, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(counter)), "r"(bytes)
                 : "memory");
}

// Wait for the end of the phase of this parity, the first of which is 0, and acquire what the blocks of the cluster sent.
//
// By the PTX ISA a message releases its bytes at the scope of the cluster, and an acquire synchronises with a release only
// if each one's scope includes the other thread. So the scope of the block, the default of mbarrier.try_wait, is too small
// where another block sends. A plain acquire at the scope of the cluster covers global memory too: it invalidates the L1
// cache (CCTL.IVALL) at every step, for numbers that no other block writes. So the wait itself is relaxed, and the fence
// after it acquires nothing but shared memory (PTX ISA 8.6), which costs one instruction and no invalidation. Compilers
// before 12.8 do not know that fence.
#if __CUDACC_VER_MAJOR__ > 12 || (__CUDACC_VER_MAJOR__ == 12 && __CUDACC_VER_MINOR__ >= 8)
#define WAIT "mbarrier.try_wait.parity.relaxed.cluster.shared::cta.b64"
#define ACQUIRE "fence.acquire.sync_restrict::shared::cluster.cluster;"
#else
#define WAIT "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64"
#define ACQUIRE ""
#endif

__device__ inline void await_bytes(Arrivals* counter, int parity) {
    unsigned ended;
    do {
        asm volatile("{\n.reg .pred p;\n" WAIT " p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                     : "=r"(ended)
                     : "r"(shared_address(counter)), "r"(parity)
                     : "memory");
    } while (!ended);
    asm volatile(ACQUIRE ::: "memory");
}

__device__ inline unsigned address_in_block(const void* own, int rank) {
    unsigned remote;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(shared_address(own)), "r"(rank));
    return remote;
}

// Send a value to a block of the cluster, to the place and the counter in its shared memory that `own` and `counter` have
// in this block's. It arrives at some later time, in any order.
template <typename T, typename V>
__device__ inline void send_to_block(T* own, int rank, V value, Arrivals* counter) {
    const unsigned to = address_in_block(own, rank), at = address_in_block(counter, rank);
    static_assert(sizeof(V) == 4 || sizeof(V) == 8 || sizeof(V) % 16 == 0, "no such message");
    if constexpr (sizeof(V) == 4) {
        asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.f32 [%0], %1, [%2];" ::"r"(to), "f"(value),
                     "r"(at)
                     : "memory");
    } else if constexpr (sizeof(V) == 8) {
        asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.f64 [%0], %1, [%2];" ::"r"(to), "d"(value),
                     "r"(at)
                     : "memory");
    } else {
        const uint4* parts = reinterpret_cast<const uint4*>(&value);
#pragma unroll
        for (int i = 0; i < sizeof(V) / 16; ++i) {
            asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.u32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(
                             to + 16 * i),
                         "r"(parts[i].x), "r"(parts[i].y), "r"(parts[i].z), "r"(parts[i].w), "r"(at)
                         : "memory");
        }
    }
}
