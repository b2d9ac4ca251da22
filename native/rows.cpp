// What a training step does to every row besides the search: one pass over memory each.
#include <algorithm>
#include <cstdint>

#include "parallel.h"
#include "processor.h"

namespace {

template <class Work>
void over_rows(int64_t N, int64_t D, int threads, const Work& work) {
  const int useful = worth_starting(threads, (double)N * D / 4e3);
  in_parallel(useful, [&](int t) {
    for (int64_t n = N * t / useful; n < N * (t + 1) / useful; ++n) work(n);
  });
}

}  // namespace

extern "C" {

// finite (N,): whether a row of x (N, D) holds neither NaN nor infinity.
void vqkit_finite_rows(const float* x, int64_t N, int64_t D, int threads, bool* finite) {
  const Isa* isa = fastest_isa(false);
  over_rows(N, D, threads, [&](int64_t n) { finite[n] = isa->finite(x + n * D, D); });
}

// out (N, D) = by·(x − e) with e the code (K, D) of each row's index, zero where that is negative.
void vqkit_pull(const float* x, const float* codes, const int64_t* indices, float by, int64_t N, int64_t D, int threads,
                float* out) {
  const Isa* isa = fastest_isa(false);
  over_rows(N, D, threads, [&](int64_t n) {
    if (indices[n] < 0)
      std::fill_n(out + n * D, D, 0.0f);
    else
      isa->scaled_difference(x + n * D, codes + indices[n] * D, by, D, out + n * D);
  });
}

// The gradient g (N, D) through the rotation trick, from codes q to rows x. A row of g lies ``stride`` numbers behind the
// one before: 0 where all are alike.
void vqkit_turned_back(const float* g, int64_t stride, const float* x, const float* q, int64_t N, int64_t D, int threads,
                       float* out) {
  const Isa* isa = fastest_isa(false);
  over_rows(N, D, threads,
            [&](int64_t n) { isa->turned_back(g + n * stride, x + n * D, q + n * D, D, out + n * D); });
}

// out (N, D) = x + shift, the same for all rows.
void vqkit_shift(const float* x, const float* shift, int64_t N, int64_t D, int threads, float* out) {
  over_rows(N, D, threads, [&](int64_t n) {
    for (int64_t d = 0; d < D; ++d) out[n * D + d] = x[n * D + d] + shift[d];
  });
}

// out (N, D) = g·(1 − t²)·slope: the gradient through tanh. A row of g lies ``stride`` numbers behind the one before.
void vqkit_unsquash(const float* g, int64_t stride, const float* squashed, const float* slope, int64_t N, int64_t D,
                    int threads, float* out) {
  over_rows(N, D, threads, [&](int64_t n) {
    for (int64_t d = 0; d < D; ++d) {
      const float t = squashed[n * D + d];
      out[n * D + d] = g[n * stride + d] * (1 - t * t) * slope[d];
    }
  });
}

// Squashed coordinates (N, D) to the values of their nearest levels (N, D) and the packed numbers of these (N,). A
// position is t·reach + half, a level its nearest integer in [0, top], halfway the upper one; its value is
// (level − middle) / middle, and it counts ``basis`` in the index.
void vqkit_snap_levels(const float* squashed, const float* reach, const float* half, const float* top,
                       const float* middle, const int64_t* basis, int64_t N, int64_t D, int threads, float* values,
                       int64_t* indices) {
  over_rows(N, 4 * D, threads, [&](int64_t n) {
    int64_t index = 0;
    for (int64_t d = 0; d < D; ++d) {
      const float position = squashed[n * D + d] * reach[d] + half[d];
      // Cut off before rounding: what is not negative is rounded down by conversion.
      const float raised = std::min(std::max(position + 0.5f, 0.0f), top[d]);
      const int level = (int)raised;
      values[n * D + d] = ((float)level - middle[d]) / middle[d];
      index += level * basis[d];
    }
    indices[n] = index;
  });
}
}
