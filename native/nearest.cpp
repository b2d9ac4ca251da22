// Exact nearest codes on the CPU: screen in float32 or bfloat16, verify in float64.
//
// Screening. With a centre c and a power of two σ, x' = σ(x − c) and e' = σ(e − c), the nearest code maximises
// s = x'·e' − ½|e'|². For cosine x' is x at about unit length (any positive factor leaves the order), e' = e/|e| − c,
// and there is no second term.
//
// The bound. Let u = 2⁻²⁴; x1 and e1 are x' and e' in float32, each number off by at most 2u of itself; x̂ and ê are what
// is multiplied: x1 and e1 (for cosine e/|e| in float64, 2⁻⁵⁰ beside the truth), or these rounded to bfloat16 (subnormal ones to zero). By Cauchy and Schwarz
//   |x'·e' − x̂·ê| = |(x' − x̂)·e' + x̂·(e' − ê)| ≤ |x' − x̂||e'| + |x̂||e' − ê|,
// and these lengths are measured, not estimated: rounding to bfloat16 loses about a third of what it might. The sum of
// the D products and −½|e'|², in any order and with up to two roundings a term, adds at most γ(|x̂||ê| + ½|e'|²) with
// γ = nu / (1 − nu), n = 2D + 32 (Higham, Accuracy and Stability of Numerical Algorithms, §3.1), and what is lost to
// underflow: at most 2⁻¹²⁶ a product. The half square itself is off by (D + 8)u of itself, within the same γ.
// All codes share the largest |e'|, |ê| and |e' − ê|: one bound a row. A code whose score lies more than twice
// that bound below the topk-th best is ruled out. A row whose bound is no small number keeps every code.
//
// Verifying. The survivors, mostly one, are measured in float64 straight from differences, where identical codes have
// identical distances, so ties go to the lowest index. A row with too many survivors goes on to the float32 screen, and at
// last every distance of it is measured. Rows are independent of each other and of the number of threads, and so are their bits.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "codes.h"
#include "parallel.h"
#include "processor.h"

namespace {

constexpr long GROUP_BYTES = 1 << 19;  // of panels that serve all rows of a tile from the second-level cache
constexpr long TILE_ROWS = 384;
constexpr long FEW_ROWS = 4;
constexpr int LATER_SCORES = 128;
constexpr int OFF_SET = 16;  // keeps rows of scores from a power of two apart, where they would meet in one set of the cache
constexpr int64_t NO_ROW = -1, UNRESOLVED = -2;

// The answer; ``distance`` is null where nobody asked for it, and topk then 1.
struct Found {
  int topk;
  int64_t* index;
  double* distance;

  void fill(long n, int64_t value) const {
    std::fill_n(index + n * topk, topk, value);
    if (distance) std::fill_n(distance + n * topk, topk, INFINITY);
  }

  // Candidates come in ascending order, and an equal distance goes behind: of equals the lower index stays in front.
  template <class Measure>
  void choose(long n, long count, const Measure& measure) const {
    double nearest[MAX_TOPK];
    int64_t* i = index + n * topk;
    fill(n, NO_ROW);
    for (long c = 0; c < count; ++c) {
      const auto [code, away] = measure(c);
      int t = topk - 1;
      if (i[t] >= 0 && !(away < nearest[t])) continue;
      for (; t > 0 && (i[t - 1] < 0 || away < nearest[t - 1]); --t) {
        i[t] = i[t - 1];
        nearest[t] = nearest[t - 1];
      }
      i[t] = code;
      nearest[t] = away;
    }
    if (distance) std::copy_n(nearest, topk, distance + n * topk);
  }
};

// 1, or 1/|x| for cosine, 0 for a zero vector.
double factor_of(const float* x, const Codes& codes, const Isa& isa, const float* origin) {
  if (!codes.cosine) return 1;
  const double length = std::sqrt(isa.distance(x, 1, origin, 1, codes.D));
  return length > 0 ? 1 / length : 0;
}

double measured(const float* x, double factor, long k, const Codes& codes, const Isa& isa) {
  if (codes.cosine && (factor == 0 || codes.factor[k] == 0)) return 1;
  const double squared = isa.distance(x, factor, codes.codes + k * codes.D, codes.factor[k], codes.D);
  return codes.cosine ? squared / 2 : squared;
}

struct Search {
  const float* x;
  long N;
  const Codes& codes;
  const Isa& isa;
  Found found;
  long group, tile;  // panels, rows

  // Tiles first, first + stride, … of rows.
  void run(long first, long stride) const {
    const long row_bytes = codes.padded * (isa.half ? 2 : 4);
    const Aligned<char> entered = aligned<char>(tile * row_bytes);
    const Aligned<float> scores = aligned<float>(isa.rows * (MAX_SCORES + OFF_SET));
    std::vector<float> shifted(codes.D), origin(codes.D);
    std::vector<Survivors> rows(tile);
    std::vector<double> factor(tile);
    isa.open();
    for (long start = first * tile; start < N; start += stride * tile) {
      const long count = std::min(tile, N - start);
      for (long r = 0; r < count; ++r)
        factor[r] = enter(x + (start + r) * codes.D, &entered[r * row_bytes], &rows[r], shifted.data(), origin.data());
      for (long from = 0; from < codes.panels; from += group)
        for (long r = 0; r < count; r += isa.rows)
          score(&entered[r * row_bytes], std::min((long)isa.rows, count - r), from, std::min(codes.panels, from + group),
                scores.get(), &rows[r]);
      for (long r = 0; r < count; ++r) leave(start + r, factor[r], &rows[r]);
    }
    isa.close();
  }

  // Some rows against panels ``from`` to ``to``. Many codes at first, whose best rules out most; then as few as leave
  // their scores in the first-level cache.
  void score(const char* entered, long count, long from, long to, float* scores, Survivors* rows) const {
    for (long panel = from; panel < to;) {
      const long wanted = (panel == 0 ? MAX_SCORES : LATER_SCORES) / isa.width, panels = std::min(wanted, to - panel);
      const long code = panel * isa.width, n = panels * isa.width, stride = n + OFF_SET;
      isa.product(entered, codes.padded, codes.panel(panel, isa), &codes.bias[code], panels, scores, stride);
      for (long r = 0; r < count; ++r) isa.select(scores + r * stride, n, code, &rows[r]);
      panel += panels;
    }
  }

  // One row into the space of the screen. Returns its factor, −1 for a row that is not finite.
  double enter(const float* row, char* out, Survivors* kept, float* shifted, const float* origin) const {
    const double factor = factor_of(row, codes, isa, origin);
    const float* direct = row;
    if (codes.cosine && std::isfinite(factor)) {
      for (long d = 0; d < codes.D; ++d) shifted[d] = (float)(row[d] * factor);
      direct = shifted;
    }
    const float* centre = codes.cosine ? origin : codes.centre.data();
    const Entered e = isa.enter(direct, centre, codes.scale, codes.D, codes.padded, out);
    const double before = length_from(e.before, codes.D), after = length_from(e.after, codes.D);
    const double lost = length_from(e.lost, codes.D) + before * 4 * UNIT;
    const double terms = (2.0 * codes.padded + 32) * UNIT, gamma = terms / (1 - terms);
    const double summed = gamma * (after * codes.half_reach + codes.reach * codes.reach / 2) + codes.padded * 0x1p-126;
    const double bound = lost * codes.reach + after * codes.lost + summed;
    begin(kept, found.topk, (float)(2 * bound * (1 + 0x1p-20)));
    kept->full = !(bound < 1e30 && after * codes.half_reach < 1e30);
    return e.finite ? factor : -1;
  }

  void leave(long n, double factor, Survivors* row) const {
    if (factor < 0) return found.fill(n, NO_ROW);
    if (codes.cosine && factor == 0) row->full = 1;  // every code is as far
    drop_ruled_out(row);
    if (row->full || row->count < found.topk) return found.fill(n, UNRESOLVED);
    if (row->count == 1 && !found.distance) {
      found.index[n] = row->list[0].code;
      return;
    }
    found.choose(n, row->count, [&](long i) {
      const long k = row->list[i].code;
      return std::pair(k, measured(x + n * codes.D, factor, k, codes, isa));
    });
  }
};

// Every distance of every row, for rows so few that preparing the codes would take longer, or that no screen tells
// apart. Whether the codes are finite.
bool measure_all(const float* x, long N, const float* table, long K, long D, bool cosine, const Isa& isa, int threads,
                 const Found& found) {
  const std::vector<float> origin(D);
  const auto factor_or_nan = [&](const float* v) {
    const double squared = isa.distance(v, 1, origin.data(), 1, D);
    return !std::isfinite(squared) ? NAN : !cosine ? 1 : squared > 0 ? 1 / std::sqrt(squared) : 0;
  };
  std::vector<double> factor(K, 1.0);
  std::atomic<bool> finite = true;
  for (long k = 0; cosine && k < K; ++k) {
    factor[k] = factor_or_nan(table + k * D);
    if (std::isnan(factor[k])) finite = false;
  }
  threads = (int)std::max(1.0, std::min({(double)threads, (double)N, (double)N * K * D / 4e6}));
  in_parallel(threads, [&](int t) {
    for (long n = t; n < N; n += threads) {
      const float* row = x + n * D;
      const double own = factor_or_nan(row);
      if (std::isnan(own)) {
        found.fill(n, NO_ROW);
        continue;
      }
      found.choose(n, K, [&](long k) {
        double away = isa.distance(row, own, table + k * D, factor[k], D);
        if (cosine) away = own == 0 || factor[k] == 0 ? 1 : away / 2;
        if (!std::isfinite(away)) finite = false;
        return std::pair(k, away);
      });
    }
  });
  return finite;
}

void search(const float* x, long N, const float* table, long K, long D, bool cosine, const Isa& isa, int threads,
            const Found& found, bool* finite) {
  // A thread costs tens of microseconds: less than some millions of multiplications are not worth one.
  threads = (int)std::max(1.0, std::min((double)threads, (double)N * K * D / 4e6));
  const Codes codes(table, K, D, cosine, isa, threads);
  *finite = codes.finite;
  if (!codes.finite) return;
  // Where all codes stay in the cache, so may the rows: few at a time. Else many, which share each group of codes.
  const long group = std::max(MAX_SCORES, (int)(GROUP_BYTES / codes.panel_bytes(isa)) * isa.width / MAX_SCORES * MAX_SCORES) / isa.width;
  const long share = (N + threads - 1) / threads, wanted = group >= codes.panels ? 1 : TILE_ROWS / isa.rows;
  const long tile = std::max(1L, std::min(wanted, share / isa.rows)) * isa.rows;
  const Search work{x, N, codes, isa, found, group, tile};
  const int useful = (int)std::max(1L, std::min((long)threads, (N + tile - 1) / tile));
  in_parallel(useful, [&](int t) { work.run(t, useful); });
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
// finite. For topk 1 distances may be null. Returns 0, or 1 where the codes are not finite and the answer means nothing,
// or 2 for an unknown instruction set (a name of vqkit_isa, or null) or a topk beyond MAX_TOPK.
int vqkit_nearest(const float* x, int64_t N, const float* codes, int64_t K, int64_t D, int cosine, int topk,
                  const char* isa_name, int threads, int64_t* indices, double* distances) {
  const Isa* isa = isa_name ? isa_called(isa_name) : fastest_isa(true);
  if (!isa || topk > MAX_TOPK || topk > K || K > INT32_MAX) return 2;
  const Found found{topk, indices, distances};
  const auto by_measuring = [&](const float* rows, long n, const Found& into) {
    return measure_all(rows, n, codes, K, D, cosine != 0, *isa, threads, into);
  };
  if (N <= FEW_ROWS) return by_measuring(x, N, found) ? 0 : 1;
  bool finite;
  search(x, N, codes, K, D, cosine != 0, *isa, threads, found, &finite);
  if (!finite) return 1;
  if (isa->half)
    search_again(x, N, D, found, [&](const float* rows, long n, const Found& into) {
      search(rows, n, codes, K, D, cosine != 0, *fastest_isa(false), threads, into, &finite);
    });
  search_again(x, N, D, found, by_measuring);
  return 0;
}
}
