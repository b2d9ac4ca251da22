#include "isa.h"
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma")
#include <immintrin.h>

namespace avx512 {
constexpr int LANES = 16, ROWS = 12;
#define WIDEN(p) _mm512_cvtps_pd(_mm256_loadu_ps(p))
#include "kernel.h"
#include "kernel_float.h"
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline Vec max_of(Vec a, Vec b) { return _mm512_max_ps(a, b); }
static inline unsigned long long at_least(Vec a, float t) {
  return _mm512_cmp_ps_mask(a, _mm512_set1_ps(t), _CMP_GE_OQ);
}
const Isa ISA = {"avx512", ROWS, WIDTH, 1, 0, enter<false>, pack, product, select, distance, dot, add,
                 finite, scaled_difference, turned_back, open, close};
}  // namespace avx512
const Isa* const ISA_AVX512 = &avx512::ISA;
#else
const Isa* const ISA_AVX512 = nullptr;
#endif
