// Fourier filtered back-projection of PAIRS pairs of slices at once; see the package's docstring.
//
// A pair of slices shares complex numbers: one is the real part, the other the imaginary part. Every number of
// a result is computed by one thread, and its terms are added in an order that depends on the geometry alone:
// no atomic operations, no shared memory, no barriers. So the bits depend neither on PAIRS nor on how threads
// are scheduled. No header is needed, and nothing but what C++ has, too, save the built-in variables.

#ifndef PAIRS
#define PAIRS 8
#endif

#define LANES 16
#define HALF_LANES (LANES / 2)
#define WIDTH 4
#define HALF_WIDTH 2.0
#define TABLE_LENGTH 2048
#define PHASE_BLOCK 64
// Half the diagonal of the square that a sample is spread over, and a little more.
#define DIAGONAL 2.8285f

typedef long long Index;

__device__ inline float2 times(float2 a, float2 b)
{
    float2 product;
    product.x = a.x * b.x - a.y * b.y;
    product.y = a.x * b.y + a.y * b.x;
    return product;
}

__device__ inline float2 plus(float2 a, float2 b)
{
    float2 sum;
    sum.x = a.x + b.x;
    sum.y = a.y + b.y;
    return sum;
}

// One number of a sinogram, weighted; 0 where the slice is absent. What is not finite, or too large, is noted.
__device__ inline float measured(
    const float* sinograms, Index place, int lane, int column, const float* weights, float largest, int* bad)
{
    float value = sinograms[place];
    if (!(value <= largest && value >= -largest))
        *bad = 1;
    return weights ? value * weights[column * LANES + lane] : value;
}

// Sinograms (part, pair, angle, column) -> complex projections (pair, angle, sample), zeros behind them, and
// the first and last number of each, (pair, angle, 2). `present` has a bit for each slice, `bad` a number for
// each row, `first_row` is that of lane 0. `weights` (column, lane) may be missing.
extern "C" __global__ void pack_projections(
    const float* sinograms, const float* weights, int present, int first_pair, int first_row, int angles,
    int columns, int samples, float largest, float2* padded, float2* edges, int* bad)
{
    int sample = blockIdx.x * blockDim.x + threadIdx.x;
    int pair = blockIdx.z;
    if (sample >= samples)
        return;
    for (int angle = blockIdx.y; angle < angles; angle += gridDim.y) {
        float part[2] = {0, 0};
        for (int k = 0; k < 2 && sample < columns; ++k) {
            int lane = first_pair + pair + k * HALF_LANES;
            if (!(present >> (k * PAIRS + pair) & 1))
                continue;
            Index place = ((Index)(k * PAIRS + pair) * angles + angle) * columns + sample;
            part[k] = measured(sinograms, place, lane, sample, weights, largest, bad + first_row + lane);
        }
        float2 value;
        value.x = part[0];
        value.y = part[1];
        Index line = (Index)pair * angles + angle;
        padded[line * samples + sample] = value;
        if (sample == 0)
            edges[2 * line] = value;
        if (sample == columns - 1)
            edges[2 * line + 1] = value;
    }
}

// The weight of an angle times what puts pixels to whole places, at one frequency.
__device__ inline float2 phase_at(const float2* coarse, const float* fine, int blocks, int angle, int place)
{
    int within = place % PHASE_BLOCK;
    float2 small;
    small.x = fine[(2 * angle) * PHASE_BLOCK + within];
    small.y = fine[(2 * angle + 1) * PHASE_BLOCK + within];
    return times(coarse[(Index)angle * blocks + place / PHASE_BLOCK], small);
}

// A projection's spectrum at one frequency, and with it what stands beside the detector.
__device__ inline float2 with_edges(
    const float2* spectrum, const float2* edges, const float2* terms, int samples, int place)
{
    float2 value = spectrum[(place + samples / 2) % samples];
    if (!terms)
        return value;
    const float2* term = terms + 3 * place;
    float2 beside = plus(times(edges[0], term[1]), times(edges[1], term[2]));
    return plus(times(value, term[0]), beside);
}

// Spectra (pair, angle, frequency), 0 first -> polar samples (angle, frequency, pair), 0 in the middle.
// `response` (frequency) is the filter's; `terms` (frequency, 3), those of a projection and its continuation
// on either side, and `shifts` (frequency, 2, lane), half sum and half difference of the factors of both
// slices of a pair, may be missing.
extern "C" __global__ void respond(
    const float2* spectra, const float2* edges, const float2* coarse, const float* fine, const float2* response,
    const float2* terms, const float* shifts, int first_pair, int angles, int samples, float2* polar)
{
    int number = blockIdx.x * blockDim.x + threadIdx.x;
    int place = number / PAIRS, pair = number % PAIRS;
    if (place >= samples)
        return;
    int blocks = (samples + PHASE_BLOCK - 1) / PHASE_BLOCK;
    for (int angle = blockIdx.y; angle < angles; angle += gridDim.y) {
        Index line = (Index)pair * angles + angle;
        const float2* spectrum = spectra + line * samples;
        float2 value = with_edges(spectrum, edges + 2 * line, terms, samples, place);
        if (shifts) {
            // From a frequency and its opposite, the spectra of real and imaginary part are known apart.
            float2 other = with_edges(spectrum, edges + 2 * line, terms, samples, (samples - place) % samples);
            const float* factors = shifts + 2 * LANES * place + first_pair + pair;
            float2 total, difference;
            total.x = factors[0];
            total.y = factors[HALF_LANES];
            difference.x = factors[LANES];
            difference.y = factors[LANES + HALF_LANES];
            other.y = -other.y;
            value = plus(times(value, total), times(other, difference));
        }
        float2 factor = times(phase_at(coarse, fine, blocks, angle, place), response[place]);
        polar[((Index)angle * samples + place) * PAIRS + pair] = times(value, factor);
    }
}

// Where the samples of each projection lie: on a line through the middle of the fine grid. Lines are sorted by
// their direction, and looked up by it.
struct Lines {
    // Per line: cells from one sample to the next along a row and from row to row, 1 over the larger of them.
    const double* along;
    const double* across;
    const double* inverse;
    // Per line: the direction, and the angle's number.
    const float2* direction;
    const int* angle;
    // First line of each part of half a turn, and of the one behind the last.
    const int* first;
    int count;
    int parts;
};

// Range of the lines that may pass a cell, as the first and how many; one that passes is never left out.
__device__ inline int lines_near(const Lines& lines, float x, float y, int* start)
{
    *start = 0;
    float radius = sqrtf(x * x + y * y);
    if (radius < 4.0f)
        return lines.count;
    float per_radian = lines.parts / 3.14159265f;
    float spread = asinf(DIAGONAL / radius) + 1e-5f, middle = atan2f(y, x);
    int low = (int)floorf((middle - spread) * per_radian), high = (int)floorf((middle + spread) * per_radian);
    if (high - low >= lines.parts - 1)
        return lines.count;
    low = (low % lines.parts + lines.parts) % lines.parts;
    high = (high % lines.parts + lines.parts) % lines.parts;
    *start = lines.first[low];
    int count = lines.first[high + 1] - *start;
    return high < low ? count + lines.count : count;
}

__device__ inline void add_sample(const float2* sample, float weight, float* sums)
{
#if PAIRS > 1
    const float4* both = (const float4*)sample;
#pragma unroll
    for (int k = 0; k < PAIRS / 2; ++k) {
        float4 value = both[k];
        sums[4 * k] = fmaf(weight, value.x, sums[4 * k]);
        sums[4 * k + 1] = fmaf(weight, value.y, sums[4 * k + 1]);
        sums[4 * k + 2] = fmaf(weight, value.z, sums[4 * k + 2]);
        sums[4 * k + 3] = fmaf(weight, value.w, sums[4 * k + 3]);
    }
#else
    sums[0] = fmaf(weight, sample->x, sums[0]);
    sums[1] = fmaf(weight, sample->y, sums[1]);
#endif
}

// Add to `sums` what the samples of one line give to the cell (x, y), counted from the middle.
__device__ inline void gather_line(
    const Lines& lines, int line, int x, int y, int reach, const float* table, const float2* middle, float* sums)
{
    float2 direction = lines.direction[line];
    float apart = fabsf(x * direction.y - y * direction.x);
    if (apart > 2.0f * (fabsf(direction.x) + fabsf(direction.y)) + 0.01f)
        return;
    double along = lines.along[line], across = lines.across[line], inverse = lines.inverse[line];
    double place = fabsf(direction.y) > fabsf(direction.x) ? y : x;
    double one = (place - HALF_WIDTH) * inverse, other = (place + HALF_WIDTH) * inverse;
    double low = one < other ? one : other, high = one < other ? other : one;
    int first = (int)ceil(low - 1e-6), last = (int)floor(high + 1e-6);
    first = first < -reach ? -reach : first;
    last = last > reach ? reach : last;
    for (int k = first; k <= last; ++k) {
        double edge = k * across - HALF_WIDTH, side = k * along - HALF_WIDTH;
        int row = (int)ceil(edge), column = (int)ceil(side);
        int down = y - row, right = x - column;
        if (down < 0 || down >= WIDTH || right < 0 || right >= WIDTH)
            continue;
        int at_row = (int)((row - edge) * TABLE_LENGTH + 0.5);
        int at_column = (int)((column - side) * TABLE_LENGTH + 0.5);
        float weight = table[WIDTH * at_row + down] * table[WIDTH * at_column + right];
        add_sample(middle + (Index)k * PAIRS, weight, sums);
    }
}

// Polar samples (angle, frequency, pair) -> fine grid (pair, row, column), frequency 0 in its middle. The grid
// is cyclic: a cell near its edge also gets what is spread over the opposite edge.
extern "C" __global__ void gather_cells(
    const float2* polar, const double* along, const double* across, const double* inverse,
    const float2* direction, const int* angle, const int* first, int count, int parts, const float* table,
    int samples, int reach, int length, float2* grid)
{
    int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    if (column >= length || row >= length)
        return;
    Lines lines = {along, across, inverse, direction, angle, first, count, parts};
    int half = length / 2, limit = half + WIDTH / 2;
    float sums[2 * PAIRS] = {0};
    for (int y = row - half - length; y <= limit; y += length) {
        if (y < -limit)
            continue;
        for (int x = column - half - length; x <= limit; x += length) {
            if (x < -limit)
                continue;
            int start;
            int near = lines_near(lines, (float)x, (float)y, &start);
            for (int k = 0; k < near; ++k) {
                int line = start + k < count ? start + k : start + k - count;
                const float2* middle = polar + ((Index)angle[line] * samples + samples / 2) * PAIRS;
                gather_line(lines, line, x, y, reach, table, middle, sums);
            }
        }
    }
    for (int pair = 0; pair < PAIRS; ++pair) {
        float2 value;
        value.x = sums[2 * pair];
        value.y = sums[2 * pair + 1];
        grid[((Index)pair * length + row) * length + column] = value;
    }
}

// Transformed fine grid (pair, row, column) -> slices (part, pair, row, column): the part around pixel 0, which
// stands at the corners, times the correction for the spreading. `limits` (column, 2): what is wanted of each.
extern "C" __global__ void make_slices(
    const float2* grid, const float* correction, const int* limits, int present, int size, int length,
    float* slices)
{
    int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    int pair = blockIdx.z;
    if (column >= size || row >= size)
        return;
    float2 value = {0, 0};
    if (row >= limits[2 * column] && row < limits[2 * column + 1]) {
        int from_row = (row - size / 2 + length) % length, from_column = (column - size / 2 + length) % length;
        float factor = correction[row] * correction[column];
        value = grid[((Index)pair * length + from_row) * length + from_column];
        value.x *= factor;
        value.y *= factor;
    }
    for (int k = 0; k < 2; ++k)
        if (present >> (k * PAIRS + pair) & 1)
            slices[((Index)(k * PAIRS + pair) * size + row) * size + column] = k ? value.y : value.x;
}
