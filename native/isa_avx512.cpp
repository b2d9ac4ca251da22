#include "isa.h"
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma")
#include <immintrin.h>

namespace avx512 {
constexpr int ROWS = 12;
#include "kernel_avx512.h"
#include "kernel_float.h"
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
const Isa ISA = {"avx512", ROWS, WIDTH, 1, 0, enter<false>, pack, product, select, distance, dot, add,
                 finite, scaled_difference, turned_back, open, close};
}  // namespace avx512
const Isa* const ISA_AVX512 = &avx512::ISA;
#else
const Isa* const ISA_AVX512 = nullptr;
#endif
