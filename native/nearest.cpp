// Exact nearest codes on the CPU: screen in float32, verify in float64. The bound is derived in
// vqkit/kernels/reference/nearest.py; here the sum starts at −½|e'|², one more term of the same sum.
//
// Rows are independent of each other and of the number of threads, and so are their bits.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "survivors.h"

#define DECLARE(isa)                                                                              \
  namespace isa {                                                                                 \
  void screen(const float*, long, const float*, const float*, long, long, Survivors*);            \
  double distance(const double*, const double*, long);                                            \
  bool widen(const float*, long, double*);                                                        \
  void shift(const double*, const double*, double, long, float*);                                 \
  }
DECLARE(avx512)
DECLARE(avx2)
DECLARE(portable)

namespace {

struct Isa {
  const char* name;
  int rows;   // rows screened at once
  int width;  // codes in a panel
  decltype(&portable::screen) screen;
  decltype(&portable::distance) distance;
  decltype(&portable::widen) widen;
  decltype(&portable::shift) shift;
};

// The instruction sets this build knows, fastest first; ``supported`` asks the processor.
const Isa ISAS[] = {
#if defined(__x86_64__)
    {"avx512", 12, 32, avx512::screen, avx512::distance, avx512::widen, avx512::shift},
    {"avx2", 6, 16, avx2::screen, avx2::distance, avx2::widen, avx2::shift},
#endif
    {"portable", 4, 8, portable::screen, portable::distance, portable::widen, portable::shift},
};
constexpr int N_ISAS = sizeof(ISAS) / sizeof(ISAS[0]);

bool supported(int isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (isa == 0) return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (isa == 1) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return isa == N_ISAS - 1;
}

constexpr long PANEL_FLOATS = 1 << 16;  // 256 KiB
constexpr long TILE_BLOCKS = 16;

double norm(const double* v, long n) {
  double sum = 0;
  for (long i = 0; i < n; ++i) sum += v[i] * v[i];
  return std::sqrt(sum);
}

bool make_unit(double* v, long n) {
  const double length = norm(v, n);
  if (length == 0) return false;
  for (long i = 0; i < n; ++i) v[i] /= length;
  return true;
}

// A codebook as the search wants it.
struct Codes {
  long K, D, panels;
  bool cosine;
  double scale, gamma, underflow, reach = 0;
  std::vector<double> exact, centre, origin;
  std::vector<char> directed;  // not zero
  std::vector<float> screen, minus_half;

  Codes(const float* codes, long K, long D, bool cosine, int width)
      : K(K), D(D), panels((K + width - 1) / width), cosine(cosine), exact(codes, codes + K * D), centre(D),
        origin(D), directed(K, 1), screen(panels * width * D), minus_half(panels * width, -INFINITY) {
    const double terms = (D + 8) * 0x1p-24;
    gamma = terms / (1 - terms);
    underflow = D * 0x1p-126;
    if (cosine)
      for (long k = 0; k < K; ++k) directed[k] = make_unit(&exact[k * D], D);
    for (long k = 0; k < K; ++k)
      for (long d = 0; d < D; ++d) centre[d] += exact[k * D + d];
    // The centre is a float32 number, so that one rounding and no more separates x − c from the truth.
    for (long d = 0; d < D; ++d) centre[d] = (float)(centre[d] / K);
    std::vector<double> shifted(D), reaches(K);
    for (long k = 0; k < K; ++k) {
      for (long d = 0; d < D; ++d) shifted[d] = exact[k * D + d] - centre[d];
      reaches[k] = norm(shifted.data(), D);
      reach = std::max(reach, reaches[k]);
    }
    int exponent = 0;
    if (std::isfinite(reach)) std::frexp(reach, &exponent);
    scale = std::ldexp(1.0, -exponent);
    for (long k = 0; k < K; ++k) {
      float* panel = &screen[k / width * width * D] + k % width;
      for (long d = 0; d < D; ++d) panel[d * width] = (float)((exact[k * D + d] - centre[d]) * scale);
      const double r = reaches[k] * scale;
      minus_half[k] = cosine ? 0.0f : (float)(-r * r / 2);
    }
    reach *= scale * (1 + 0x1p-20);
  }
};

struct Search {
  const float* x;
  long N;
  const Codes& codes;
  const Isa& isa;
  int topk;
  int64_t* indices;
  double* distances;

  // Tiles first, first + stride, … Panels that fit into the second-level cache serve all rows of a tile.
  void run(long first, long stride) const {
    const long D = codes.D, tile = tile_rows(), group = std::max(1L, PANEL_FLOATS / (isa.width * D));
    std::vector<double> exact(tile * D);
    std::vector<float> shifted(tile * D);
    std::vector<Survivors> rows(tile);
    std::vector<char> finite(tile);
    for (long start = first * tile; start < N; start += stride * tile) {
      const long count = std::min(tile, N - start), blocks = (count + isa.rows - 1) / isa.rows;
      for (long r = 0; r < blocks * isa.rows; ++r) finite[r] = enter(start + r, r, exact, shifted, rows);
      for (long panel = 0; panel < codes.panels; panel += group)
        for (long r = 0; r < blocks * isa.rows; r += isa.rows)
          isa.screen(&shifted[r * D], D, &codes.screen[panel * isa.width * D], &codes.minus_half[panel * isa.width],
                     std::min(group, codes.panels - panel), panel * isa.width, &rows[r]);
      for (long r = 0; r < count; ++r) leave(start + r, finite[r], &exact[r * D], &rows[r]);
    }
  }

  long tile_rows() const { return TILE_BLOCKS * isa.rows; }

  // One row into the space of the screen; whether it is finite.
  bool enter(long n, long r, std::vector<double>& exact, std::vector<float>& shifted,
             std::vector<Survivors>& rows) const {
    const long D = codes.D;
    double* e = &exact[r * D];
    const bool finite = n < N && isa.widen(x + n * D, D, e);
    if (!finite) std::fill(e, e + D, 0.0);
    if (codes.cosine) make_unit(e, D);
    isa.shift(e, codes.cosine ? codes.origin.data() : codes.centre.data(), codes.scale, D, &shifted[r * D]);
    // |x − c|·scale, by the distance: a last rounding or two, which the margin covers.
    const double squared = isa.distance(e, codes.cosine ? codes.origin.data() : codes.centre.data(), D) * codes.scale * codes.scale;
    const double length = std::sqrt(squared) * (1 + 0x1p-20);
    const double bound = codes.gamma * (length * codes.reach + codes.reach * codes.reach / 2) + codes.underflow;
    begin(&rows[r], topk, (float)(2 * bound * (1 + 0x1p-20)));
    // A row so far off that its scores overflow keeps every code.
    if (!(bound < 1e37)) rows[r].full = 1;
    return finite;
  }

  // The survivors measured again straight from differences: identical codes have identical distances, so ties go to
  // the lowest index. Index −1: no finite row. −2: too many survivors, for another search.
  void leave(long n, bool finite, const double* e, Survivors* row) const {
    int64_t* index = indices + n * topk;
    double* found = distances + n * topk;
    if (finite) drop_ruled_out(row);
    if (!finite || row->full || row->count < topk) {
      for (int t = 0; t < topk; ++t) {
        index[t] = finite ? -2 : -1;
        found[t] = INFINITY;
      }
      return;
    }
    bool directed = false;
    for (long d = 0; d < codes.D; ++d) directed = directed || e[d] != 0;
    for (int t = 0; t < topk; ++t) {
      index[t] = -1;
      found[t] = INFINITY;
    }
    // Codes came in ascending order, and an equal distance goes behind: of equals the lower index stays in front.
    for (int i = 0; i < row->count; ++i) {
      const long k = row->code[i];
      double away = isa.distance(e, &codes.exact[k * codes.D], codes.D);
      if (codes.cosine) away = directed && codes.directed[k] ? away / 2 : 1.0;
      if (index[topk - 1] >= 0 && !(away < found[topk - 1])) continue;
      int t = topk - 1;
      for (; t > 0 && (index[t - 1] < 0 || away < found[t - 1]); --t) {
        index[t] = index[t - 1];
        found[t] = found[t - 1];
      }
      index[t] = k;
      found[t] = away;
    }
  }
};

template <class Work>
void in_parallel(int threads, const Work& work) {
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(work, t);
  work(0);
  for (auto& other : others) other.join();
}

}  // namespace

extern "C" {

// The name of an instruction set this processor has, fastest first; null past the last.
const char* vqkit_isa(int number) {
  for (int isa = 0; isa < N_ISAS; ++isa)
    if (supported(isa) && number-- == 0) return ISAS[isa].name;
  return nullptr;
}

// indices (N, topk) and distances (N, topk) of rows x (N, D) among codes (K, D), float32 both. Returns 0, or 1 where
// the codes are not finite and nothing was done, or 2 for an unknown instruction set (a name of vqkit_isa, or null).
int vqkit_nearest(const float* x, int64_t N, const float* codes, int64_t K, int64_t D, int cosine, int topk,
                  const char* isa_name, int threads, int64_t* indices, double* distances) {
  const Isa* isa = nullptr;
  for (int i = N_ISAS - 1; i >= 0; --i)
    if (supported(i) && (!isa_name || std::string(isa_name) == ISAS[i].name)) isa = &ISAS[i];
  if (!isa || topk > MAX_TOPK || topk > K) return 2;
  for (int64_t i = 0; i < K * D; ++i)
    if (!std::isfinite(codes[i])) return 1;
  const Codes prepared(codes, K, D, cosine != 0, isa->width);
  const Search search{x, N, prepared, *isa, topk, indices, distances};
  const double tiles = std::ceil((double)N / search.tile_rows());
  // A thread costs tens of microseconds: less than a million multiplications are not worth one.
  const double work = (double)N * K * D;
  const int useful = (int)std::max(1.0, std::min({(double)threads, tiles, work / 1e6}));
  in_parallel(useful, [&](int t) { search.run(t, useful); });
  return 0;
}

// counts (K,) and sums (K, D) float64 of the rows x (N, D) of each index; negative indices are left out. Threads share
// the columns, so that the order of additions is that of the rows whatever their number.
void vqkit_code_sums(const float* x, const int64_t* indices, int64_t N, int64_t K, int64_t D, int threads,
                     int64_t* counts, double* sums) {
  std::fill(counts, counts + K, 0);
  std::fill(sums, sums + K * D, 0.0);
  for (int64_t n = 0; n < N; ++n)
    if (indices[n] >= 0) ++counts[indices[n]];
  const int useful = (int)std::max<int64_t>(1, std::min<int64_t>({threads, D / 16, N * D / 1000000}));
  in_parallel(useful, [&](int t) {
    const int64_t from = D * t / useful, to = D * (t + 1) / useful;
    for (int64_t n = 0; n < N; ++n) {
      if (indices[n] < 0) continue;
      double* sum = sums + indices[n] * D;
      const float* row = x + n * D;
      for (int64_t d = from; d < to; ++d) sum[d] += row[d];
    }
  });
}
}
