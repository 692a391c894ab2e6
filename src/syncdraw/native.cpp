// What takes most of a training step on a CPU, for many small images at once: Gaussian filters, what is read and written
// through them, and L_X; each with its gradient.
//
// native.py builds this file and calls it; attention.py and model.py have the same in PyTorch, which is the reference.
// A library's matrix products are made for large matrices. These have 10 x 64 x 64 numbers, and stay in a core's first
// cache.
//
// All arrays are contiguous float32: images [count, each, height, width], patches [count, each, grid, grid], row filters
// [count, grid, height], column filters [count, grid, width]. `each` images share a pair of filters.

#include <cmath>
#include <cstring>
#include <vector>
#if defined(__AVX__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#else
#define LANES 8
#endif
#define INLINE static inline __attribute__((always_inline))

// As many numbers as the processor takes at once, anywhere in memory.
typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int Bits __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));

INLINE Lanes load(const float *from) { return *(const Lanes *)from; }
INLINE void store(float *to, Lanes value) { *(Lanes *)to = value; }
INLINE Lanes all(float value) { return value - Lanes{}; }

// The last vector of a row may have fewer numbers than others; zeros stand in for those behind its end.
INLINE Lanes load_some(const float *from, int some) {
    if (some >= LANES) return load(from);
    Lanes value{};
    memcpy(&value, from, sizeof(float) * some);
    return value;
}
INLINE void store_some(float *to, Lanes value, int some) {
    if (some >= LANES) store(to, value);
    else memcpy(to, &value, sizeof(float) * some);
}

// To what is not read again soon, past the caches: else each line would be fetched first. `to` is on a whole vector.
INLINE void store_away(float *to, Lanes value) {
#if defined(__AVX512F__)
    _mm512_stream_ps(to, (__m512)value);
#elif defined(__AVX__)
    _mm256_stream_ps(to, (__m256)value);
#else
    store(to, value);
#endif
}

// first, first + 1, ...
INLINE Lanes counted(float first) {
    Lanes numbers;
    for (int lane = 0; lane < LANES; lane++) numbers[lane] = first + lane;
    return numbers;
}

INLINE float across(Lanes value) {
    float part[LANES];
    store(part, value);
    for (int half = LANES / 2; half; half /= 2)
        for (int lane = 0; lane < half; lane++) part[lane] += part[lane + half];
    return part[0];
}

// The sums of eight vectors' lanes, of parts[0] first, as one vector: halves of two vectors are added as one.
INLINE Eight across_each(const Eight *parts) {
    Eight fours[4], twos[2];
    for (int i = 0; i < 4; i++)
        fours[i] = __builtin_shufflevector(parts[i], parts[i + 4], 0, 1, 2, 3, 8, 9, 10, 11) +
                   __builtin_shufflevector(parts[i], parts[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    for (int i = 0; i < 2; i++)
        twos[i] = __builtin_shufflevector(fours[2 * i], fours[2 * i + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
                  __builtin_shufflevector(fours[2 * i], fours[2 * i + 1], 2, 3, 10, 11, 6, 7, 14, 15);
    return __builtin_shufflevector(twos[0], twos[1], 0, 2, 8, 10, 4, 6, 12, 14) +
           __builtin_shufflevector(twos[0], twos[1], 1, 3, 9, 11, 5, 7, 13, 15);
}

// exp, for exponents from -87 to 0: 2^n e^r with |r| < 0.35, to 2e-7 of the result (the polynomial is Cephes's).
INLINE Lanes exponential(Lanes x) {
    const Lanes n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // the nearest whole number
    const Lanes r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Lanes y = all(1.9875691500e-4f);
    for (float next : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
        y = y * r + next;
    y = y * (r * r) + r + 1.0f;
    return y * (Lanes)((__builtin_convertvector(n, Bits) + 127) << 23);
}

// log(1 + e) for e from 0 to 1, as 2 artanh(s) with s = e / (2 + e), to 1e-7.
INLINE Lanes log_of_one_and(Lanes e) {
    const Lanes s = e / (2.0f + e), square = s * s;
    Lanes y = all(1 / 13.0f);
    for (float next : {1 / 11.0f, 1 / 9.0f, 1 / 7.0f, 1 / 5.0f, 1 / 3.0f, 1.0f}) y = y * square + next;
    return 2.0f * s * y;
}

// exp(-|x|)
INLINE Lanes falling(Lanes x) {
    const Lanes y = x > 0.0f ? -x : x;
    return exponential(y < -87.0f ? all(-87) : y);  // what is no number stays none
}

// sigma(x), of x and exp(-|x|)
INLINE Lanes probability(Lanes x, Lanes e) { return (x > 0.0f ? all(1) : e) / (1.0f + e); }

// A block of c = a b that stays in registers.
template <int rows, int vectors>
INLINE void block(int depth, const float *a, int a_row, int a_column, const float *b, float *c, int width, long next) {
    Lanes sums[rows][vectors] = {};
    for (int p = 0; p < depth; p++) {
        Lanes of_b[vectors];
        for (int v = 0; v < vectors; v++) of_b[v] = load(b + p * width + v * LANES);
        if (next) __builtin_prefetch(b + p * width + next);
        for (int i = 0; i < rows; i++) {
            const Lanes of_a = all(a[i * a_row + p * a_column]);
            for (int v = 0; v < vectors; v++) sums[i][v] += of_a * of_b[v];
        }
    }
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++) store(c + i * width + v * LANES, sums[i][v]);
}

template <int rows>
INLINE void some_rows(int depth, const float *a, int a_row, int a_column, const float *b, float *c, int width, long next) {
    int j = 0;
    for (; j + 2 * LANES <= width; j += 2 * LANES)
        block<rows, 2>(depth, a, a_row, a_column, b + j, c + j, width, next);
    for (; j < width && width >= LANES; j += LANES) {
        if (j > width - LANES) j = width - LANES;  // the last vector begins within the one before it
        block<rows, 1>(depth, a, a_row, a_column, b + j, c + j, width, next);
    }
    for (; j < width; j++)
        for (int i = 0; i < rows; i++) {
            float sum = 0;
            for (int p = 0; p < depth; p++) sum += a[i * a_row + p * a_column] * b[p * width + j];
            c[i * width + j] = sum;
        }
}

// c [rows, width] = a b, where a has any steps between its rows and columns, and b is [depth, width]. So far behind b,
// at `next`, lies what is read soon: asked for now, it is there by then.
static void product(int rows, int width, int depth, const float *a, int a_row, int a_column, const float *b, float *c,
                    long next = 0) {
    for (int blocks = (rows + 5) / 6; blocks > 0; blocks--) {
        const int some = (rows + blocks - 1) / blocks;
        switch (some) {
            case 1: some_rows<1>(depth, a, a_row, a_column, b, c, width, next); break;
            case 2: some_rows<2>(depth, a, a_row, a_column, b, c, width, next); break;
            case 3: some_rows<3>(depth, a, a_row, a_column, b, c, width, next); break;
            case 4: some_rows<4>(depth, a, a_row, a_column, b, c, width, next); break;
            case 5: some_rows<5>(depth, a, a_row, a_column, b, c, width, next); break;
            case 6: some_rows<6>(depth, a, a_row, a_column, b, c, width, next); break;
        }
        rows -= some, a += some * a_row, c += some * width;
    }
}

// c [rows, columns] = a b^T, where a is [rows, depth] and b [columns, depth]: two rows and four columns at once.
static void product_transposed(int rows, int columns, int depth, const float *a, const float *b, float *c,
                               long next = 0) {
    for (int i = 0; i < rows; i += 2)
        for (int j = 0; j < columns; j += 4) {
            const float *of_a[2], *of_b[4];
            for (int k = 0; k < 2; k++) of_a[k] = a + (i + k < rows ? i + k : i) * depth;
            for (int k = 0; k < 4; k++) of_b[k] = b + (j + k < columns ? j + k : j) * depth;
            if (next && i == 0)
                for (int p = 0; p < 4 * depth; p += 16) __builtin_prefetch(of_b[0] + next + p);
            Eight parts[8] = {};
            int p = 0;
            for (; p + 8 <= depth; p += 8)
                for (int k = 0; k < 8; k++) parts[k] += *(const Eight *)(of_a[k / 4] + p) * *(const Eight *)(of_b[k % 4] + p);
            Eight sums = across_each(parts);
            for (; p < depth; p++)
                for (int k = 0; k < 8; k++) sums[k] += of_a[k / 4][p] * of_b[k % 4][p];
            if (i + 2 <= rows && j + 4 <= columns) {
                memcpy(c + i * columns + j, &sums, 16);
                memcpy(c + (i + 1) * columns + j, (const char *)&sums + 16, 16);
            } else
                for (int k = 0; k < 8; k++)
                    if (i + k / 4 < rows && j + k % 4 < columns) c[(i + k / 4) * columns + j + k % 4] = sums[k];
        }
}

struct Sizes {
    int count, each, height, width, grid, threads;
    long image() const { return (long)height * width; }
};

// The gradients of both filters, which have one form in reading and in writing: of F_p it is u x^T with u = patch F_q,
// of F_q it is patch^T F_p x. In reading x was read, and `patch` is the gradient; in writing x is the gradient, and
// `patch` was written. What several images give is added.
static void filter_gradients(const Sizes &s, bool first, const float *image, const float *patch, const float *u,
                             const float *half, float *of_rows, float *of_columns, std::vector<float> &scratch) {
    scratch.resize(s.grid * (s.height > s.width ? s.height : s.width));
    product_transposed(s.grid, s.height, s.width, u, image, first ? of_rows : scratch.data(), s.image());
    if (!first)
        for (int i = 0; i < s.grid * s.height; i++) of_rows[i] += scratch[i];
    product(s.grid, s.width, s.grid, patch, 1, s.grid, half, first ? of_columns : scratch.data());
    if (!first)
        for (int i = 0; i < s.grid * s.width; i++) of_columns[i] += scratch[i];
}

// An image as it is read: itself, or, where it is `drawn`, sigma of it, which then stays in a core's first cache. The
// next one is asked for meanwhile.
static const float *shown(const Sizes &s, bool drawn, const float *image, std::vector<float> &pixels) {
    if (!drawn) return image;
    pixels.resize(s.image());
    for (long i = 0; i < s.image(); i += LANES) {
        const Lanes x = load_some(image + i, s.image() - i);
        __builtin_prefetch(image + i + s.image());
        store_some(pixels.data() + i, probability(x, falling(x)), s.image() - i);
    }
    return pixels.data();
}

// An image, a vector after the other. Images that are not made of whole vectors begin anywhere in memory.
template <typename Value>
INLINE void put_away(const Sizes &s, float *image, Value value) {
    const long size = s.image();
    if (size % LANES == 0)
        for (long pixel = 0; pixel < size; pixel += LANES) store_away(image + pixel, value(pixel, LANES));
    else
        for (long pixel = 0; pixel < size; pixel += LANES) {
            const int some = size - pixel < LANES ? size - pixel : LANES;
            store_some(image + pixel, value(pixel, some), some);
        }
}

extern "C" {

// patches = F_p x F_q^T, or F_p sigma(x) F_q^T. `halves` [count, each, grid, width] keeps F_p x for the gradient.
void read_forward(const Sizes &s, int drawn, const float *images, const float *rows, const float *columns,
                  float *patches, float *halves) {
#pragma omp parallel num_threads(s.threads)
    {
        std::vector<float> pixels;
#pragma omp for
        for (long i = 0; i < (long)s.count * s.each; i++) {
            const long window = i / s.each;
            float *half = halves + i * s.grid * s.width;
            product(s.grid, s.width, s.height, rows + window * s.grid * s.height, s.height, 1,
                    shown(s, drawn, images + i * s.image(), pixels), half, drawn ? 0 : s.image());
            product_transposed(s.grid, s.grid, s.width, half, columns + window * s.grid * s.width,
                               patches + i * s.grid * s.grid);
        }
    }
}

// images = x + F_p^T w F_q. `halves` keeps w F_q.
void write_forward(const Sizes &s, const float *below, const float *patches, const float *rows, const float *columns,
                   float *images, float *halves) {
#pragma omp parallel num_threads(s.threads)
    {
        std::vector<float> spread(s.image());
#pragma omp for
        for (long i = 0; i < (long)s.count * s.each; i++) {
            const long window = i / s.each;
            const float *under = below + i * s.image();
            float *half = halves + i * s.grid * s.width;
            product(s.grid, s.width, s.grid, patches + i * s.grid * s.grid, s.grid, 1,
                    columns + window * s.grid * s.width, half);
            product(s.height, s.width, s.grid, rows + window * s.grid * s.height, 1, s.height, half, spread.data());
            put_away(s, images + i * s.image(), [&](long pixel, int some) {
                __builtin_prefetch(under + pixel + s.image());
                return load_some(spread.data() + pixel, some) + load_some(under + pixel, some);
            });
        }
    }
}

// From the gradient of the patches to those of the filters and, unless that is null, of the images.
void read_backward(const Sizes &s, int drawn, const float *images, const float *rows, const float *columns,
                   const float *halves, const float *of_patches, float *of_images, float *of_rows, float *of_columns) {
#pragma omp parallel num_threads(s.threads)
    {
        std::vector<float> u(s.grid * s.width), spread(s.image()), scratch, pixels;
#pragma omp for
        for (long window = 0; window < s.count; window++) {
            const long row = window * s.grid * s.height, column = window * s.grid * s.width;
            for (int e = 0; e < s.each; e++) {
                const long i = window * s.each + e;
                const float *patch = of_patches + i * s.grid * s.grid;
                const float *image = shown(s, drawn, images + i * s.image(), pixels);
                product(s.grid, s.width, s.grid, patch, s.grid, 1, columns + column, u.data());
                filter_gradients(s, e == 0, image, patch, u.data(), halves + i * s.grid * s.width, of_rows + row,
                                 of_columns + column, scratch);
                if (!of_images) continue;
                product(s.height, s.width, s.grid, rows + row, 1, s.height, u.data(), spread.data());
                put_away(s, of_images + i * s.image(), [&](long pixel, int some) {
                    const Lanes of_read = load_some(spread.data() + pixel, some), y = load_some(image + pixel, some);
                    return drawn ? of_read * y * (1.0f - y) : of_read;
                });
            }
        }
    }
}

// From the gradient of the images to those of the filters and the patches.
void write_backward(const Sizes &s, const float *patches, const float *rows, const float *columns, const float *halves,
                    const float *of_images, float *of_patches, float *of_rows, float *of_columns) {
#pragma omp parallel num_threads(s.threads)
    {
        std::vector<float> half(s.grid * s.width), scratch;
#pragma omp for
        for (long window = 0; window < s.count; window++) {
            const long row = window * s.grid * s.height, column = window * s.grid * s.width;
            for (int e = 0; e < s.each; e++) {
                const long i = window * s.each + e, patch = i * s.grid * s.grid;
                const float *image = of_images + i * s.image();
                product(s.grid, s.width, s.height, rows + row, s.height, 1, image, half.data(), s.image());
                product_transposed(s.grid, s.grid, s.width, half.data(), columns + column, of_patches + patch);
                filter_gradients(s, e == 0, image, patches + patch, halves + i * s.grid * s.width, half.data(),
                                 of_rows + row, of_columns + column, scratch);
            }
        }
    }
}

// softmax over the pixels a = 1..length of -precision (a - mean)^2, cut to zero `tail` below its peak.
void filters_forward(int count, int length, int threads, float tail, const float *means, const float *precisions,
                     float *filters) {
#pragma omp parallel for num_threads(threads)
    for (int row = 0; row < count; row++) {
        const float precision = precisions[row], mean = means[row], whole = rintf(mean);
        const float nearest = whole < 1 ? 1 : whole > length ? length : whole, twice = 2 * (nearest - mean);
        float *filter = filters + (long)row * length;
        Lanes sums{};
        for (int a = 0; a < length; a += LANES) {
            // (a - mean)^2 - (nearest - mean)^2, as a product, which is exactly 0 at the peak.
            const Lanes pixels = counted(1) + (float)a, apart = pixels - nearest;
            const Lanes x = -precision * apart * (apart + twice);
            const auto near = (x > -tail) & (pixels <= (float)length);
            const Lanes y = near ? exponential(near ? x : Lanes{}) : Lanes{};
            sums += y;
            store_some(filter + a, y, length - a);
        }
        const float scale = 1 / across(sums);
        for (int a = 0; a < length; a++) filter[a] *= scale;
    }
}

// The gradient of a softmax row sums to zero, so that both derivatives come from the row's first two moments.
void filters_backward(int count, int length, int threads, const float *means, const float *precisions,
                      const float *filters, const float *of_filters, float *of_means, float *of_precisions) {
    const float middle = (length + 1) / 2.0f;  // moments about the middle of the axis lose the fewest digits
#pragma omp parallel for num_threads(threads)
    for (int row = 0; row < count; row++) {
        const float *filter = filters + (long)row * length, *gradient = of_filters + (long)row * length;
        Lanes sums{}, firsts{}, seconds{};
        for (int a = 0; a < length; a += LANES)
            sums += load_some(filter + a, length - a) * load_some(gradient + a, length - a);
        const float sum = across(sums);
        for (int a = 0; a < length; a += LANES) {
            const Lanes pixels = counted(1 - middle) + (float)a;
            const Lanes e = load_some(filter + a, length - a) * (load_some(gradient + a, length - a) - sum);
            firsts += e * pixels;
            seconds += e * pixels * pixels;
        }
        const float first = across(firsts);
        of_means[row] = 2 * precisions[row] * first;
        of_precisions[row] = 2 * (means[row] - middle) * first - across(seconds);
    }
}

// Of each row of logits x and targets t, the sum of log(1 + e^x) - x t.
void cost_forward(int count, int size, int threads, const float *logits, const float *targets, float *costs) {
#pragma omp parallel for num_threads(threads)
    for (int row = 0; row < count; row++) {
        const float *x = logits + (long)row * size, *t = targets + (long)row * size;
        double sum = 0;
        for (int begin = 0; begin < size; begin += 64 * LANES) {
            Lanes sums{};
            for (int i = begin; i < size && i < begin + 64 * LANES; i += LANES) {
                const Lanes logit = load_some(x + i, size - i), target = load_some(t + i, size - i);
                const Lanes cost = (logit > 0.0f ? logit : Lanes{}) - logit * target + log_of_one_and(falling(logit));
                sums += counted(0) < (float)(size - i) ? cost : Lanes{};
            }
            sum += across(sums);
        }
        costs[row] = (float)sum;
    }
}

// sigma(x) - t, times the row's gradient.
void cost_backward(int count, int size, int threads, const float *logits, const float *targets, const float *of_costs,
                   float *of_logits) {
#pragma omp parallel for num_threads(threads)
    for (int row = 0; row < count; row++) {
        const float *x = logits + (long)row * size, *t = targets + (long)row * size;
        for (int i = 0; i < size; i += LANES) {
            const Lanes logit = load_some(x + i, size - i), e = falling(logit);
            const Lanes value = of_costs[row] * (probability(logit, e) - load_some(t + i, size - i));
            store_some(of_logits + (long)row * size + i, value, size - i);
        }
    }
}
}
