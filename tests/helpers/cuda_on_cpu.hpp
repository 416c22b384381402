// CUDA's words for an ordinary C++ compiler: the threads of a block as coroutines, which change places at barriers only.
//
// A thread runs until it waits. Which one runs next is an order that the caller chooses: numbers that are read without a
// barrier behind them are then those of before, in one order or in the other. Shared memory begins as NaN; the words
// behind it are watched. Barriers that not all threads reach, or in different lines, are errors.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>
#include <ucontext.h>

#define __global__
#define __device__
#define __shared__
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(n)
#define __syncthreads() emulated::wait(emulated::BLOCK, __LINE__)
#define __syncwarp() emulated::wait(emulated::OF_WARP, __LINE__)
#define __shfl_xor_sync(mask, x, step) emulated::exchanged(x, step, __LINE__)

struct Place {
    unsigned x = 0;
};
static Place threadIdx, blockIdx, blockDim;
alignas(16) double shared[1 << 15];  // 256 KiB

// volatile: no compiler may fuse what CUDA promises to round
static inline double __dadd_rn(double a, double b) { volatile double r = a + b; return r; }
static inline double __dmul_rn(double a, double b) { volatile double r = a * b; return r; }
static inline double __ddiv_rn(double a, double b) { volatile double r = a / b; return r; }
static inline double __dsqrt_rn(double a) { return std::sqrt(a); }
static inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
using std::fma;
using std::hypot;
using std::sqrt;

namespace emulated {
enum State { READY, BLOCK, OF_WARP, DONE };
enum Error { FINE, DIVERGENT, WRITTEN_BEHIND };
const int STACK = 1 << 17;

struct Thread {
    ucontext_t context;
    std::vector<char> stack;
    State state;
    int line;
    uint64_t sent;
};
static std::vector<Thread> threads;
static ucontext_t scheduler;
static unsigned current;
static void (*body)();

static void wait(State what, int line) {
    threads[current].state = what;
    threads[current].line = line;
    const unsigned me = current;
    swapcontext(&threads[me].context, &scheduler);
}

template <typename T> static T exchanged(T x, int step, int line) {
    const unsigned me = current;
    memcpy(&threads[me].sent, &x, sizeof(T));
    wait(OF_WARP, line);
    T made;
    memcpy(&made, &threads[me ^ step].sent, sizeof(T));
    wait(OF_WARP, line);
    return made;
}

static void enter() {
    body();
    threads[current].state = DONE;
    swapcontext(&threads[current].context, &scheduler);
}

// Let threads go on that have all reached one barrier; return whether there were any.
static bool release(State what, unsigned first, unsigned count) {
    for (unsigned t = first; t < first + count; ++t)
        if (threads[t].state != what || threads[t].line != threads[first].line) return false;
    for (unsigned t = first; t < first + count; ++t) threads[t].state = READY;
    return true;
}

// Put numbers in an order: 0 is ascending, 1 descending, others are shuffled anew at every call.
static void arrange(std::vector<unsigned>& turn, unsigned order) {
    static uint32_t random = 2463534242u;
    const unsigned count = turn.size();
    for (unsigned t = 0; t < count; ++t) turn[t] = order == 1 ? count - 1 - t : t;
    for (unsigned t = count - 1; order > 1 && t > 0; --t) {
        random ^= random << 13, random ^= random >> 17, random ^= random << 5;
        std::swap(turn[t], turn[random % (t + 1)]);
    }
}

// Run a block, one warp after the other, each as far as it comes without the others.
static Error run(unsigned count, unsigned order) {
    std::vector<unsigned> warps(count / 32), lanes(32);
    while (true) {
        arrange(warps, order);
        for (unsigned w : warps) do {
                arrange(lanes, order);
                for (unsigned lane : lanes) {
                    const unsigned t = 32 * w + lane;
                    if (threads[t].state != READY) continue;
                    current = threadIdx.x = t;
                    swapcontext(&scheduler, &threads[t].context);
                }
            } while (release(OF_WARP, 32 * w, 32));
        if (release(BLOCK, 0, count)) continue;
        for (unsigned t = 0; t < count; ++t)
            if (threads[t].state != DONE) return DIVERGENT;
        return FINE;
    }
}

template <typename... A, size_t... I>
static Error launch(void (*kernel)(A...), void** given, unsigned blocks, unsigned count, size_t bytes, unsigned order,
                    std::index_sequence<I...>) {
    static std::tuple<std::decay_t<A>...> arguments;
    static void (*of)(A...);
    of = kernel;
    arguments = std::make_tuple(*static_cast<std::remove_cv_t<std::decay_t<A>>*>(given[I])...);
    body = [] { std::apply(of, arguments); };
    threads.resize(count);
    blockDim.x = count;
    for (unsigned b = 0; b < blocks; ++b) {
        blockIdx.x = order == 1 ? blocks - 1 - b : b;
        memset(shared, 0xff, sizeof shared);  // NaN
        for (Thread& thread : threads) {
            thread.stack.resize(STACK);
            getcontext(&thread.context);
            thread.context.uc_stack.ss_sp = thread.stack.data();
            thread.context.uc_stack.ss_size = STACK;
            thread.context.uc_link = nullptr;
            makecontext(&thread.context, enter, 0);
            thread.state = READY;
        }
        const Error error = run(count, order);
        if (error) return error;
        const char* end = reinterpret_cast<const char*>(shared) + sizeof shared;
        for (const char* at = reinterpret_cast<const char*>(shared) + bytes; at < end; ++at)
            if (*at != '\xff') return WRITTEN_BEHIND;
    }
    return FINE;
}

template <typename... A>
static Error launch(void (*kernel)(A...), void** given, unsigned blocks, unsigned count, size_t bytes, unsigned order) {
    return launch(kernel, given, blocks, count, bytes, order, std::index_sequence_for<A...>{});
}
}  // namespace emulated
