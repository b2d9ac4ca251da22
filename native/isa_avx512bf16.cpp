#include "isa.h"
#if defined(__x86_64__) && (__GNUC__ >= 10 || __clang_major__ >= 9)
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,fma")
#include <immintrin.h>

namespace avx512bf16 {
constexpr int WIDTH = 12, STEP = 2;
constexpr bool BIASED = true;
#include "kernel_avx512.h"
#include "kernel_lanes.h"
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
const Isa ISA = {"avx512bf16", ROWS, WIDTH, STEP, 1, 32, enter<true>, pack, enter_rows<true>, product, select, distance,
                 dot, add, finite, scaled_difference, turned_back, grow_table, bit_sums, open, close};
}  // namespace avx512bf16
const Isa* const ISA_AVX512BF16 = &avx512bf16::ISA;
#else
const Isa* const ISA_AVX512BF16 = nullptr;
#endif
