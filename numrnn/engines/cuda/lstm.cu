// The LSTM through all steps of a sequence, in one launch forward and one backward. Tags are those of docs/derivation.md.
// The four gates of a unit, in the order i, f, g, o, are neighbours in every array that has them: W (n, 4, n), acts and
// deltas (steps, batch, n, 4). So one thread has the rows of W of one unit, and a unit's four numbers are one address.
// These kernels have not run on a card yet. All arrays are C-contiguous, time first, and exactly n units wide.

constexpr int GATES = 4;
enum Gate { INPUT, FORGET, CANDIDATE, OUTPUT };

// Forward: 4 n sums of n terms; a group of LANES has those of GROUP units. Backward: n sums of 4 n terms, 2 GROUP for each
// group of twice as many lanes. A thread has as many weights in both, HELD packs of them in registers.
template <typename T, int UNITS, int ROWS, int CLUSTER, int GROUP, int LANES, int HELD>
using Forward = Layout<T, GATES * UNITS, ROWS, CLUSTER, GATES * GROUP, LANES, HELD, UNITS>;
template <typename T, int UNITS, int ROWS, int CLUSTER, int GROUP, int LANES, int HELD>
using Backward = Layout<T, UNITS, ROWS, CLUSTER, 2 * GROUP, 2 * LANES, HELD, GATES * UNITS>;

// The gates of a unit in one vector, side by side.
template <typename T>
struct alignas(16) Quartet {
    T of[GATES];
};

// Give each of the lanes that finish the gates of a unit, `distance` apart from the next, all four. A lane has those from
// `gate` on: all, two or one.
template <typename T>
__device__ inline Quartet<T> exchange_gates(const T (&own)[4], int, int) {
    return {own[0], own[1], own[2], own[3]};
}

template <typename T>
__device__ inline Quartet<T> exchange_gates(const T (&own)[2], int gate, int distance) {
    const T even = __shfl_xor_sync(0xffffffffu, own[0], distance), odd = __shfl_xor_sync(0xffffffffu, own[1], distance);
    return gate < 2 ? Quartet<T>{own[0], own[1], even, odd} : Quartet<T>{even, odd, own[0], own[1]};
}

template <typename T>
__device__ inline Quartet<T> exchange_gates(const T (&own)[1], int gate, int distance) {
    const T beside = __shfl_xor_sync(0xffffffffu, own[0], distance);
    const T pair[2] = {gate % 2 ? beside : own[0], gate % 2 ? own[0] : beside};
    return exchange_gates(pair, gate, 2 * distance);
}

// Forward: states (steps + 1, batch, 2 n) holds [h | c], of which states[0] is given; acts holds V x + b and is
// overwritten with the gates. lengths (batch) or null: a row with fewer steps keeps its state after them. The first step
// of this launch is step number `first` of the sequence.
template <typename T, int UNITS, int ROWS, int CLUSTER, int GROUP, int LANES, int HELD>
__global__ void CLUSTER_OF(CLUSTER)
    __launch_bounds__(Forward<T, UNITS, ROWS, CLUSTER, GROUP, LANES, HELD>::THREADS, 1)
    lstm_forward(const T* W, int n, int batch, int steps, int first, const int* lengths, T* states, T* acts) {
    using L = Forward<T, UNITS, ROWS, CLUSTER, GROUP, LANES, HELD>;
    constexpr int OWN = L::KEPT;  // gates that a lane finishes
    static_assert(OWN <= GATES && OWN * CLUSTER <= GATES, "those of one unit, and a lane sends h to one block");
    const Place<L> own(GATES * n, batch);
    unsigned char* memory = shared_memory();
    const Matrix<L> matrix(own, memory, [=](int i, int j) { return i < GATES * n && j < n ? W[i * n + j] : T(0); });
    const Mailbox<L> box(memory + Matrix<L>::REST_BYTES);
    Prefetch<L, 1> inputs(memory + Matrix<L>::REST_BYTES + Mailbox<L>::BYTES, own);

    const int gate = own.unit % GATES / OWN * OWN, unit = own.unit / GATES;  // its first gate
    T scale[OWN], shift[OWN];
#pragma unroll
    for (int k = 0; k < OWN; ++k) {
        scale[k] = gate + k == CANDIDATE ? T(1) : T(0.5);
        shift[k] = gate + k == CANDIDATE ? T(0) : T(0.5);
    }
    const size_t step = static_cast<size_t>(batch) * n;
    const bool exists = own.exists(0);
    T* state = states + (exists ? static_cast<size_t>(own.row) * 2 * n + unit : 0);
    T* act = acts + (exists ? static_cast<size_t>(own.row) * GATES * n + own.unit : 0);
    const T* coming = act;
    const int end = lengths && exists ? lengths[own.row] - first : steps;

    auto fetch = [&](int round, int t) {
        if (t < steps) {
#pragma unroll
            for (int k = 0; k < OWN; ++k) inputs.fetch(round, 0, k, coming + k, exists);
            coming += GATES * step;
        }
        inputs.close();
    };
    auto send = [&](int round, T h) {  // the lane of gate q sends to block q
        if (own.counts && gate < CLUSTER) box.send(round, own.row_here * UNITS + unit, gate, h);
    };

    T h = exists ? state[0] : T(0), c = exists ? state[n] : T(0), Wh[OWN], activation[OWN];
#pragma unroll
    for (int round = 0; round < AHEAD; ++round) fetch(round, round);
    send(0, h);

    for (int done = 0; done < steps; done += AHEAD) {
#pragma unroll
        for (int round = 0; round < AHEAD; ++round) {
            const int t = done + round;
            if (t == steps) break;
            product(matrix, box.receive(round), own, Wh);
            inputs.template await<AHEAD - 1>();
#pragma unroll
            for (int k = 0; k < OWN; ++k) {
                const T u = Wh[k] + inputs.at(round, 0, k);  // (F12)
                activation[k] = shift[k] + scale[k] * tanh_of(scale[k] * u);  // (F13)
            }
            const Quartet<T> gates = exchange_gates(activation, gate, L::COPIES);
            const T c_next = gates.of[FORGET] * c + gates.of[INPUT] * gates.of[CANDIDATE];  // (F14)
            const T h_next = gates.of[OUTPUT] * tanh_of(c_next);  // (F15)
            if (exists && t < end) {  // padding stays 0, whatever zero weights make of infinity
                h = h_next;
                c = c_next;
            }
            if (t + 1 < steps) send((round + 1) % AHEAD, h);
            state += 2 * step;
            if (exists) {
#pragma unroll
                for (int k = 0; k < OWN; ++k) act[k] = activation[k];
                if (gate == 0) state[0] = h;
                if (gate == OWN % GATES) state[n] = c;
            }
            act += GATES * step;
            fetch(round, t + AHEAD);
        }
    }
}

// Backward: g (batch, 2 n) is dL/d[h | c] after the last step, and becomes that before the first. acts and states are the
// results of forward; deltas receives the derivatives with respect to W h + V x + b. direct (steps, batch, 2 n) or null: the
// loss's direct derivatives with respect to the states before the steps; all_g, of that shape or null, receives the total
// derivatives.
template <typename T, int UNITS, int ROWS, int CLUSTER, int GROUP, int LANES, int HELD>
__global__ void CLUSTER_OF(CLUSTER)
    __launch_bounds__(Backward<T, UNITS, ROWS, CLUSTER, GROUP, LANES, HELD>::THREADS, 1)
    lstm_backward(const T* W, int n, int batch, int steps, int first, const int* lengths, const T* states, const T* acts,
                  const T* direct, T* deltas, T* g_of_batch, T* all_g) {
    using L = Backward<T, UNITS, ROWS, CLUSTER, GROUP, LANES, HELD>;
    static_assert(L::KEPT == 1, "a lane finishes one unit");
    constexpr int MEMORY = GATES, DIRECT_H = GATES + 1, DIRECT_C = GATES + 2;  // inputs after the gates
    const Place<L> own(n, batch);
    unsigned char* memory = shared_memory();
    const Matrix<L> W_T(own, memory, [=](int i, int j) { return i < n && j < GATES * n ? W[j * n + i] : T(0); });
    const Mailbox<L> box(memory + Matrix<L>::REST_BYTES);
    Prefetch<L, GATES + 3> inputs(memory + Matrix<L>::REST_BYTES + Mailbox<L>::BYTES, own);

    const bool exists = own.exists(0);
    const size_t place = exists ? static_cast<size_t>(own.row) * 2 * n + own.unit : 0;
    const size_t place_act = exists ? (static_cast<size_t>(own.row) * n + own.unit) * GATES : 0;
    Backwards<T, 2, GATES> at(batch, n, steps, place, place_act, acts, direct, deltas, all_g);
    const T* coming_state = states + 2 * (steps - 1) * at.step + place;
    const int end = lengths && exists ? lengths[own.row] - first : steps;
    T c = exists ? coming_state[2 * at.step + n] : T(0);
    T g_h = exists ? g_of_batch[place] : T(0), g_c = exists ? g_of_batch[place + n] : T(0), dh[1];

    auto fetch = [&](int round, int s) {  // the inputs of step t = steps - 1 - s
        if (s < steps) {
#pragma unroll
            for (int gate = 0; gate < GATES; ++gate) inputs.fetch(round, gate, 0, at.coming + gate, exists);
            inputs.fetch(round, MEMORY, 0, coming_state + n, exists);
            inputs.fetch(round, DIRECT_H, 0, direct ? at.coming_direct : acts, direct && exists);
            inputs.fetch(round, DIRECT_C, 0, direct ? at.coming_direct + n : acts, direct && exists);
            at.fetched();
            coming_state -= 2 * at.step;
        }
        inputs.close();
    };
#pragma unroll
    for (int round = 0; round < AHEAD - 1; ++round) fetch(round, round);

    for (int done = 0; done < steps; done += AHEAD) {
#pragma unroll
        for (int round = 0; round < AHEAD; ++round) {
            const int s = done + round, t = steps - 1 - s;
            if (s == steps) break;
            inputs.template await<AHEAD - 2>();
            const T i = inputs.at(round, INPUT, 0), f = inputs.at(round, FORGET, 0);
            const T g = inputs.at(round, CANDIDATE, 0), o = inputs.at(round, OUTPUT, 0);
            const T c_before = inputs.at(round, MEMORY, 0), tanh_c = tanh_of(c);
            // A row that keeps its state passes its derivatives on, whatever its gates are; padding adds nothing to the
            // vector.
            const bool active = exists && t < end;
            const T dc = g_c + o * (1 - tanh_c * tanh_c) * g_h;  // (B19)
            Quartet<T> delta{};
            if (active) {
                delta.of[INPUT] = i * (1 - i) * g * dc;  // (B20)
                delta.of[FORGET] = f * (1 - f) * c_before * dc;  // (B21)
                delta.of[CANDIDATE] = (1 - g * g) * i * dc;  // (B22)
                delta.of[OUTPUT] = o * (1 - o) * tanh_c * g_h;  // (B23)
            }
            if (own.counts) {
#pragma unroll
                for (int rank = 0; rank < CLUSTER; ++rank) {
                    box.send(round, (own.row_here * UNITS + own.unit) * GATES, rank, delta);
                }
            }
            if (exists) {
                *reinterpret_cast<Quartet<T>*>(at.delta) = delta;
                if (at.g && s > 0) {
                    at.g[2 * at.step] = g_h;
                    at.g[2 * at.step + n] = g_c;
                }
            }
            at.stored();
            fetch((round + AHEAD - 1) % AHEAD, s + AHEAD - 1);
            product(W_T, box.receive(round), own, dh);
            if (active) {
                g_h = dh[0];  // (B24)
                g_c = f * dc;  // (B24)
            }
            g_h += inputs.at(round, DIRECT_H, 0);  // (B26)
            g_c += inputs.at(round, DIRECT_C, 0);  // (B26)
            c = c_before;
        }
    }
    if (exists) {
        g_of_batch[place] = g_h;
        g_of_batch[place + n] = g_c;
        if (all_g) {
            all_g[place] = g_h;
            all_g[place + n] = g_c;
        }
    }
}
