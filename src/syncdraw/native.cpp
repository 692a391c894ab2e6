// What takes most of a training step on a CPU, for many small images at once: what is read and written through grids of
// Gaussian filters, and L_X; each with its gradient.
//
// native.py builds this file and calls it; attention.py and likelihoods.py have the same in PyTorch, which is the
// reference. A library's matrix products are made for large matrices. These have 10 x 64 x 64 numbers, and stay in a
// core's first cache. So do the filters: a core makes them for each image from four numbers, for that takes less time
// than fetching them from memory.
//
// All arrays are contiguous float32: images [count, each, height, width], patches [count, each, grid, grid]; where a
// window lies, and its gradient, [4, count]. `each` images share a window.

#include <cmath>
#include <cstring>
#include <vector>
#if defined(__AVX__)
#include <immintrin.h>
#endif

// Numbers in a vector, and rows of two vectors each that the registers hold beside what they are computed from.
#if defined(__AVX512F__)
#define LANES 16
#define MOST_ROWS 12
#else
#define LANES 8
#define MOST_ROWS 6
#endif
#define INLINE static inline __attribute__((always_inline))
#define INLINE_MEMBER inline __attribute__((always_inline))

// As many numbers as the processor takes at once, anywhere in memory.
typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int Bits __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));
typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));

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
#if LANES == 16
    const Eight eight = __builtin_shufflevector(value, value, 0, 1, 2, 3, 4, 5, 6, 7) +
                        __builtin_shufflevector(value, value, 8, 9, 10, 11, 12, 13, 14, 15);
#else
    const Eight eight = value;
#endif
    const Four four = __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
    const Four two = four + __builtin_shufflevector(four, four, 2, 3, 0, 1);
    return two[0] + two[1];
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
#if defined(__AVX512F__)
    return (Lanes)_mm512_scalef_ps((__m512)y, (__m512)n);
#else
    return y * (Lanes)((__builtin_convertvector(n, Bits) + 127) << 23);
#endif
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
    const Lanes y = (Lanes)((Bits)x | (Bits)all(-0.0f));  // -|x|
    return exponential(y < -87.0f ? all(-87) : y);  // what is no number stays none
}

// sigma(x), of x and exp(-|x|)
INLINE Lanes probability(Lanes x, Lanes e) { return (x > 0.0f ? all(1) : e) / (1.0f + e); }

// A block of c = a b that stays in registers. `keep` puts a vector or a number of c, at a row and a column, where it goes.
template <int rows, int vectors, typename Keep>
INLINE void block(int row, int column, int depth, const float *a, int a_row, int a_column, const float *b, int width,
                  long next, Keep keep) {
    Lanes sums[rows][vectors] = {};
    a += row * a_row, b += column;
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
        for (int v = 0; v < vectors; v++) keep(row + i, column + v * LANES, sums[i][v]);
}

template <int rows, typename Keep>
INLINE void some_rows(int row, int depth, const float *a, int a_row, int a_column, const float *b, int width, long next,
                      Keep keep) {
    int j = 0;
    for (; j + 2 * LANES <= width; j += 2 * LANES)
        block<rows, 2>(row, j, depth, a, a_row, a_column, b, width, next, keep);
    for (; j < width && width >= LANES; j += LANES) {
        if (j > width - LANES) j = width - LANES;  // the last vector begins within the one before it
        block<rows, 1>(row, j, depth, a, a_row, a_column, b, width, next, keep);
    }
    for (; j < width; j++)
        for (int i = row; i < row + rows; i++) {
            float sum = 0;
            for (int p = 0; p < depth; p++) sum += a[i * a_row + p * a_column] * b[p * width + j];
            keep(i, j, sum);
        }
}

// c [rows, width] = a b, where a has any steps between its rows and columns, and b is [depth, width]. So far behind b,
// at `next`, lies what is read soon: asked for now, it is there by then.
template <typename Keep>
INLINE void product_kept(int rows, int width, int depth, const float *a, int a_row, int a_column, const float *b,
                         long next, Keep keep) {
    int row = 0;
    for (int blocks = (rows + MOST_ROWS - 1) / MOST_ROWS; blocks > 0; blocks--) {
        const int some = (rows - row + blocks - 1) / blocks;
        switch (some) {
#define ROWS(number) case number: some_rows<number>(row, depth, a, a_row, a_column, b, width, next, keep); break;
            ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6)
#if MOST_ROWS > 6
            ROWS(7) ROWS(8) ROWS(9) ROWS(10) ROWS(11) ROWS(12)
#endif
#undef ROWS
        }
        row += some;
    }
}

struct Stored {
    float *to;
    int width;
    INLINE_MEMBER void operator()(int row, int column, Lanes value) const { store(to + row * width + column, value); }
    INLINE_MEMBER void operator()(int row, int column, float value) const { to[row * width + column] = value; }
};

static void product(int rows, int width, int depth, const float *a, int a_row, int a_column, const float *b, float *c,
                    long next = 0) {
    product_kept(rows, width, depth, a, a_row, a_column, b, next, Stored{c, width});
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
    float tail;
    long image() const { return (long)height * width; }
    int longer() const { return height > width ? height : width; }
};

// Numbers of a window, as they follow each other.
enum { ROW_CENTRE, COLUMN_CENTRE, STRIDE, VARIANCE };

// Filter u = 1..grid lies at centre + (u - grid / 2 - 0.5) stride (eqs 1-2).
INLINE float offset(const Sizes &s, int row) { return row + 0.5f - s.grid / 2.0f; }

// softmax over the pixels a = 1..length of -(a - mean)^2 / 2 variance (eqs 3-4), cut to zero `tail` below its peak.
static void make_filters(const Sizes &s, int length, float centre, float stride, float variance, float *filters) {
    const float precision = 0.5f / variance;
    for (int row = 0; row < s.grid; row++) {
        const float mean = centre + offset(s, row) * stride, whole = rintf(mean);
        const float nearest = whole < 1 ? 1 : whole > length ? length : whole, twice = 2 * (nearest - mean);
        float *filter = filters + row * length;
        Lanes sums{};
        for (int a = 0; a < length; a += LANES) {
            // (a - mean)^2 - (nearest - mean)^2, as a product, which is exactly 0 at the peak.
            const Lanes pixels = counted(1) + (float)a, apart = pixels - nearest;
            const Lanes x = -precision * apart * (apart + twice);
            const auto near = (x > -s.tail) & (pixels <= (float)length);
            const Lanes y = near ? exponential(near ? x : Lanes{}) : Lanes{};
            sums += y;
            store_some(filter + a, y, length - a);
        }
        const float scale = 1 / across(sums);
        for (int a = 0; a < length; a++) filter[a] *= scale;
    }
}

// The gradient of a softmax row sums to zero, so that both derivatives come from the row's first two moments. Adds to
// those of the window's centre, stride and variance.
static void filters_to_window(const Sizes &s, int length, float centre, float stride, float variance,
                              const float *filters, const float *of_filters, float &of_centre, float &of_stride,
                              float &of_variance) {
    const float precision = 0.5f / variance;
    const float middle = (length + 1) / 2.0f;  // moments about the middle of the axis lose the fewest digits
    float of_precision = 0;
    for (int row = 0; row < s.grid; row++) {
        const float mean = centre + offset(s, row) * stride;
        const float *filter = filters + row * length, *gradient = of_filters + row * length;
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
        const float first = across(firsts), of_mean = 2 * precision * first;
        of_centre += of_mean;
        of_stride += of_mean * offset(s, row);
        of_precision += 2 * (mean - middle) * first - across(seconds);
    }
    of_variance -= of_precision * precision / variance;
}

// to = from^T, where from is [rows, columns] and both have any steps between their rows; eight by eight.
static void transpose(int rows, int columns, const float *from, int from_row, float *to, int to_row) {
    int row = 0;
    for (; row + 8 <= rows; row += 8) {
        int column = 0;
        for (; column + 8 <= columns; column += 8) {
            Eight a[8], b[8];
            for (int i = 0; i < 8; i++) a[i] = *(const Eight *)(from + (row + i) * from_row + column);
            for (int i = 0; i < 8; i += 2) {
                b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
                b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
            }
            for (int i = 0; i < 8; i++) {
                const int other = i & 2 ? i - 2 : i;
                a[i] = i & 2 ? __builtin_shufflevector(b[other], b[other + 2], 2, 3, 10, 11, 6, 7, 14, 15)
                             : __builtin_shufflevector(b[other], b[other + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            }
            for (int i = 0; i < 8; i++) {
                const int other = i & 4 ? i - 4 : i;
                *(Eight *)(to + (column + i) * to_row + row) =
                    i & 4 ? __builtin_shufflevector(a[other], a[other + 4], 4, 5, 6, 7, 12, 13, 14, 15)
                          : __builtin_shufflevector(a[other], a[other + 4], 0, 1, 2, 3, 8, 9, 10, 11);
            }
        }
        for (; column < columns; column++)
            for (int i = row; i < row + 8; i++) to[column * to_row + i] = from[i * from_row + column];
    }
    for (; row < rows; row++)
        for (int column = 0; column < columns; column++) to[column * to_row + row] = from[row * from_row + column];
}

// What a thread computes with: the filters of a window, their gradients, and what is in between.
struct Workspace {
    const Sizes &s;
    const float *window;  // [4, count]
    std::vector<float> rows, columns, of_rows, of_columns, half, sum, pixels, turned, found;
    Workspace(const Sizes &sizes, const float *windows) : s(sizes), window(windows) {
        rows.resize(s.grid * s.height), columns.resize(s.grid * s.width), half.resize(s.grid * s.width);
    }
    float number(int which, long index) const { return window[which * (long)s.count + index]; }
    void make(long index) {
        const float stride = number(STRIDE, index), variance = number(VARIANCE, index);
        make_filters(s, s.height, number(ROW_CENTRE, index), stride, variance, rows.data());
        make_filters(s, s.width, number(COLUMN_CENTRE, index), stride, variance, columns.data());
    }
    void make_for_gradients(long index) {
        make(index);
        of_rows.assign(s.grid * s.height, 0), of_columns.assign(s.grid * s.width, 0);
    }
    void gradients(long index, float *of_window) const {
        const float stride = number(STRIDE, index), variance = number(VARIANCE, index);
        float of_row_centre = 0, of_column_centre = 0, of_stride = 0, of_variance = 0;
        filters_to_window(s, s.height, number(ROW_CENTRE, index), stride, variance, rows.data(), of_rows.data(),
                          of_row_centre, of_stride, of_variance);
        filters_to_window(s, s.width, number(COLUMN_CENTRE, index), stride, variance, columns.data(),
                          of_columns.data(), of_column_centre, of_stride, of_variance);
        of_window[ROW_CENTRE * (long)s.count + index] = of_row_centre;
        of_window[COLUMN_CENTRE * (long)s.count + index] = of_column_centre;
        of_window[STRIDE * (long)s.count + index] = of_stride;
        of_window[VARIANCE * (long)s.count + index] = of_variance;
    }
};

// c [grid, rows] = half b^T, where half is [grid, width] and b [rows, width]. Where filters nearly fill vectors, it is
// computed turned, a vector being one number of each filter, so that nothing has to be added up across a vector.
static void times_transposed(const Sizes &s, int rows, const float *half, const float *b, float *c, Workspace &work,
                             long next = 0) {
    const int vectors = (s.grid + LANES - 1) / LANES, padded = vectors * LANES;
    if (10 * s.grid < 6 * padded) return product_transposed(s.grid, rows, s.width, half, b, c, next);
    work.turned.resize(s.width * padded);  // with zeros, which stay where there is no filter
    work.found.resize((s.height > s.grid ? s.height : s.grid) * padded);
    transpose(s.grid, s.width, half, s.width, work.turned.data(), padded);
    float *found = work.found.data();
    product_kept(rows, padded, s.width, b, s.width, 1, work.turned.data(), 0, [&](int row, int column, auto value) {
        memcpy(found + row * padded + column, &value, sizeof value);
        for (int p = 0; next && p < s.width; p += 16) __builtin_prefetch(b + row * s.width + p + next);
    });
    transpose(rows, s.grid, found, padded, c, rows);
}

// Adds to the gradients of both filters, which have one form in reading and in writing: of F_p it is u x^T with
// u = patch F_q, of F_q it is patch^T F_p x. In reading x was read, and `patch` is the gradient; in writing x is the
// gradient, and `patch` was written.
static void filter_gradients(const Sizes &s, const float *image, const float *patch, const float *u, const float *half,
                             Workspace &work, long next) {
    work.sum.resize(s.grid * s.longer());
    times_transposed(s, s.height, u, image, work.sum.data(), work, next);
    for (int i = 0; i < s.grid * s.height; i++) work.of_rows[i] += work.sum[i];
    product(s.grid, s.width, s.grid, patch, 1, s.grid, half, work.sum.data());
    for (int i = 0; i < s.grid * s.width; i++) work.of_columns[i] += work.sum[i];
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

// Puts an image past the caches, with something done to each of its numbers: `last(value, where)`, of as many numbers as
// `value` has. Rows that are not made of whole vectors begin anywhere in memory.
template <typename Last>
struct PutAway {
    float *to;
    int width;
    bool whole;
    Last last;
    INLINE_MEMBER void operator()(int row, int column, Lanes value) const {
        const long where = (long)row * width + column;
        const Lanes done = last(value, where);
        if (whole) store_away(to + where, done);
        else store(to + where, done);
    }
    INLINE_MEMBER void operator()(int row, int column, float value) const {
        const long where = (long)row * width + column;
        to[where] = last(value, where);
    }
};

// An image of F_p^T half, with something done to each of its numbers.
template <typename Last>
INLINE void spread(const Sizes &s, const float *rows, const float *half, float *image, Last last) {
    product_kept(s.height, s.width, s.grid, rows, 1, s.height, half, 0,
                 PutAway<Last>{image, s.width, s.width % LANES == 0, last});
}

// Overloads for `last`: what lies in memory, as much of it as another value has.
INLINE Lanes like(Lanes, const float *from) { return load(from); }
INLINE float like(float, const float *from) { return *from; }

extern "C" {

// patches = F_p x F_q^T of `images`, and F_p sigma(x) F_q^T of `logits`; either may be null. `halves`
// [count, each, grid, width] keeps F_p x for the gradient.
void read_forward(const Sizes &s, const float *windows, const float *images, const float *logits, float *patches,
                  float *halves, float *drawn_patches, float *drawn_halves) {
#pragma omp parallel num_threads(s.threads)
    {
        Workspace work(s, windows);
#pragma omp for
        for (long window = 0; window < s.count; window++) {
            work.make(window);
            for (long i = window * s.each; i < (window + 1) * s.each; i++)
                for (int drawn = 0; drawn < 2; drawn++) {
                    const float *image = drawn ? logits : images;
                    if (!image) continue;
                    float *half = (drawn ? drawn_halves : halves) + i * s.grid * s.width;
                    product(s.grid, s.width, s.height, work.rows.data(), s.height, 1,
                            shown(s, drawn, image + i * s.image(), work.pixels), half, drawn ? 0 : s.image());
                    times_transposed(s, s.grid, half, work.columns.data(),
                                     (drawn ? drawn_patches : patches) + i * s.grid * s.grid, work);
                }
        }
    }
}

// From the gradients of the patches to those of the window and, unless they are null, of the images and the logits.
void read_backward(const Sizes &s, const float *windows, const float *images, const float *logits, const float *halves,
                   const float *drawn_halves, const float *of_patches, const float *of_drawn_patches, float *of_images,
                   float *of_logits, float *of_windows) {
#pragma omp parallel num_threads(s.threads)
    {
        Workspace work(s, windows);
        float *u = work.half.data();
#pragma omp for
        for (long window = 0; window < s.count; window++) {
            work.make_for_gradients(window);
            for (long i = window * s.each; i < (window + 1) * s.each; i++)
                for (int drawn = 0; drawn < 2; drawn++) {
                    const float *given = drawn ? logits : images;
                    if (!given) continue;
                    const float *patch = (drawn ? of_drawn_patches : of_patches) + i * s.grid * s.grid;
                    const float *image = shown(s, drawn, given + i * s.image(), work.pixels);
                    product(s.grid, s.width, s.grid, patch, s.grid, 1, work.columns.data(), u);
                    filter_gradients(s, image, patch, u, (drawn ? drawn_halves : halves) + i * s.grid * s.width, work,
                                     drawn ? 0 : s.image());
                    float *of_given = drawn ? of_logits : of_images;
                    if (!of_given) continue;
                    spread(s, work.rows.data(), u, of_given + i * s.image(), [&](auto value, long where) {
                        const auto y = like(value, image + where);
                        return drawn ? value * y * (1.0f - y) : value;
                    });
                }
            work.gradients(window, of_windows);
        }
    }
}

// images = x + F_p^T w F_q. `halves` keeps w F_q.
void write_forward(const Sizes &s, const float *windows, const float *below, const float *patches, float *images,
                   float *halves) {
#pragma omp parallel num_threads(s.threads)
    {
        Workspace work(s, windows);
#pragma omp for
        for (long window = 0; window < s.count; window++) {
            work.make(window);
            for (long i = window * s.each; i < (window + 1) * s.each; i++) {
                const float *under = below + i * s.image();
                float *half = halves + i * s.grid * s.width;
                product(s.grid, s.width, s.grid, patches + i * s.grid * s.grid, s.grid, 1, work.columns.data(), half);
                spread(s, work.rows.data(), half, images + i * s.image(), [&](auto value, long where) {
                    __builtin_prefetch(under + where + s.image());
                    return value + like(value, under + where);
                });
            }
        }
    }
}

// From the gradient of the images to those of the window and the patches.
void write_backward(const Sizes &s, const float *windows, const float *patches, const float *halves,
                    const float *of_images, float *of_patches, float *of_windows) {
#pragma omp parallel num_threads(s.threads)
    {
        Workspace work(s, windows);
        float *half = work.half.data();
#pragma omp for
        for (long window = 0; window < s.count; window++) {
            work.make_for_gradients(window);
            for (long i = window * s.each; i < (window + 1) * s.each; i++) {
                const long patch = i * s.grid * s.grid;
                const float *image = of_images + i * s.image();
                product(s.grid, s.width, s.height, work.rows.data(), s.height, 1, image, half, s.image());
                times_transposed(s, s.grid, half, work.columns.data(), of_patches + patch, work);
                filter_gradients(s, image, patches + patch, halves + i * s.grid * s.width, half, work, 0);
            }
            work.gradients(window, of_windows);
        }
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
