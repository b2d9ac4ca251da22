// For any processor: vectors of four floats, which compilers map to SSE or NEON.
#include "isa.h"

namespace portable {
constexpr int LANES = 4, ROWS = 8, WIDTH = 4, STEP = 1;
constexpr bool BIASED = true;
#include "kernel.h"
#include "kernel_gather.h"
#include "kernel_lanes.h"
static inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
static inline Vec max_of(Vec a, Vec b) { return a > b ? a : b; }
static inline unsigned long long at_least(Vec a, Vec t) {
  unsigned long long lanes = 0;
  for (int i = 0; i < LANES; ++i) lanes |= (unsigned long long)(a[i] >= t[i]) << i;
  return lanes;
}
const Isa ISA = {"portable", ROWS, WIDTH, STEP, 0, 32, enter<false>, pack, enter_rows<false>, product, select, distance,
                 dot, add, finite, scaled_difference, turned_back, grow_table, bit_sums, open, close};
}  // namespace portable
const Isa* const ISA_PORTABLE = &portable::ISA;
