// Stands in for CUDA, so that g++ compiles the kernels and a CPU runs them: the threads of a cluster are fibers, and every
// barrier and every shuffle hands over to the next one. Takes the place of numrnn/engines/cuda/device.cuh.
//
// It is made to show races. Between two barriers a fiber runs as far as it can before another one starts; their order is
// drawn anew all the time, and at every barrier the warps that stand still until no other can go on. Shared memory becomes
// NaN when its block starts: what another block wrote there before is lost, and what lies behind it must not change. So is
// the stack of a thread at first, so that an array that is never cleared shows. A block that has ended can be written to no
// more. An asynchronous copy happens at a random time, by chance at once and by chance when it is waited for; it reads its
// source then. Messages between blocks arrive at a random time, in a random order.

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#define __device__
#define __global__
#define __launch_bounds__(...)
#define CLUSTER_OF(blocks)

namespace standin {

constexpr size_t STACK_BYTES = 64 * 1024, GUARD_BYTES = 4096;
constexpr size_t FILLED_BYTES = 16 * 1024;  // of a stack, from its end, where the frames of a kernel are
constexpr int LANES_OF_WARP = 32;

struct Index {
    int x;
};

struct Copy {
    void* to;
    const void* from;  // null for zeros
    size_t bytes;

    void land() const { from ? (void)memcpy(to, from, bytes) : (void)memset(to, 0, bytes); }
};

struct Meeting {  // of the threads that a barrier waits for
    int wanted = 0, arrived = 0, round = 0;
};

struct Block {
    std::vector<unsigned char> memory;
    int waiting = 0, inside = 0;  // threads that have not started, and those that have and have not ended
    Meeting meeting;
};

struct Counter {  // of arrivals: its phase ends when one thread has said what to expect, and as many bytes have arrived
    int pending = 1, bytes = 0, ended = 0;
};

struct Message {
    Block* block;
    unsigned char* to;
    unsigned char value[32];
    int bytes;
    Counter* counter;
};

struct Warp {
    Meeting meeting;
    uint64_t given[2][LANES_OF_WARP];  // two rounds: a fast lane may give for the next one while slow ones read
};

struct Fiber {
    Index thread, block;
    Block* own_block;
    Warp* warp;
    std::deque<std::vector<Copy>> groups;  // the last one is open
    Meeting* waits_for = nullptr;
    int round = 0;
    Counter* counter = nullptr;  // whose phase of this parity it waits for
    int parity = 0;
    bool ended = false, begun = false;
    jmp_buf place;
    ucontext_t start;
    std::unique_ptr<unsigned char[]> stack;  // most of its pages are never touched
};

struct Cluster {
    std::vector<Fiber> fibers;
    std::vector<Block> blocks;
    std::vector<Warp> warps;
    Meeting meeting;
    std::map<void*, Counter> counters;  // by address in a block's memory
    std::vector<Message> messages;      // that have not arrived
};

inline Cluster* cluster;
inline Fiber* current;
inline std::mt19937 draw_order;
inline unsigned held_back;  // a bit for each warp that stands still until no other can go on
inline jmp_buf scheduler;
inline ucontext_t scheduler_context;
inline std::function<void()> run_kernel;

inline bool written_too_late;  // into the memory of a block that had ended
inline bool misused;           // a counter of arrivals that expects nothing

// A thread in its block: the first one finds the memory as it may be on a device.
struct Presence {
    Block& block = *current->own_block;

    Presence() {
        if (block.inside++ == 0 && block.waiting == static_cast<int>(block.meeting.wanted)) {
            std::fill(block.memory.begin(), block.memory.end() - GUARD_BYTES, 0xff);
        }
        --block.waiting;
    }
    ~Presence() { --block.inside; }
};

// Let one of this thread's copies happen, or none.
inline void land_by_chance(unsigned chance) {
    auto& groups = current->groups;
    if (groups.size() < 2 && groups.back().empty()) return;
    if (draw_order() % chance) return;
    auto& group = groups[draw_order() % groups.size()];
    if (group.empty()) return;
    std::swap(group[draw_order() % group.size()], group.back());
    group.back().land();
    group.pop_back();
}

inline bool met(const Fiber& fiber) {
    if (fiber.counter) return fiber.counter->ended % 2 != fiber.parity;  // two phases later it would miss it, as on a device
    return !fiber.waits_for || fiber.waits_for->round != fiber.round;
}

inline void end_phase(Counter& counter) {
    if (counter.pending > 0 || counter.bytes != 0) return;
    ++counter.ended;
    counter.pending = 1;
}

// Let one of the messages arrive.
inline void deliver(size_t index) {
    std::swap(cluster->messages[index], cluster->messages.back());
    const Message message = cluster->messages.back();
    cluster->messages.pop_back();
    written_too_late |= message.block->waiting + message.block->inside == 0;
    memcpy(message.to, message.value, message.bytes);
    message.counter->bytes -= message.bytes;
    end_phase(*message.counter);
}

inline void meet(Meeting& meeting) {
    land_by_chance(8);
    if (++meeting.arrived == meeting.wanted) {
        meeting.arrived = 0;
        ++meeting.round;
        if (meeting.wanted > LANES_OF_WARP) held_back = draw_order();
        return;
    }
    current->waits_for = &meeting;
    current->round = meeting.round;
    if (!_setjmp(current->place)) _longjmp(scheduler, 1);
}

inline void enter() {
    { Presence here; run_kernel(); }
    current->ended = true;
    _longjmp(scheduler, 1);
}

inline void resume(Fiber& fiber) {
    current = &fiber;
    fiber.waits_for = nullptr;
    fiber.counter = nullptr;
    if (_setjmp(scheduler)) return;
    if (fiber.begun) _longjmp(fiber.place, 1);
    fiber.begun = true;
    swapcontext(&scheduler_context, &fiber.start);
}

// Run all fibers of a cluster to their end, in rounds of a random order. Returns false if none can go on.
inline bool run_cluster() {
    std::vector<Fiber*> order;
    for (Fiber& fiber : cluster->fibers) order.push_back(&fiber);
    held_back = 0;
    for (size_t alive = order.size(); alive > 0;) {
        // A shuffle of whole fibers costs more than their work: turn the order by a random amount, and at times about.
        std::rotate(order.begin(), order.begin() + draw_order() % order.size(), order.end());
        if (draw_order() % 2) std::reverse(order.begin(), order.end());
        bool progress = false;
        const unsigned post = draw_order() % 3;  // in this round no message arrives, or few do, or many
        for (Fiber* fiber : order) {
            unsigned arriving = cluster->messages.empty() ? 0 : draw_order() % 8 * post;
            for (; arriving > 0 && !cluster->messages.empty(); --arriving) {
                deliver(draw_order() % cluster->messages.size());
            }
            const size_t warp = fiber->warp - cluster->warps.data();
            if (fiber->ended || !met(*fiber) || held_back >> warp % 32 & 1) continue;
            resume(*fiber);
            progress = true;
            alive -= fiber->ended;
        }
        if (progress) continue;
        if (held_back == 0 && cluster->messages.empty()) return false;
        if (held_back == 0) deliver(draw_order() % cluster->messages.size());
        held_back = 0;
    }
    return true;
}

enum Failure { NONE, DEADLOCK, MEMORY_OVERRUN, WRITTEN_TOO_LATE, COUNTER_MISUSED };

inline int launch(int blocks, int threads, int blocks_of_cluster, size_t shared_bytes, unsigned seed,
                  std::function<void()> kernel) {
    run_kernel = kernel;
    draw_order.seed(seed);
    written_too_late = misused = false;
    Cluster all;
    cluster = &all;
    all.fibers.resize(threads * blocks_of_cluster);
    for (Fiber& fiber : all.fibers) {
        fiber.stack.reset(new unsigned char[STACK_BYTES]);
        memset(fiber.stack.get() + STACK_BYTES - FILLED_BYTES, 0xff, FILLED_BYTES);
    }
    for (int first = 0; first < blocks; first += blocks_of_cluster) {
        all.blocks.assign(blocks_of_cluster, Block());
        all.warps.assign(all.fibers.size() / LANES_OF_WARP, Warp());
        all.meeting = Meeting{static_cast<int>(all.fibers.size())};
        all.counters.clear();
        all.messages.clear();
        for (Block& block : all.blocks) {
            block.memory.assign(shared_bytes + GUARD_BYTES, 0xff);  // NaN in both precisions
            block.waiting = threads;
            block.meeting.wanted = threads;
        }
        for (Warp& warp : all.warps) warp.meeting.wanted = LANES_OF_WARP;
        for (size_t i = 0; i < all.fibers.size(); ++i) {
            Fiber& fiber = all.fibers[i];
            const int block = i / threads;
            fiber.thread.x = i % threads;
            fiber.block.x = first + block;
            fiber.own_block = &all.blocks[block];
            fiber.warp = &all.warps[i / LANES_OF_WARP];
            fiber.groups.assign(1, {});
            fiber.waits_for = nullptr;
            fiber.counter = nullptr;
            fiber.ended = fiber.begun = false;
            getcontext(&fiber.start);
            fiber.start.uc_stack.ss_sp = fiber.stack.get();
            fiber.start.uc_stack.ss_size = STACK_BYTES;
            fiber.start.uc_link = nullptr;
            makecontext(&fiber.start, enter, 0);
        }
        const bool finished = run_cluster();
        if (misused) return COUNTER_MISUSED;
        if (!finished) return DEADLOCK;
        if (written_too_late || !all.messages.empty()) return WRITTEN_TOO_LATE;
        for (Block& block : all.blocks) {
            for (size_t i = shared_bytes; i < block.memory.size(); ++i) {
                if (block.memory[i] != 0xff) return MEMORY_OVERRUN;
            }
        }
    }
    return NONE;
}

// Call a kernel with arguments that are given by their addresses, as the driver does.
template <typename... A, size_t... I>
int call(void (*kernel)(A...), std::index_sequence<I...>, int blocks, int threads, int blocks_of_cluster, size_t shared_bytes,
         unsigned seed, void** arguments) {
    return launch(blocks, threads, blocks_of_cluster, shared_bytes, seed,
                  [=] { kernel(*static_cast<std::remove_reference_t<A>*>(arguments[I])...); });
}

template <typename... A>
int call(void (*kernel)(A...), int blocks, int threads, int blocks_of_cluster, size_t shared_bytes, unsigned seed,
         void** arguments) {
    return call(kernel, std::index_sequence_for<A...>(), blocks, threads, blocks_of_cluster, shared_bytes, seed, arguments);
}

template <typename T>
T shuffle_xor(T value, int distance) {
    static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves one number");
    const int lane = current->thread.x % LANES_OF_WARP;
    uint64_t* given = current->warp->given[current->warp->meeting.round % 2];
    memcpy(&given[lane], &value, sizeof(T));
    meet(current->warp->meeting);
    memcpy(&value, &given[lane ^ distance], sizeof(T));
    return value;
}

}  // namespace standin
