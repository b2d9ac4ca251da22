// What a training step does to every row besides the search: one pass over memory each.
#include <algorithm>
#include <cstdint>

#include "parallel.h"
#include "processor.h"

namespace {

constexpr int64_t TOGETHER = 1024;  // numbers that are looked at as one, as they mostly are finite

template <class Work>
void over_rows(int64_t N, int64_t D, int threads, const Work& work) {
  over_runs(N, worth_starting(threads, (double)N * D / 4e3), [&](int64_t from, int64_t to) {
    for (int64_t n = from; n < to; ++n) work(n);
  });
}

}  // namespace

extern "C" {

// finite (N,): whether a row of x (N, D) holds neither NaN nor infinity.
void vqkit_finite_rows(const float* x, int64_t N, int64_t D, int threads, bool* finite) {
  const Isa* isa = fastest_isa(false);
  const int64_t rows = std::max<int64_t>(1, TOGETHER / std::max<int64_t>(1, D));
  over_runs(N, worth_starting(threads, (double)N * D / 1e4), [&](int64_t from, int64_t to) {
    for (int64_t start = from; start < to; start += rows) {
      const int64_t end = std::min(to, start + rows);
      if (isa->finite(x + start * D, (end - start) * D))
        std::fill(finite + start, finite + end, true);
      else
        for (int64_t n = start; n < end; ++n) finite[n] = isa->finite(x + n * D, D);
    }
  });
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
}
