// Sorted sinograms: medians across columns, and every value back to its angle.

typedef long long Index;

// The bits of a number, so changed that they order as numbers do.
__device__ inline unsigned int ordered(unsigned int bits)
{
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// Take medians over windows of `size` columns at each rank; of an even size the upper of the two middle ones.
// `values` and `out` are (column, rank) and hold the bits of numbers, none of them NaN; `path` lists the
// columns that the window meets, those mirrored at the ends included.
//
// The median's bits are found from the first to the last: in each step, the values of the window that agree so
// far are counted by their next bit. That takes no memory, whatever the window.
extern "C" __global__ void running_medians(
    const unsigned int* values, const int* path, int columns, int ranks, int size, unsigned int* out)
{
    int rank = blockIdx.x * blockDim.x + threadIdx.x;
    if (rank >= ranks)
        return;
    for (int column = blockIdx.y; column < columns; column += gridDim.y) {
        const int* window = path + column;
        unsigned int found = 0;
        int below = size / 2;
        for (int bit = 31; bit >= 0; --bit) {
            int count = 0;
            for (int k = 0; k < size; ++k)
                count += ordered(values[(Index)window[k] * ranks + rank]) >> bit == found >> bit;
            if (below >= count) {
                below -= count;
                found |= 1u << bit;
            }
        }
        out[(Index)column * ranks + rank] = found & 0x80000000u ? found & 0x7fffffffu : ~found;
    }
}

// Put each value (column, rank) back at its angle: `out` is (angle, column).
extern "C" __global__ void unsort_columns(
    const float* values, const Index* order, int columns, int ranks, float* out)
{
    int rank = blockIdx.x * blockDim.x + threadIdx.x;
    if (rank >= ranks)
        return;
    for (int column = blockIdx.y; column < columns; column += gridDim.y) {
        Index place = (Index)column * ranks + rank;
        out[order[place] * columns + column] = values[place];
    }
}
