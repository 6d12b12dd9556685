// Forward and backward through all steps of a sequence in one launch each, for the cells that are one step of forward Euler:
// GATES = 1 for equation (12) of the paper, GATES = 2 for the gated equation (13). Tags are those of docs/derivation.md.
// Rows of a batch are independent: a block (or a cluster) runs ROWS of them through all steps, apart from all others.
// All arrays are C-contiguous, time first, and exactly n wide: padding exists in registers only.

// Forward: states (steps + 1, batch, n), of which states[0] is given; acts (steps, batch, GATES, n) holds V x + b (and
// V_z x + b_z for a gated cell) and is overwritten with c (and z). lengths (batch) or null: a row with fewer steps keeps
// its state after them. The first step of this launch is step number `first` of the sequence.
template <typename T, int GATES, int UNITS, int ROWS, int CLUSTER, int OUTPUTS, int LANES, int HELD>
__global__ void CLUSTER_OF(CLUSTER)
    __launch_bounds__(Layout<T, UNITS, ROWS, CLUSTER, OUTPUTS, LANES, HELD>::THREADS, 1)
    forward(const T* W, int storage, T step_size, T diffusion, int n, int batch, int steps, int first, const int* lengths,
            T* states, T* acts) {
    using L = Layout<T, UNITS, ROWS, CLUSTER, OUTPUTS, LANES, HELD>;
    const Place<L> own(n, batch);
    unsigned char* memory = shared_memory();
    const Matrix<L> A(own, memory, Recurrent<T>{W, n, storage, diffusion, false});
    Exchange<L> exchange(memory + Matrix<L>::REST_BYTES);
    const Inputs<L, GATES> inputs(memory + Matrix<L>::REST_BYTES + Exchange<L>::BYTES);

    const size_t step = static_cast<size_t>(batch) * n;  // stride of states from one step to the next
    T* state = states + static_cast<size_t>(own.row) * n + own.unit;
    T* act = acts + static_cast<size_t>(own.row) * GATES * n + own.unit;
    const int end = lengths && own.kept_units > 0 ? lengths[own.row] - first : steps;

    auto fetch = [&](int t) {
        for (int gate = 0; t < steps && gate < GATES; ++gate) {
            for (int k = 0; k < L::KEPT; ++k) {
                const T* from = own.exists(k) ? act + t * GATES * step + gate * n + k : acts;
                copy_async(inputs.slot(t, gate, k), from, own.exists(k));
            }
        }
        commit_copies();
    };

    T h[L::KEPT], Ah[L::KEPT];
#pragma unroll
    for (int k = 0; k < L::KEPT; ++k) h[k] = own.exists(k) ? state[k] : T(0);
    for (int t = 0; t < AHEAD; ++t) fetch(t);

    for (int t = 0; t < steps; ++t) {
        product(A, exchange.gather(t, h, own), own, Ah);
        await_copies<AHEAD - 1>();
#pragma unroll
        for (int k = 0; k < L::KEPT; ++k) {
            const T u = Ah[k] + *inputs.slot(t, 0, k);  // (F2) (F5)
            T c = tanh_of(u);  // (F3)
            T h_next;
            if constexpr (GATES == 1) {
                h_next = h[k] + step_size * c;  // (F4)
            } else {
                const T u_z = Ah[k] + *inputs.slot(t, 1, k);  // (F6)
                const T z = T(0.5) + T(0.5) * tanh_of(T(0.5) * u_z);  // (F7)
                h_next = h[k] + step_size * z * c;  // (F8)
                if (own.exists(k)) act[t * GATES * step + n + k] = z;
            }
            if (own.exists(k) && t < end) h[k] = h_next;  // padding stays 0, whatever its zero weights make of infinity
            if (own.exists(k)) {
                act[t * GATES * step + k] = c;
                state[(t + 1) * step + k] = h[k];
            }
        }
        fetch(t + AHEAD);
    }
}

// Backward: g (batch, n) is dL/dh after the last step, and becomes dL/dh before the first. acts is the result of forward;
// deltas, of its shape, receives delta (and delta_z); sums (steps, batch, n) receives their sum, for a gated cell only.
// direct (steps, batch, n) or null: the loss's direct derivatives with respect to the states before the steps; all_g, of
// that shape or null, receives the total derivatives.
template <typename T, int GATES, int UNITS, int ROWS, int CLUSTER, int OUTPUTS, int LANES, int HELD>
__global__ void CLUSTER_OF(CLUSTER)
    __launch_bounds__(Layout<T, UNITS, ROWS, CLUSTER, OUTPUTS, LANES, HELD>::THREADS, 1)
    backward(const T* W, int storage, T step_size, T diffusion, int n, int batch, int steps, int first, const int* lengths,
             const T* acts, const T* direct, T* deltas, T* sums, T* g_of_batch, T* all_g) {
    using L = Layout<T, UNITS, ROWS, CLUSTER, OUTPUTS, LANES, HELD>;
    const Place<L> own(n, batch);
    unsigned char* memory = shared_memory();
    const Matrix<L> A_T(own, memory, Recurrent<T>{W, n, storage, diffusion, true});
    Exchange<L> exchange(memory + Matrix<L>::REST_BYTES);
    const Inputs<L, GATES + 1> inputs(memory + Matrix<L>::REST_BYTES + Exchange<L>::BYTES);

    const size_t step = static_cast<size_t>(batch) * n;
    const size_t place = static_cast<size_t>(own.row) * n + own.unit;
    const size_t place_act = static_cast<size_t>(own.row) * GATES * n + own.unit;
    const int end = lengths && own.kept_units > 0 ? lengths[own.row] - first : steps;

    auto fetch = [&](int t) {  // the inputs of step t; the backward pass runs from t = steps - 1 to 0
        for (int array = 0; t >= 0 && array < GATES + 1; ++array) {
            for (int k = 0; k < L::KEPT; ++k) {
                const bool exists = own.exists(k) && (array < GATES || direct);
                const T* from = acts;
                if (exists) {
                    from = array < GATES ? acts + t * GATES * step + place_act + array * n + k
                                         : direct + t * step + place + k;
                }
                copy_async(inputs.slot(t, array, k), from, exists);
            }
        }
        commit_copies();
    };

    T g[L::KEPT], delta_bar[L::KEPT], A_T_delta[L::KEPT];
#pragma unroll
    for (int k = 0; k < L::KEPT; ++k) g[k] = own.exists(k) ? g_of_batch[place + k] : T(0);
    for (int i = 1; i <= AHEAD; ++i) fetch(steps - i);

    for (int t = steps - 1; t >= 0; --t) {
        await_copies<AHEAD - 1>();
#pragma unroll
        for (int k = 0; k < L::KEPT; ++k) {
            // A row that keeps its state passes g on, whatever c is of a state that may be infinite; padding adds nothing
            // to the vector.
            const bool runs = own.exists(k) && t < end;
            const T dh = step_size * g[k], c = *inputs.slot(t, 0, k);
            if constexpr (GATES == 1) {
                delta_bar[k] = runs ? (1 - c * c) * dh : T(0);  // (B1)
                if (own.exists(k)) deltas[t * step + place + k] = delta_bar[k];
            } else {
                const T z = *inputs.slot(t, 1, k);
                const T delta = runs ? z * (1 - c * c) * dh : T(0);  // (B7)
                const T delta_z = runs ? z * (1 - z) * c * dh : T(0);  // (B8)
                delta_bar[k] = delta + delta_z;  // (B9)
                if (own.exists(k)) {
                    deltas[t * GATES * step + place_act + k] = delta;
                    deltas[t * GATES * step + place_act + n + k] = delta_z;
                    sums[t * step + place + k] = delta_bar[k];
                }
            }
        }
        product(A_T, exchange.gather(t, delta_bar, own), own, A_T_delta);
#pragma unroll
        for (int k = 0; k < L::KEPT; ++k) {
            if (t < end) g[k] += A_T_delta[k];  // (B2) (B10)
            g[k] += *inputs.slot(t, GATES, k);  // (B26)
            if (all_g && own.exists(k)) all_g[t * step + place + k] = g[k];
        }
        fetch(t - AHEAD);
    }
#pragma unroll
    for (int k = 0; k < L::KEPT; ++k) {
        if (own.exists(k)) g_of_batch[place + k] = g[k];
    }
}
