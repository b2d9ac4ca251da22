// Exact nearest codes on the CPU: screen in float32 or bfloat16, verify in float64.
//
// Screening. With a centre c and a power of two σ, x' = σ(x − c) and e' = σ(e − c), the nearest code maximises
// s = x'·e' − ½|e'|². For cosine x' is x at about unit length (any positive factor leaves the order), e' = e/|e| − c,
// and there is no second term; nor is there for inner products, with x' = x and e' = σ(e − c): x·c is the same for all.
//
// The bound. Let u = 2⁻²⁴; x1 and e1 are x' and e' in float32, each number off by at most 2u of itself; x̃ and ẽ are
// what is multiplied: x1 and e1 (for cosine e/|e| in float64, 2⁻⁵⁰ beside the truth), or these rounded to bfloat16
// (subnormal ones to zero). By Cauchy and Schwarz
//   |x'·e' − x̃·ẽ| = |(x' − x̃)·e' + x̃·(e' − ẽ)| ≤ |x' − x̃||e'| + |x̃||e' − ẽ|,
// and these lengths are measured, not estimated: rounding to bfloat16 loses about a third of what it might. Where
// there is room, x̃ = h + l is the sum of two numbers of bfloat16, likewise ẽ, and of the products of sums l·l' is
// left out: at most |l||l'| more. x̂·ê is what is left, x̂ = (h, l, h) and ê = (h', h', l'), else x̂ = x̃ and ê = ẽ;
// |x̃| ≤ |x̂|. Its sum of products and −½|e'|², in any order and with up to two roundings a term, adds at most
// γ(|x̂||ê| + ½|e'|²) with γ = nu / (1 − nu), n = 2D + 32 for the D of x̂ (Higham, Accuracy and Stability of
// Numerical Algorithms, §3.1), and what is lost to underflow: at most 2⁻¹²⁶ a product. The half square itself is off
// by (D + 8)u of itself, within the same γ. All codes share the largest |e'|, |ê|, |e' − ẽ| and |l'|: one bound a
// row. A code whose score lies more than twice that bound below the topk-th best is ruled out; either score may have
// been summed again in another order. A row whose bound is no small number rules out nothing.
//
// Verifying. The survivors, mostly one, are measured in float64 straight from differences, where identical codes have
// identical distances, so ties go to the lowest index. A row with too many survivors goes on to the float32 screen,
// and at last every distance of it is measured. Rows are independent of each other and of the number of threads, and
// so are their bits.
#include "search.h"

#include <atomic>

#include "parallel.h"

namespace {

constexpr long GROUP_BYTES = 1 << 19;  // of panels that serve all rows of a tile from the second-level cache
constexpr long TILE_ROWS = 384;
constexpr long SCORES = 128;  // of a row at a time, so few that those of a panel of rows stay in the first-level cache

// Rows handed out to threads a tile at a time, and ever fewer towards the end, so that none waits long for another.
class Tiles {
 public:
  Tiles(long N, long rows, long tile, int threads) : N(N), rows(rows), tile(tile), threads(threads) {}

  // The next rows, [first, second); none where they are equal.
  std::pair<long, long> next() {
    long from = done, count;
    do {
      const long share = threads > 1 ? (N - from) / (2 * threads) / rows * rows : tile;
      count = std::min(N - from, std::max(rows, std::min(tile, share)));
    } while (!done.compare_exchange_weak(from, from + count));
    return {from, from + count};
  }

 private:
  const long N, rows, tile;
  const int threads;
  std::atomic<long> done = 0;
};

// |x − e|², or 1 − cos, or −x·e, in float64.
double measured(const float* x, double factor_x, const float* e, double factor_e, long D, Metric metric,
                const Isa& isa) {
  if (metric == DOT) return -isa.dot(x, e, D);
  if (metric == COSINE && (factor_x == 0 || factor_e == 0)) return 1;
  const double squared = isa.distance(x, factor_x, e, factor_e, D);
  return metric == COSINE ? squared / 2 : squared;
}

double measured(const float* x, double factor, long k, const Codes& codes, const Isa& isa) {
  return measured(x, factor, codes.codes + k * codes.D, codes.factor[k], codes.D, codes.metric, isa);
}

}  // namespace

Search::Search(const float* x, long N, const Codes& codes, const Isa& isa, const Found& found, int threads)
    : x(x), N(N), codes(codes), isa(isa), found(found) {
  // Where all codes stay in the cache, so may the rows: few at a time. Else many, which share each group of codes.
  group = std::max(SCORES / isa.width, GROUP_BYTES / codes.panel_bytes(isa));
  const long share = (N + threads - 1) / threads, wanted = group >= codes.panels ? 1 : TILE_ROWS / isa.rows;
  tile = std::max(1L, std::min(wanted, share / isa.rows)) * isa.rows;
}

int useful_threads(int threads, long N, long K, long D) {
  return worth_starting(threads, (double)N * K * D / 1e5);
}

// What a thread works in.
struct Search::Room {
  Aligned<char> entered;       // panels of rows
  Aligned<Screened> screened;  // as many
  Aligned<float> scores, tops;
  std::vector<double> factor;             // of each row, −1 where it is not finite
  std::vector<float> unit, origin;        // cosine: the rows of a panel at unit length

  Room(const Search& search)
      : entered(aligned<char>(search.tile * search.row_bytes())),
        screened(aligned<Screened>(search.tile / search.isa.rows)),
        scores(aligned<float>(search.keeps_scores() ? search.isa.rows * SCORES : 0)),
        tops(aligned<float>(search.isa.rows * search.at_a_time())), factor(search.tile),
        unit(search.codes.metric == COSINE ? search.isa.rows * search.codes.D : 0), origin(search.codes.D) {}
};

long Search::row_bytes() const { return codes.padded * (isa.half ? 2 : 4); }

// Panels of codes that one product takes: where no scores are kept all of a group, as the highest of many rule out most.
long Search::at_a_time() const { return keeps_scores() ? SCORES / isa.width : std::min(group, codes.panels); }

void Search::run(int threads) const {
  const int useful = (int)std::max(1L, std::min((long)threads, (N + tile - 1) / tile));
  Tiles tiles(N, isa.rows, tile, useful);
  in_parallel(useful, [&](int) {
    Room room(*this);
    isa.open();
    for (auto [from, to] = tiles.next(); from < to; std::tie(from, to) = tiles.next()) run(from, to - from, &room);
    isa.close();
  });
}

// A tile of rows.
void Search::run(long start, long count, Room* room) const {
  for (long r = 0; r < count; r += isa.rows) enter(start, r, std::min((long)isa.rows, count - r), room);
  for (long from = 0; from < codes.panels; from += group)
    for (long r = 0; r < count; r += isa.rows) score(r, from, std::min(codes.panels, from + group), room);
  for (long r = 0; r < count; ++r)
    leave(start + r, room->factor[r], &room->screened[r / isa.rows], (int)(r % isa.rows));
}

// The panel of rows from ``r`` of a tile on, against panels of codes.
void Search::score(long r, long from, long to, Room* room) const {
  Screened* screened = &room->screened[r / isa.rows];
  for (long panel = from, panels; panel < to; panel += panels) {
    panels = std::min(at_a_time(), to - panel);
    const long code = panel * isa.width;
    const Scored scored = {&room->entered[r * row_bytes()], codes.padded, codes.panel(panel, isa), &codes.bias[code],
                           panels, code, keeps_scores() ? room->scores.get() : nullptr, room->tops.get()};
    isa.product(scored, screened->highest);
    isa.select(scored, screened);
  }
}

// The panel of ``count`` rows from ``r`` of the tile at ``start`` on into the space of the screen.
void Search::enter(long start, long r, long count, Room* room) const {
  const float* rows = x + (start + r) * codes.D;
  std::fill_n(&room->factor[r], count, 1.0);
  if (codes.metric == COSINE) {
    to_unit_length(rows, count, &room->factor[r], room->unit.data());
    rows = room->unit.data();
  }
  const bool shifted = codes.metric == EUCLIDEAN;
  EnteredRows entered;
  isa.enter_rows(rows, count, shifted ? codes.centre.data() : room->origin.data(), shifted ? codes.scale : 1, codes.D,
                 codes.padded, &room->entered[r * row_bytes()], &entered);
  Screened* screened = &room->screened[r / isa.rows];
  screened->topk = found.topk;
  for (int i = 0; i < isa.rows; ++i) {
    begin(screened, i, i < count ? slack(entered.after[i], entered.lost[i], entered.low[i]) : -INFINITY);
    if (i < count && !entered.finite[i]) room->factor[r + i] = -1;
  }
}

void Search::to_unit_length(const float* rows, long count, double* factor, float* out) const {
  for (long r = 0; r < count; ++r) {
    const float* row = rows + r * codes.D;
    factor[r] = inverse_length(row, codes.D, isa);
    const double by = std::isfinite(factor[r]) ? factor[r] : 1;
    for (long d = 0; d < codes.D; ++d) out[r * codes.D + d] = (float)(row[d] * by);
  }
}

// Twice the bound of a row's scores, −∞ where that is no small number; given |x̂|², |x1 − x̃|² and |l|².
float Search::slack(float after_squared, float lost_squared, float low_squared) const {
  const double after = length_from(after_squared, codes.padded), off = length_from(lost_squared, codes.D);
  const double lost = off + (after + off) * 4 * UNIT;  // |x1| is at most the sum of these lengths
  const double left_out = length_from(low_squared, codes.D) * codes.low;
  const double terms = (2.0 * codes.padded + 32) * UNIT, gamma = terms / (1 - terms);
  const double summed = gamma * (after * codes.half_reach + codes.reach * codes.reach / 2) + codes.padded * 0x1p-126;
  const double bound = lost * codes.reach + after * codes.lost + left_out + summed;
  return bound < 1e30 && after * codes.half_reach < 1e30 ? (float)(2 * bound * (1 + 0x1p-20)) : -INFINITY;
}

void Search::leave(long n, double factor, Screened* screened, int r) const {
  Survivors* row = &screened->rows[r];
  if (factor < 0) return found.fill(n, NO_ROW);
  if (codes.metric == COSINE && factor == 0) row->full = 1;  // every code is as far
  drop_ruled_out(screened, r);
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

bool measure_all(const float* x, long N, const float* table, long K, long D, Metric metric, const Isa& isa, int threads,
                 const Found& found) {
  std::vector<double> factor(K, 1.0);
  std::atomic<bool> finite = true;
  for (long k = 0; metric == COSINE && k < K; ++k) {
    factor[k] = inverse_length(table + k * D, D, isa);
    if (!isa.finite(table + k * D, D)) finite = false;
  }
  threads = (int)std::min((long)useful_threads(threads, N, K, D), std::max(1L, N));
  in_parallel(threads, [&](int t) {
    for (long n = t; n < N; n += threads) {
      const float* row = x + n * D;
      if (!isa.finite(row, D)) {
        found.fill(n, NO_ROW);
        continue;
      }
      const double own = metric == COSINE ? inverse_length(row, D, isa) : 1;
      found.choose(n, K, [&](long k) {
        const double away = measured(row, own, table + k * D, factor[k], D, metric, isa);
        if (!std::isfinite(away)) finite = false;
        return std::pair(k, away);
      });
    }
  });
  return finite;
}
