// The functions of CUDA and of numrnn/engines/cuda/device.cuh, on the fibers of standin.h, which this text follows.

#define threadIdx (standin::current->thread)
#define blockIdx (standin::current->block)

inline void __syncthreads() { standin::meet(standin::current->own_block->meeting); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int distance) {
    return standin::shuffle_xor(value, distance);
}

inline unsigned char* shared_memory() { return standin::current->own_block->memory.data(); }

template <typename T>
void store_to_block(T* own, int rank, T value) {
    const size_t offset = reinterpret_cast<unsigned char*>(own) - shared_memory();
    standin::Block& block = standin::cluster->blocks[rank];
    standin::written_too_late |= block.waiting + block.inside == 0;
    memcpy(block.memory.data() + offset, &value, sizeof(T));
}

inline void cluster_barrier() { standin::meet(standin::cluster->meeting); }

using Arrivals = uint64_t;

inline void create_arrivals(Arrivals* counter) { standin::cluster->counters[counter] = standin::Counter(); }

inline void publish_arrivals() {}

inline void expect_bytes(Arrivals* counter, int bytes) {
    const auto found = standin::cluster->counters.find(counter);
    if (found == standin::cluster->counters.end() || found->second.pending == 0) {
        standin::misused = true;
        return;
    }
    --found->second.pending;
    found->second.bytes += bytes;
    standin::end_phase(found->second);
}

inline void await_bytes(Arrivals* counter, int parity) {
    standin::Fiber* fiber = standin::current;
    standin::Counter& awaited = standin::cluster->counters[counter];
    if (awaited.ended % 2 != parity) return;
    fiber->counter = &awaited;
    fiber->parity = parity;
    if (!_setjmp(fiber->place)) _longjmp(standin::scheduler, 1);
}

template <typename T, typename V>
void send_to_block(T* own, int rank, V value, Arrivals* counter) {
    standin::Block& block = standin::cluster->blocks[rank];
    auto there = [&](void* here) { return block.memory.data() + (static_cast<unsigned char*>(here) - shared_memory()); };
    standin::Message message{&block, there(own), {}, sizeof(V), &standin::cluster->counters[there(counter)]};
    memcpy(message.value, &value, sizeof(V));
    standin::cluster->messages.push_back(message);
}

template <typename T>
void copy_async(T* to, const T* from, bool exists) {
    const standin::Copy copy{to, exists ? from : nullptr, sizeof(T)};
    if (standin::draw_order() % 2) {
        copy.land();
    } else {
        standin::current->groups.back().push_back(copy);
    }
}

inline void commit_copies() { standin::current->groups.emplace_back(); }

template <int younger>
void await_copies() {
    auto& groups = standin::current->groups;
    while (groups.size() > younger + 1) {
        for (const standin::Copy& copy : groups.front()) copy.land();
        groups.pop_front();
    }
}
