#include "isa.h"
#if defined(__x86_64__) && defined(__linux__) && (__GNUC__ >= 11 || __clang_major__ >= 12)
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma,amx-tile,amx-bf16")
#include <immintrin.h>

namespace amx {
constexpr int ROWS = 32;
#include "kernel_avx512.h"
#include "kernel_half.h"

// Eight tiles of 16 rows of 64 bytes. A constant: the compiler does not know that the instruction reads all of it.
struct {
  unsigned char palette, start_row, reserved[14];
  unsigned short bytes_a_row[16];
  unsigned char rows[16];
} const CONFIG = {1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

void open_tiles() { _tile_loadconfig(&CONFIG); }
void close_tiles() { _tile_release(); }

// Two tiles of rows (4, 5) against two panels of codes (6, 7), with four tiles of sums (0 to 3).
void product(const void* rows, long padded, const void* panels, const float* bias, long n_panels, float* scores,
             long stride) {
  const char* upper = (const char*)rows;
  const char* lower = upper + 16 * padded * 2;
  for (long p = 0; p < n_panels; p += 2) {
    const char* first = (const char*)panels + p * WIDTH * padded * 2;
    const char* second = first + WIDTH * padded * 2;
    // A stride of zero: every row begins with the same sixteen numbers.
    _tile_loadd(0, bias + p * WIDTH, 0);
    _tile_loadd(1, bias + (p + 1) * WIDTH, 0);
    _tile_loadd(2, bias + p * WIDTH, 0);
    _tile_loadd(3, bias + (p + 1) * WIDTH, 0);
    for (long d = 0; d < padded; d += 32) {
      _tile_loadd(4, upper + d * 2, padded * 2);
      _tile_loadd(6, first + d * WIDTH * 2, 64);
      _tile_loadd(7, second + d * WIDTH * 2, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, lower + d * 2, padded * 2);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    float* out = scores + p * WIDTH;
    _tile_stored(0, out, stride * 4);
    _tile_stored(1, out + WIDTH, stride * 4);
    _tile_stored(2, out + 16 * stride, stride * 4);
    _tile_stored(3, out + 16 * stride + WIDTH, stride * 4);
  }
}
const Isa ISA = {"amx", ROWS, WIDTH, 32, 1, enter<true>, pack, product, select, distance, dot, add,
                 finite, scaled_difference, turned_back, open_tiles, close_tiles};
}  // namespace amx
const Isa* const ISA_AMX = &amx::ISA;
#else
const Isa* const ISA_AMX = nullptr;
#endif
