// What CUDA C++ has and C++ has not, as far as the kernels use it: threads are turns of a loop.
//
// A kernel runs with this only if its threads never wait for each other: no shared memory, no barriers.

#include <cmath>
#include <tuple>
#include <utility>

#define __global__
#define __device__

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct Place { int x, y, z; };

static thread_local Place gridDim, blockDim, blockIdx, threadIdx;

template <class... Types, size_t... Numbers>
static void call(void (*kernel)(Types...), void** arguments, std::index_sequence<Numbers...>)
{
    kernel(*static_cast<std::remove_reference_t<Types>*>(arguments[Numbers])...);
}

template <class... Types>
static void run(void (*kernel)(Types...), const int* blocks, const int* threads, void** arguments)
{
    gridDim = {blocks[0], blocks[1], blocks[2]};
    blockDim = {threads[0], threads[1], threads[2]};
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)
                for (threadIdx.z = 0; threadIdx.z < blockDim.z; ++threadIdx.z)
                    for (threadIdx.y = 0; threadIdx.y < blockDim.y; ++threadIdx.y)
                        for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x)
                            call(kernel, arguments, std::index_sequence_for<Types...>());
}

// Arguments come as the driver takes them: an array of pointers to each.
#define RUN_ON_HOST(kernel) \
    extern "C" void run_##kernel(const int* blocks, const int* threads, void** arguments) \
    { run(kernel, blocks, threads, arguments); }
