#include "isa.h"
#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#include <immintrin.h>

namespace avx2 {
constexpr int LANES = 8, ROWS = 6;
#include "kernel.h"
#include "kernel_float.h"
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline Vec max_of(Vec a, Vec b) { return _mm256_max_ps(a, b); }
static inline unsigned long long at_least(Vec a, float t) {
  return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, _mm256_set1_ps(t), _CMP_GE_OQ));
}
const Isa ISA = {"avx2", ROWS, WIDTH, 1, 0, enter<false>, pack, product, select, distance, dot, add,
                 finite, scaled_difference, turned_back, open, close};
}  // namespace avx2
const Isa* const ISA_AVX2 = &avx2::ISA;
#else
const Isa* const ISA_AVX2 = nullptr;
#endif
