// The device instructions that the kernels need beyond plain CUDA C++, in PTX, so that no header is needed.
// On a CPU, tests/cuda/standin.h replaces this file, with the same functions.

// Blocks of a cluster run on neighbouring processors and can write into each other's shared memory (sm_90).
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define CLUSTER_OF(blocks) __cluster_dims__(blocks)
#else
#define CLUSTER_OF(blocks)
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
