// A chain of residual stages, all of them while a tile of rows is in the cache.
#include <memory>

#include "parallel.h"
#include "processor.h"
#include "search.h"

namespace {

constexpr long CHAIN_ROWS = 256;

struct Chain {
  const float* x;
  long N, D;
  const std::vector<std::unique_ptr<Codes>>& stages;
  const Isa& isa;
  int64_t* indices;  // (N, Q)

  void run(long first, long stride) const {
    std::vector<float> total(CHAIN_ROWS * D), left(CHAIN_ROWS * D);
    std::vector<int64_t> index(CHAIN_ROWS);
    const long Q = (long)stages.size();
    for (long start = first * CHAIN_ROWS; start < N; start += stride * CHAIN_ROWS) {
      const long count = std::min(CHAIN_ROWS, N - start);
      std::fill(total.begin(), total.end(), 0.0f);
      for (long q = 0; q < Q; ++q) {
        for (long i = 0; i < count * D; ++i) left[i] = x[start * D + i] - total[i];
        search(left.data(), count, *stages[q], index.data());
        for (long r = 0; r < count; ++r) {
          indices[(start + r) * Q + q] = index[r];
          if (index[r] < 0) continue;
          const float* code = stages[q]->codes + index[r] * D;
          for (long d = 0; d < D; ++d) total[r * D + d] += code[d];
        }
      }
    }
  }

  void search(const float* rows, long count, const Codes& codes, int64_t* index) const {
    Search(rows, count, codes, isa, {1, index, nullptr}, 1).run(1);
    for (long r = 0; r < count; ++r)
      if (index[r] == UNRESOLVED)
        measure_all(rows + r * D, 1, codes.codes, codes.K, D, EUCLIDEAN, isa, 1, {1, index + r, nullptr});
  }
};

}  // namespace

extern "C" {

// indices (N, Q) of rows x (N, D) by codebooks (Q, K, D), float32 both, each stage the nearest codes of what the last
// left: x less the sum of the codes before, both rounded to float32. −1 where what is left is not finite. Returns 0, or 1
// where the codes are not finite and the answer means nothing.
int vqkit_residual_chain(const float* x, int64_t N, const float* codebooks, int64_t Q, int64_t K, int64_t D, int threads,
                         int64_t* indices) {
  const Isa* isa = fastest_isa(true);
  threads = useful_threads(threads, N * Q, K, D);
  std::vector<std::unique_ptr<Codes>> stages;
  for (int64_t q = 0; q < Q; ++q) {
    stages.push_back(std::make_unique<Codes>(codebooks + q * K * D, K, D, EUCLIDEAN, *isa, threads));
    if (!stages.back()->finite) return 1;
  }
  const Chain chain{x, N, D, stages, *isa, indices};
  const int useful = (int)std::max<int64_t>(1, std::min<int64_t>(threads, (N + CHAIN_ROWS - 1) / CHAIN_ROWS));
  in_parallel(useful, [&](int t) { chain.run(t, useful); });
  return 0;
}
}
