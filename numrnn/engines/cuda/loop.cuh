// What a leaner loop over the steps is made of: the exchange of the vector, which needs no fence in a cluster, and the
// prefetched inputs, which need no asynchronous copies. lean.cu and lstm.cu use them; neither has run on a card yet.
// docs/cuda_engine.md tells what has. AHEAD, a multiple of 4, is the number of steps that a loop unrolls, so that the
// buffers and slots of its steps are constants.

static_assert(AHEAD % 4 == 0, "two buffers, and two phases of each, in one round of a loop");

// Pointers of a backward pass to what one thread reads and writes. They begin at the last step, and each moves back on its
// own: the inputs of a step are fetched before it runs. STATES and ACTS are numbers per unit, of a state and of acts;
// `place` and `place_act` are those of the thread's first element within a step.
template <typename T, int STATES, int ACTS>
struct Backwards {
    const T *coming, *coming_direct;  // activations and the loss's direct derivatives, null if there are none
    T *delta, *g;                     // g is null if dL/dh is not wanted
    size_t step;                      // batch n

    __device__ Backwards(int batch, int n, int steps, size_t place, size_t place_act, const T* acts, const T* direct,
                         T* deltas, T* all_g)
        : step(static_cast<size_t>(batch) * n) {
        const size_t back = static_cast<size_t>(steps - 1) * step;
        coming = acts + ACTS * back + place_act;
        coming_direct = direct ? direct + STATES * back + place : nullptr;
        delta = deltas + ACTS * back + place_act;
        g = all_g ? all_g + STATES * back + place : nullptr;
    }

    __device__ void fetched() {
        coming -= ACTS * step;
        if (coming_direct) coming_direct -= STATES * step;
    }

    __device__ void stored() {
        delta -= ACTS * step;
        if (g) g -= STATES * step;
    }
};

// The vector that the next product reads, in two buffers: fast threads write that of the next step while slow ones still
// read that of this step.
//
// In one block every thread writes its elements, and a barrier follows. In a cluster an element is a message: its bytes
// are written into the memory of a block and counted by an arrival counter there, for which only that block's threads
// wait. What a thread wrote elsewhere need not be visible to anyone by then, so that no fence is needed. `round` is the
// number of the step modulo AHEAD.
template <class L>
struct Mailbox {
    using T = typename L::T;
    static constexpr int SIZE = L::ROWS * L::INPUTS;
    static constexpr int BYTES = 2 * SIZE * sizeof(T) + 2 * sizeof(Arrivals);
    T* vectors;
    Arrivals* arrivals;

    // No block may write to another block's memory before that block has started, and its counters with it.
    __device__ explicit Mailbox(unsigned char* memory)
        : vectors(reinterpret_cast<T*>(memory)), arrivals(reinterpret_cast<Arrivals*>(memory + 2 * SIZE * sizeof(T))) {
        if constexpr (L::CLUSTER > 1) {
            if (threadIdx.x == 0) {
                for (int buffer = 0; buffer < 2; ++buffer) {
                    create_arrivals(arrivals + buffer);
                    expect_bytes(arrivals + buffer, SIZE * sizeof(T));
                }
            }
            publish_arrivals();
            cluster_barrier();
        }
    }

    // Put a value, one element or several, into the vector of a step, in the memory of block `rank` of the cluster.
    template <typename V>
    __device__ void send(int round, int place, int rank, V value) const {
        T* to = vectors + round % 2 * SIZE + place;
        if constexpr (L::CLUSTER == 1) {
            *reinterpret_cast<V*>(to) = value;
        } else {
            send_to_block(to, rank, value, arrivals + round % 2);
        }
    }

    // Wait until the vector of a step (ROWS, INPUTS) is complete, and return it.
    //
    // A thread sends elements of step s + 2, which share the buffer and the counter with those of step s, only after it
    // has waited for step s + 1: then every warp of the cluster has sent its elements of step s + 1, so it has waited
    // for step s and read its vector. Thus nobody overwrites what is still read. Nor does a counter end the phase of
    // step s + 2 while a thread still waits for that of step s, or before thread 0 has told it to expect bytes again.
    // A block ends only after all messages to it have arrived, because it waits for the last ones.
    __device__ const T* receive(int round) const {
        if constexpr (L::CLUSTER == 1) {
            __syncthreads();
        } else {
            await_bytes(arrivals + round % 2, round / 2 % 2);
            if (threadIdx.x == 0) expect_bytes(arrivals + round % 2, SIZE * sizeof(T));
        }
        return vectors + round % 2 * SIZE;
    }
};

// A thread's inputs, read AHEAD steps before they are needed: ARRAYS numbers for each of its elements, in slot `round`,
// or for all of them together (EACH = 1).
// With asynchronous copies they wait in shared memory, without them (before 8.0) in registers. A thread reads only what
// it fetched itself, so no barrier is needed; threads that finish copies of the same sums have no inputs.
template <class L, int ARRAYS, int EACH = L::KEPT, bool ASYNC = ASYNC_COPIES>
struct Prefetch;

template <class L, int ARRAYS, int EACH>
struct Prefetch<L, ARRAYS, EACH, true> {
    using T = typename L::T;
    static constexpr int COLUMNS = L::THREADS / L::COPIES;
    static constexpr int BYTES = AHEAD * ARRAYS * EACH * COLUMNS * sizeof(T);
    T* own_column;
    bool counts;

    __device__ Prefetch(unsigned char* memory, const Place<L>& own)
        : own_column(reinterpret_cast<T*>(memory) + threadIdx.x / L::COPIES), counts(own.counts) {}

    __device__ T* slot(int round, int array, int k) const {
        return own_column + ((round * ARRAYS + array) * EACH + k) * COLUMNS;
    }

    __device__ void fetch(int round, int array, int k, const T* from, bool exists) {
        if (counts) copy_async(slot(round, array, k), from, exists);
    }

    __device__ void close() { commit_copies(); }

    // Wait for all but the last `younger` closed steps.
    template <int younger>
    __device__ void await() {
        await_copies<younger>();
    }

    __device__ T at(int round, int array, int k) const { return counts ? *slot(round, array, k) : T(0); }
};

template <class L, int ARRAYS, int EACH>
struct Prefetch<L, ARRAYS, EACH, false> {
    using T = typename L::T;
    static constexpr int BYTES = 0;
    T ring[AHEAD][ARRAYS][EACH];

    __device__ Prefetch(unsigned char*, const Place<L>&) {}

    __device__ void fetch(int round, int array, int k, const T* from, bool exists) {
        ring[round][array][k] = exists ? *from : T(0);
    }

    __device__ void close() {}

    template <int younger>
    __device__ void await() {}

    __device__ T at(int round, int array, int k) const { return ring[round][array][k]; }
};
