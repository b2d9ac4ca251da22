#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma")
#include <immintrin.h>

#include "survivors.h"

namespace avx512 {
constexpr int LANES = 16, ROWS = 12;
typedef __m512 Vec;
static inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
static inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
static inline Vec broadcast(float value) { return _mm512_set1_ps(value); }
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline unsigned long long at_least(Vec a, float t) {
  return _mm512_cmp_ps_mask(a, _mm512_set1_ps(t), _CMP_GE_OQ);
}
#include "nearest_kernel.h"
}  // namespace avx512
#endif
