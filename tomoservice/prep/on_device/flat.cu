// Flat field correction and logarithm: frames as recorded -> sinograms. PIXEL is the type of a recorded pixel.
//
// Every number is computed by one thread. Pixels without information are filled from their neighbours in the
// row, by other kernels that work those neighbours out once more.

#ifndef PIXEL
#define PIXEL unsigned short
#endif

#define LARGEST 3.402823466e38f
// Open beam below this fraction of the first flat is held there.
#define LEAST_OPEN 0.05f

typedef long long Index;

// What makes the open beam, (row, column) each; see the flat field correction of the CPU.
struct Beam {
    const float* dark;
    const float* gain;
    // (part, row, column) and (frame, part), where the beam changes between frames.
    const float* parts;
    const float* weights;
    const float* brightness;
    int count;
};

__device__ inline float transmission(const PIXEL* frames, const Beam& beam, int frame, Index pixel, Index size)
{
    float gain = beam.gain[pixel];
    if (beam.count) {
        const float* weights = beam.weights + (Index)frame * beam.count;
        float open = weights[0] * beam.parts[pixel], least = LEAST_OPEN * beam.parts[pixel];
        for (int k = 1; k < beam.count; ++k)
            open += weights[k] * beam.parts[k * size + pixel];
        gain = 1.0f / (open > least ? open : least);
    }
    return ((float)frames[frame * size + pixel] - beam.dark[pixel]) * (gain * beam.brightness[frame]);
}

// The line integral; the transmission itself where no logarithm is wanted, and `least` is 0.
__device__ inline float result_of(float value, float least)
{
    return least > 0 ? -logf(value > least ? value : least) : value;
}

__device__ inline bool is_number(float value)
{
    return fabsf(value) <= LARGEST;
}

// Correct all pixels as if each had information; note lines (frame, row) with a value that is no number.
extern "C" __global__ void correct_pixels(
    const PIXEL* frames, const float* dark, const float* gain, const float* parts, const float* weights,
    const float* brightness, int count, const unsigned char* lost, const int* places, int rows, int columns,
    int angles, int number, float least, float* sinograms, int* wild)
{
    int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= columns)
        return;
    Beam beam = {dark, gain, parts, weights, brightness, count};
    Index size = (Index)rows * columns;
    for (int frame = blockIdx.z; frame < number; frame += gridDim.z)
        for (int row = blockIdx.y; row < rows; row += gridDim.y) {
            float value = 1;
            if (!lost[row]) {
                value = transmission(frames, beam, frame, (Index)row * columns + column, size);
                if (!is_number(value))
                    wild[(Index)frame * rows + row] = 1;
            }
            sinograms[((Index)row * angles + places[frame]) * columns + column] = result_of(value, least);
        }
}

// Fill pixels without information, listed with their neighbours, from transmissions of those.
extern "C" __global__ void bridge_pixels(
    const PIXEL* frames, const float* dark, const float* gain, const float* parts, const float* weights,
    const float* brightness, int count, const int* pixel_rows, const int* pixel_columns, const int* left,
    const int* right, const float* shares, int bridges, const int* places, int rows, int columns, int angles,
    int number, float least, float* sinograms)
{
    int bridge = blockIdx.x * blockDim.x + threadIdx.x;
    if (bridge >= bridges)
        return;
    Beam beam = {dark, gain, parts, weights, brightness, count};
    Index size = (Index)rows * columns;
    int row = pixel_rows[bridge];
    Index line = (Index)row * columns;
    for (int frame = blockIdx.y; frame < number; frame += gridDim.y) {
        float low = transmission(frames, beam, frame, line + left[bridge], size);
        float high = transmission(frames, beam, frame, line + right[bridge], size);
        float value = low + (high - low) * shares[bridge];
        Index place = ((Index)row * angles + places[frame]) * columns + pixel_columns[bridge];
        sinograms[place] = result_of(value, least);
    }
}

// Fill lines that hold what is no number: one thread for a line, because there are few.
extern "C" __global__ void mend_lines(
    const PIXEL* frames, const float* dark, const float* gain, const float* parts, const float* weights,
    const float* brightness, int count, const unsigned char* bad, const int* wild, const int* places, int rows,
    int columns, int angles, int number, float least, float* sinograms)
{
    Index line = (Index)blockIdx.x * blockDim.x + threadIdx.x;
    if (line >= (Index)rows * number || !wild[line])
        return;
    Beam beam = {dark, gain, parts, weights, brightness, count};
    Index size = (Index)rows * columns;
    int frame = (int)(line / rows), row = (int)(line % rows);
    Index first = (Index)row * columns;
    float* target = sinograms + ((Index)row * angles + places[frame]) * columns;
    int before = -1;
    float low = 1;
    for (int column = 0; column <= columns; ++column) {
        float value = 1;
        if (column < columns) {
            value = transmission(frames, beam, frame, first + column, size);
            if (bad[first + column] || !is_number(value))
                continue;
            target[column] = result_of(value, least);
        }
        bool end = column == columns;
        float high = end ? low : value;
        for (int hole = before + 1; hole < column; ++hole) {
            float share = (float)(hole - before) / (float)(column - before);
            float filled = before < 0 ? high : low + (high - low) * share;
            target[hole] = result_of(filled, least);
        }
        before = column;
        low = value;
    }
}
