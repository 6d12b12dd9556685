// The steps of euler.cu and that of the Elman network, in a leaner loop: what other threads wait for is sent before
// anything is stored, pointers move from step to step, and AHEAD steps are unrolled. The arithmetic is that of euler.cu.
// With few inputs they compute V x + b too (inputs.cuh), and the gradients of V and b; and that of A where there are enough
// registers (gradients.cuh). These kernels have not run on a card yet; when they have, they replace euler.cu. Arguments and
// arrays are as there. Besides, if M is not 0: x (steps, batch, m), V (GATES n, m), b (GATES n); else they are null.

enum Cell { ELMAN, UNGATED, GATED };

// Put a thread's elements of the vector of a step into the memory of every block of the cluster.
template <class L>
__device__ inline void send_all(const Mailbox<L>& box, int round, const typename L::T (&elements)[L::KEPT],
                                const Place<L>& own) {
    if (own.counts) {
#pragma unroll
        for (int k = 0; k < L::KEPT; ++k) {
#pragma unroll
            for (int rank = 0; rank < L::CLUSTER; ++rank) {
                box.send(round, own.row_here * L::INPUTS + own.unit + k, rank, elements[k]);
            }
        }
    }
}

// Forward; see euler.cu. If M is not 0, acts holds nothing before. The Elman network is a step of size 1 that forgets the
// state before it.
template <typename T, int CELL, int UNITS, int ROWS, int CLUSTER, int OUTPUTS, int LANES, int HELD, int M>
__global__ void CLUSTER_OF(CLUSTER)
    __launch_bounds__(Layout<T, UNITS, ROWS, CLUSTER, OUTPUTS, LANES, HELD>::THREADS, 1)
    lean_forward(const T* W, int storage, T step_size, T diffusion, int n, int batch, int steps, int first,
                 const int* lengths, const T* V, const T* b, const T* x, int m, T* states, T* acts) {
    using L = Layout<T, UNITS, ROWS, CLUSTER, OUTPUTS, LANES, HELD>;
    constexpr int GATES = CELL == GATED ? 2 : 1;
    const Place<L> own(n, batch);
    unsigned char* memory = shared_memory();
    const Matrix<L> A(own, memory, Recurrent<T>{W, n, storage, diffusion, false});
    const Mailbox<L> box(memory + Matrix<L>::REST_BYTES);

    const size_t step = static_cast<size_t>(batch) * n;  // stride of states from one step to the next
    const bool exists = own.kept_units > 0;
    T* state = states + (exists ? static_cast<size_t>(own.row) * n + own.unit : 0);
    T* act = acts + (exists ? static_cast<size_t>(own.row) * GATES * n + own.unit : 0);
    Projection<L, GATES, M> inputs(memory + Matrix<L>::REST_BYTES + Mailbox<L>::BYTES, own, V, b, x, m, act, n, batch);
    const int end = lengths && exists ? lengths[own.row] - first : steps;

    auto fetch = [&](int round, int t) {
        if (t < steps) inputs.fetch(round);
        inputs.close();
    };

    T h[L::KEPT], Ah[L::KEPT], c[L::KEPT], z[L::KEPT];
#pragma unroll
    for (int k = 0; k < L::KEPT; ++k) h[k] = own.exists(k) ? state[k] : T(0);
#pragma unroll
    for (int round = 0; round < AHEAD; ++round) fetch(round, round);
    send_all(box, 0, h, own);

    for (int done = 0; done < steps; done += AHEAD) {
#pragma unroll
        for (int round = 0; round < AHEAD; ++round) {
            const int t = done + round;
            if (t == steps) break;
            product(A, box.receive(round), own, Ah);
            inputs.template await<AHEAD - 1>();
#pragma unroll
            for (int k = 0; k < L::KEPT; ++k) {
                T h_next;
                if constexpr (CELL == ELMAN) {
                    const T u = Ah[k] + inputs.at(round, 0, k);  // (F10)
                    h_next = c[k] = tanh_of(u);  // (F11)
                } else {
                    const T u = Ah[k] + inputs.at(round, 0, k);  // (F2) (F5)
                    c[k] = tanh_of(u);  // (F3)
                    if constexpr (CELL == UNGATED) {
                        h_next = h[k] + step_size * c[k];  // (F4)
                    } else {
                        const T u_z = Ah[k] + inputs.at(round, 1, k);  // (F6)
                        z[k] = T(0.5) + T(0.5) * tanh_of(T(0.5) * u_z);  // (F7)
                        h_next = h[k] + step_size * z[k] * c[k];  // (F8)
                    }
                }
                if (own.exists(k) && t < end) h[k] = h_next;  // padding stays 0, whatever zero weights make of infinity
            }
            if (t + 1 < steps) send_all(box, (round + 1) % AHEAD, h, own);
            state += step;
#pragma unroll
            for (int k = 0; k < L::KEPT; ++k) {
                if (own.exists(k)) {
                    act[k] = c[k];
                    if constexpr (CELL == GATED) act[n + k] = z[k];
                    state[k] = h[k];
                }
            }
            act += GATES * step;
            fetch(round, t + AHEAD);
        }
    }
}

// Backward; see euler.cu. Further it fills the parts of the gradients of A (blocks, n, n), if ADDS_dA, and of V and b
// (batch, GATES n (m + 1)), if M is not 0. If one of the two is so, any of these, deltas and sums may be null.
template <typename T, int CELL, int UNITS, int ROWS, int CLUSTER, int OUTPUTS, int LANES, int HELD, int M>
__global__ void CLUSTER_OF(CLUSTER)
    __launch_bounds__(Layout<T, UNITS, ROWS, CLUSTER, OUTPUTS, LANES, HELD>::THREADS, 1)
    lean_backward(const T* W, int storage, T step_size, T diffusion, int n, int batch, int steps, int first,
                  const int* lengths, const T* x, int m, const T* states, const T* acts, const T* direct, T* deltas,
                  T* sums, T* dA, T* dV_b, T* g_of_batch, T* all_g) {
    using L = Layout<T, UNITS, ROWS, CLUSTER, OUTPUTS, LANES, HELD>;
    constexpr int GATES = CELL == GATED ? 2 : 1;
    const Place<L> own(n, batch);
    unsigned char* memory = shared_memory();
    const Matrix<L> A_T(own, memory, Recurrent<T>{W, n, storage, diffusion, true});
    const Mailbox<L> box(memory + Matrix<L>::REST_BYTES);
    memory += Matrix<L>::REST_BYTES + Mailbox<L>::BYTES;
    constexpr int DIRECT = GATES, STATE = GATES + 1;  // inputs after the activations
    constexpr bool STORES_ALL = M == 0 && !ADDS_dA<L>;
    using Inputs = Prefetch<L, GATES + 1 + ADDS_dA<L>>;
    Inputs inputs(memory, own);
    MatrixGradient<L> of_A(memory + Inputs::BYTES);
    InputGradients<L, GATES, M> of_V(memory + Inputs::BYTES + MatrixGradient<L>::BYTES, own, x, m, batch, steps);

    const bool exists = own.kept_units > 0;
    const size_t place = exists ? static_cast<size_t>(own.row) * n + own.unit : 0;
    const size_t place_act = exists ? static_cast<size_t>(own.row) * GATES * n + own.unit : 0;
    Backwards<T, 1, GATES> at(batch, n, steps, place, place_act, acts, direct, deltas, all_g);
    T* sum = sums + (steps - 1) * at.step + place;
    const T* coming_state = states + (steps - 1) * at.step + place;
    const int end = lengths && exists ? lengths[own.row] - first : steps;

    auto fetch = [&](int round, int s) {  // the inputs of step t = steps - 1 - s
        if (s < steps) {
#pragma unroll
            for (int k = 0; k < L::KEPT; ++k) {
                const int here = own.exists(k) ? k : 0;
#pragma unroll
                for (int gate = 0; gate < GATES; ++gate) {
                    inputs.fetch(round, gate, k, at.coming + gate * n + here, own.exists(k));
                }
                inputs.fetch(round, DIRECT, k, direct ? at.coming_direct + here : acts, direct && own.exists(k));
                if constexpr (ADDS_dA<L>) inputs.fetch(round, STATE, k, coming_state + here, own.exists(k));
            }
            at.fetched();
            coming_state -= at.step;
            of_V.fetch(round);
        }
        inputs.close();
    };

    T g[L::KEPT], delta_bar[L::KEPT], delta[L::KEPT], delta_z[L::KEPT], A_T_delta[L::KEPT], h[L::KEPT];
#pragma unroll
    for (int k = 0; k < L::KEPT; ++k) g[k] = own.exists(k) ? g_of_batch[place + k] : T(0);
#pragma unroll
    for (int round = 0; round < AHEAD - 1; ++round) fetch(round, round);

    for (int done = 0; done < steps; done += AHEAD) {
#pragma unroll
        for (int round = 0; round < AHEAD; ++round) {
            const int s = done + round, t = steps - 1 - s;
            if (s == steps) break;
            inputs.template await<AHEAD - 2>();
#pragma unroll
            for (int k = 0; k < L::KEPT; ++k) {
                // A row that keeps its state passes g on and adds nothing to the gradients, whatever c and h are of a
                // state that may be infinite; padding adds nothing to the vector.
                const bool runs = own.exists(k) && t < end;
                const T dh = step_size * g[k], c = inputs.at(round, 0, k);
                if constexpr (CELL != GATED) {
                    delta_bar[k] = runs ? (1 - c * c) * dh : T(0);  // (B1) (B16)
                } else {
                    const T z = inputs.at(round, 1, k);
                    delta[k] = runs ? z * (1 - c * c) * dh : T(0);  // (B7)
                    delta_z[k] = runs ? z * (1 - z) * c * dh : T(0);  // (B8)
                    delta_bar[k] = delta[k] + delta_z[k];  // (B9)
                }
                if constexpr (ADDS_dA<L>) h[k] = runs ? inputs.at(round, STATE, k) : T(0);
            }
            send_all(box, round, delta_bar, own);
            of_A.send(round, h, own);
#pragma unroll
            for (int k = 0; k < L::KEPT; ++k) {
                if (!own.exists(k)) continue;
                if constexpr (CELL != GATED) {
                    if (STORES_ALL || deltas) at.delta[k] = delta_bar[k];
                } else {
                    if (STORES_ALL || deltas) {
                        at.delta[k] = delta[k];
                        at.delta[n + k] = delta_z[k];
                    }
                    if (STORES_ALL || sums) sum[k] = delta_bar[k];
                }
                if (at.g && s > 0) at.g[at.step + k] = g[k];
            }
            at.stored();
            sum -= at.step;
            fetch((round + AHEAD - 1) % AHEAD, s + AHEAD - 1);
            const T* vector = box.receive(round);
            product(A_T, vector, own, A_T_delta);
#pragma unroll
            for (int k = 0; k < L::KEPT; ++k) {
                if (t < end) g[k] = (CELL == ELMAN ? T(0) : g[k]) + A_T_delta[k];  // (B2) (B10) (B17)
                g[k] += inputs.at(round, DIRECT, k);  // (B26)
                of_V.add(round, 0, k, CELL == GATED ? delta[k] : delta_bar[k]);
                if constexpr (CELL == GATED) of_V.add(round, 1, k, delta_z[k]);
            }
            of_A.add(round, vector, own);
        }
    }
#pragma unroll
    for (int k = 0; k < L::KEPT; ++k) {
        if (!own.exists(k)) continue;
        g_of_batch[place + k] = g[k];
        if (all_g) all_g[place + k] = g[k];
    }
    if (dA) of_A.store(dA, own, n);
    if (dV_b) of_V.store(dV_b, own, n);
}
