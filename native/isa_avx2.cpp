#include "isa.h"
#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#include <immintrin.h>

namespace avx2 {
constexpr int LANES = 8, ROWS = 16, WIDTH = 6, STEP = 1;
constexpr bool BIASED = true;
#include "kernel.h"
#include "kernel_gather.h"
#include "kernel_lanes.h"
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline Vec max_of(Vec a, Vec b) { return _mm256_max_ps(a, b); }
static inline unsigned long long at_least(Vec a, Vec t) {
  return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, t, _CMP_GE_OQ));
}
const Isa ISA = {"avx2", ROWS, WIDTH, STEP, 0, 32, enter<false>, pack, enter_rows<false>, product, select, distance, dot,
                 add, finite, scaled_difference, turned_back, grow_table, bit_sums, open, close};
}  // namespace avx2
const Isa* const ISA_AVX2 = &avx2::ISA;
#else
const Isa* const ISA_AVX2 = nullptr;
#endif
