// Counts and sums of rows by index.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "parallel.h"
#include "processor.h"

extern "C" {

// counts (K,) and sums (K, D) float64 of the rows x (N, D) of each index; negative indices are left out. Threads share
// the codes, and each sum takes its rows in their order, so that no bit hangs on the number of threads.
void vqkit_code_sums(const float* x, const int64_t* indices, int64_t N, int64_t K, int64_t D, int threads,
                     int64_t* counts, double* sums) {
  std::vector<int64_t> first(K + 1);
  for (int64_t n = 0; n < N; ++n)
    if (indices[n] >= 0) ++first[indices[n] + 1];
  for (int64_t k = 0; k < K; ++k) {
    counts[k] = first[k + 1];
    first[k + 1] += first[k];
  }
  std::vector<int64_t> rows(first[K]), next(first.begin(), first.end() - 1);
  for (int64_t n = 0; n < N; ++n)
    if (indices[n] >= 0) rows[next[indices[n]]++] = n;

  const Isa* isa = fastest_isa(false);
  const int useful = worth_starting(threads, (double)(first[K] + K) * D / 4e3);
  in_parallel(useful, [&](int t) {
    // Codes are cut where as many rows lie before as behind.
    const auto cut = [&](int part) {
      if (part == useful) return K;
      return std::lower_bound(first.begin(), first.end() - 1, first[K] * part / useful) - first.begin();
    };
    for (int64_t k = t ? cut(t) : 0; k < cut(t + 1); ++k) {
      double* sum = sums + k * D;
      std::fill(sum, sum + D, 0.0);
      for (int64_t i = first[k]; i < first[k + 1]; ++i) isa->add(x + rows[i] * D, D, sum);
    }
  });
}
}
