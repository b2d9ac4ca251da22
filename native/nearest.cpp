// The nearest codes of rows: a screen, a finer one for what it leaves open, and at last every distance.
#include "parallel.h"
#include "processor.h"
#include "search.h"

namespace {

constexpr long FEW_ROWS = 4;

// Whether the codes are finite.
bool search(const float* x, long N, const float* table, long K, long D, Metric metric, const Isa& isa, int threads,
            const Found& found) {
  threads = useful_threads(threads, N, K, D);
  const Codes codes(table, K, D, metric, isa, threads);
  if (codes.finite) Search(x, N, codes, isa, found, threads).run(threads);
  return codes.finite;
}

// The rows that a screen left open, searched again: search(rows, N, found).
template <class Again>
void search_again(const float* x, long N, long D, const Found& found, const Again& search) {
  std::vector<long> open;
  for (long n = 0; n < N; ++n)
    if (found.index[n * found.topk] == UNRESOLVED) open.push_back(n);
  if (open.empty()) return;
  std::vector<float> rows(open.size() * D);
  for (size_t i = 0; i < open.size(); ++i) std::copy_n(x + open[i] * D, D, &rows[i * D]);
  std::vector<int64_t> index(open.size() * found.topk);
  std::vector<double> distance(found.distance ? open.size() * found.topk : 0);
  search(rows.data(), (long)open.size(), Found{found.topk, index.data(), found.distance ? distance.data() : nullptr});
  for (size_t i = 0; i < open.size(); ++i) {
    std::copy_n(&index[i * found.topk], found.topk, found.index + open[i] * found.topk);
    if (found.distance) std::copy_n(&distance[i * found.topk], found.topk, found.distance + open[i] * found.topk);
  }
}

}  // namespace

extern "C" {

// indices (N, topk) and distances (N, topk) of rows x (N, D) among codes (K, D), float32 both: −1 where a row is not
// finite. metric_number: of ``Metric``. For topk 1 distances may be null. Returns 0, or 1 where the codes are not finite
// and the answer means nothing, or 2 for an unknown instruction set (a name of vqkit_isa, or null) or a topk beyond
// MAX_TOPK.
int vqkit_nearest(const float* x, int64_t N, const float* codes, int64_t K, int64_t D, int metric_number, int topk,
                  const char* isa_name, int threads, int64_t* indices, double* distances) {
  const Isa* isa = isa_name ? isa_called(isa_name) : fastest_isa(true);
  if (!isa || topk > MAX_TOPK || topk > K || K > INT32_MAX) return 2;
  const Metric metric = (Metric)metric_number;
  const Found found{topk, indices, distances};
  const auto by_measuring = [&](const float* rows, long n, const Found& into) {
    return measure_all(rows, n, codes, K, D, metric, *isa, threads, into);
  };
  if (N <= FEW_ROWS) return by_measuring(x, N, found) ? 0 : 1;
  if (!search(x, N, codes, K, D, metric, *isa, threads, found)) return 1;
  if (isa->half)
    search_again(x, N, D, found, [&](const float* rows, long n, const Found& into) {
      search(rows, n, codes, K, D, metric, *fastest_isa(false), threads, into);
    });
  search_again(x, N, D, found, by_measuring);
  return 0;
}
}
