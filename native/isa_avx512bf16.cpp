#include "isa.h"
#if defined(__x86_64__) && (__GNUC__ >= 10 || __clang_major__ >= 9)
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,fma")
#include <immintrin.h>

namespace avx512bf16 {
constexpr int ROWS = 12;
#include "kernel_avx512.h"
#include "kernel_half.h"

// Two panels at a time: ROWS * 2 sums stay in registers.
void product(const void* rows, long padded, const void* panels, const float* bias, long n_panels, float* scores,
             long stride) {
  const int* x = (const int*)rows;
  const long pairs = padded / 2;
  for (long p = 0; p < n_panels; p += 2) {
    const float* first = (const float*)panels + p * WIDTH * pairs;
    const float* second = first + WIDTH * pairs;
    Vec acc[ROWS][2];
    for (int r = 0; r < ROWS; ++r) {
      acc[r][0] = load(bias + p * WIDTH);
      acc[r][1] = load(bias + (p + 1) * WIDTH);
    }
    for (long d = 0; d < pairs; ++d) {
      const __m512bh a = (__m512bh)load(first + d * WIDTH), b = (__m512bh)load(second + d * WIDTH);
      for (int r = 0; r < ROWS; ++r) {
        const __m512bh value = (__m512bh)_mm512_set1_epi32(x[r * pairs + d]);
        acc[r][0] = _mm512_dpbf16_ps(acc[r][0], value, a);
        acc[r][1] = _mm512_dpbf16_ps(acc[r][1], value, b);
      }
    }
    for (int r = 0; r < ROWS; ++r) {
      store(scores + r * stride + p * WIDTH, acc[r][0]);
      store(scores + r * stride + (p + 1) * WIDTH, acc[r][1]);
    }
  }
}
const Isa ISA = {"avx512bf16", ROWS, WIDTH, 2, 1, enter<true>, pack, product, select, distance, dot, add,
                 finite, scaled_difference, turned_back, open, close};
}  // namespace avx512bf16
const Isa* const ISA_AVX512BF16 = &avx512bf16::ISA;
#else
const Isa* const ISA_AVX512BF16 = nullptr;
#endif
