// What the three instruction sets of AVX-512 share: kernel.h on vectors of sixteen floats.

constexpr int LANES = 16;
#define WIDEN(p) _mm512_cvtps_pd(_mm256_loadu_ps(p))
#include "kernel.h"
static inline Vec max_of(Vec a, Vec b) { return _mm512_max_ps(a, b); }
static inline unsigned long long at_least(Vec a, float t) {
  return _mm512_cmp_ps_mask(a, _mm512_set1_ps(t), _CMP_GE_OQ);
}
