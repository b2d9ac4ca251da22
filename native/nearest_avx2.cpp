#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#include <immintrin.h>

#include "survivors.h"

namespace avx2 {
constexpr int LANES = 8, ROWS = 6;
typedef __m256 Vec;
static inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
static inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
static inline Vec broadcast(float value) { return _mm256_set1_ps(value); }
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline unsigned long long at_least(Vec a, float t) {
  return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, _mm256_set1_ps(t), _CMP_GE_OQ));
}
#include "nearest_kernel.h"
}  // namespace avx2
#endif
