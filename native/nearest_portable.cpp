// For any processor: vectors of four floats, which compilers map to SSE or NEON.
#include "survivors.h"

namespace portable {
constexpr int LANES = 4, ROWS = 4;
typedef float Vec __attribute__((vector_size(16), aligned(4)));
static inline Vec load(const float* p) { return *(const Vec*)p; }
static inline void store(float* p, Vec v) { *(Vec*)p = v; }
static inline Vec broadcast(float value) { return Vec{value, value, value, value}; }
static inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
static inline unsigned long long at_least(Vec a, float t) {
  unsigned long long lanes = 0;
  for (int i = 0; i < LANES; ++i) lanes |= (unsigned long long)(a[i] >= t) << i;
  return lanes;
}
#include "nearest_kernel.h"
}  // namespace portable
