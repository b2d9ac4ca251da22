#include "isa.h"
#if defined(__x86_64__) && defined(__linux__) && (__GNUC__ >= 11 || __clang_major__ >= 12)
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma,amx-tile,amx-bf16")
#include <immintrin.h>

namespace amx {
constexpr int WIDTH = 32;
constexpr bool BIASED = false;
#include "kernel_avx512.h"
#include "kernel_parts.h"

// Eight tiles of 16 rows of 64 bytes. A constant: the compiler does not know that the instruction reads all of it.
struct {
  unsigned char palette, start_row, reserved[14];
  unsigned short bytes_a_row[16];
  unsigned char rows[16];
} const CONFIG = {1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

void open_tiles() { _tile_loadconfig(&CONFIG); }
void close_tiles() { _tile_release(); }

// Panels of codes: [padded / 32] times two tiles of sixteen codes, 32 numbers of each.
void pack(const void* entered, long padded, long column, void* panel) {
  for (long d = 0; d < padded; d += 32)
    __builtin_memcpy((char*)panel + d * WIDTH * 2 + column * 64, (const char*)entered + d * 2, 64);
}

static inline unsigned long long column_at_least(const Scored& scored, long panel, int r, float t, float* out) {
  return kept_at_least(scored.scores + panel * WIDTH * ROWS + r, scored.bias + panel * WIDTH, t, out);
}

// The highest scores of each row among the codes of a panel.
static inline void find_tops(const float* scores, const float* bias, float* tops) {
  const auto score = [&](int j, int v) { return load(scores + j * ROWS + v * LANES) + bias[j]; };
  Vec even[VECTORS], odd[VECTORS];
  for (int v = 0; v < VECTORS; ++v) {
    even[v] = score(0, v);
    odd[v] = score(1, v);
  }
  for (int j = 2; j < WIDTH; j += 2)
    for (int v = 0; v < VECTORS; ++v) {
      even[v] = max_of(score(j, v), even[v]);
      odd[v] = max_of(score(j + 1, v), odd[v]);
    }
  for (int v = 0; v < VECTORS; ++v) store(tops + v * LANES, max_of(even[v], odd[v]));
}

// Two tiles of codes (4, 5) against two of rows (6, 7), with four tiles of sums (0 to 3), which cannot begin with a
// bias: a tile's rows are codes. Sums of one panel are stored between the first products of the next, as either waits
// for the other where they come one after another. Not inlined: with more to keep in registers it gets slower.
__attribute__((noinline)) void multiply(const void* rows, long padded, const void* panels, const float* bias,
                                        long n_panels, float* scores, float* tops) {
  const char *x = (const char*)rows, *lower = x + padded * LANES * 2, *codes = (const char*)panels;
  constexpr int TILE = 1024, HALF = 16 * ROWS;
  for (long p = 0; p <= n_panels; ++p, codes += padded * WIDTH * 2) {
    float* done = p > 0 ? scores + (p - 1) * WIDTH * ROWS : scores;
    if (p > 0) {
      _tile_stored(0, done, ROWS * 4);
      _tile_stored(1, done + LANES, ROWS * 4);
    }
    if (p < n_panels) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_loadd(4, codes, 64);
      _tile_loadd(6, x, 64);
      _tile_loadd(7, lower, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
    }
    if (p > 0) {
      _tile_stored(2, done + HALF, ROWS * 4);
      _tile_stored(3, done + HALF + LANES, ROWS * 4);
    }
    if (p < n_panels) {
      _tile_zero(2);
      _tile_zero(3);
      _tile_loadd(5, codes + TILE, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
      for (long t = 1; t < padded / 32; ++t) {
        _tile_loadd(4, codes + t * 2 * TILE, 64);
        _tile_loadd(6, x + t * TILE, 64);
        _tile_loadd(7, lower + t * TILE, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, codes + t * 2 * TILE + TILE, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
    if (p > 0) find_tops(done, bias + (p - 1) * WIDTH, tops + (p - 1) * ROWS);
  }
}

void product(const Scored& s, float* highest) {
  multiply(s.rows, s.padded, s.panels, s.bias, s.n_panels, s.scores, s.tops);
  for (int v = 0; v < VECTORS; ++v) {
    Vec best = load(highest + v * LANES);
    for (long p = 0; p < s.n_panels; ++p) best = max_of(load(s.tops + (p * VECTORS + v) * LANES), best);
    store(highest + v * LANES, best);
  }
}

void select(const Scored& scored, Screened* screened) { select_from<true>(scored, screened); }

Entered enter_code(const float* v, const float* centre, float scale, long n, long padded, void* out) {
  return (fits_in_parts(n, padded) ? enter_parts : enter<true>)(v, centre, scale, n, padded, out);
}

void enter_panel(const float* x, long count, const float* centre, float scale, long n, long padded, void* out,
                 EnteredRows* entered) {
  (fits_in_parts(n, padded) ? enter_rows_parts : enter_rows<true>)(x, count, centre, scale, n, padded, out, entered);
}

const Isa ISA = {"amx", ROWS, WIDTH, 32, 1, 0, enter_code, pack, enter_panel, product, select, distance, dot, add,
                 finite, scaled_difference, turned_back, grow_table, bit_sums, open_tiles, close_tiles};
}  // namespace amx
const Isa* const ISA_AMX = &amx::ISA;
#else
const Isa* const ISA_AMX = nullptr;
#endif
