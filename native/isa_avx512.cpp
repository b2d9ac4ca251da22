#include "isa.h"
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma")
#include <immintrin.h>

namespace avx512 {
constexpr int WIDTH = 12, STEP = 1;
constexpr bool BIASED = true;
#include "kernel_avx512.h"
#include "kernel_lanes.h"
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
const Isa ISA = {"avx512", ROWS, WIDTH, STEP, 0, 32, enter<false>, pack, enter_rows<false>, product, select, distance, dot,
                 add, finite, scaled_difference, turned_back, grow_table, bit_sums, open, close};
}  // namespace avx512
const Isa* const ISA_AVX512 = &avx512::ISA;
#else
const Isa* const ISA_AVX512 = nullptr;
#endif
