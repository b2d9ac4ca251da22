// What the three instruction sets of AVX-512 share: kernel.h on vectors of sixteen floats.

constexpr int LANES = 16, ROWS = 32;
#define WIDEN(p) _mm512_cvtps_pd(_mm256_loadu_ps(p))
#include "kernel.h"
static inline Vec max_of(Vec a, Vec b) { return _mm512_max_ps(a, b); }
static inline unsigned long long at_least(Vec a, Vec t) { return _mm512_cmp_ps_mask(a, t, _CMP_GE_OQ); }

// Up to 16 rows and 16 columns, the rest zeros: 4 × 4 numbers change places within quarters of the vectors, and these
// among each other.
static inline void transposed(const float* x, long stride, long rows, long columns, Vec* out) {
  const __mmask16 wanted = (__mmask16)((1u << columns) - 1);
  __m512 v[16], pairs[16], fours[16];
  for (int r = 0; r < 16; ++r) v[r] = r < rows ? _mm512_maskz_loadu_ps(wanted, x + r * stride) : _mm512_setzero_ps();
  for (int r = 0; r < 16; r += 2) {
    pairs[r] = _mm512_unpacklo_ps(v[r], v[r + 1]);
    pairs[r + 1] = _mm512_unpackhi_ps(v[r], v[r + 1]);
  }
  const auto low = [](__m512 a, __m512 b) { return _mm512_shuffle_ps(a, b, 0x44); };
  const auto high = [](__m512 a, __m512 b) { return _mm512_shuffle_ps(a, b, 0xee); };
  for (int r = 0; r < 16; r += 4) {
    fours[r] = low(pairs[r], pairs[r + 2]);
    fours[r + 1] = high(pairs[r], pairs[r + 2]);
    fours[r + 2] = low(pairs[r + 1], pairs[r + 3]);
    fours[r + 3] = high(pairs[r + 1], pairs[r + 3]);
  }
  const auto even = [](__m512 a, __m512 b) { return _mm512_shuffle_f32x4(a, b, 0x88); };
  const auto odd = [](__m512 a, __m512 b) { return _mm512_shuffle_f32x4(a, b, 0xdd); };
  for (int c = 0; c < 4; ++c) {
    const __m512 a = even(fours[c], fours[c + 4]), b = odd(fours[c], fours[c + 4]);
    const __m512 more_a = even(fours[c + 8], fours[c + 12]), more_b = odd(fours[c + 8], fours[c + 12]);
    out[c] = even(a, more_a);
    out[c + 4] = even(b, more_b);
    out[c + 8] = odd(a, more_a);
    out[c + 12] = odd(b, more_b);
  }
}

// The scores that were kept of one row and the codes of a panel, and a bit mask of those that are >= t.
static inline unsigned long long kept_at_least(const float* scores, const float* bias, float t, float* out) {
  const __m512i order = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i at = _mm512_mullo_epi32(order, _mm512_set1_epi32(ROWS));
  unsigned long long kept = 0;
  for (int j = 0; j < WIDTH; j += LANES) {
    const __mmask16 there = WIDTH - j < LANES ? (__mmask16)((1u << (WIDTH - j)) - 1) : 0xffff;
    __m512 column = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), there, at, scores + j * ROWS, 4);
    if (!BIASED) column = _mm512_add_ps(column, _mm512_maskz_loadu_ps(there, bias + j));
    _mm512_mask_storeu_ps(out + j, there, column);
    kept |= (unsigned long long)_mm512_mask_cmp_ps_mask(there, column, _mm512_set1_ps(t), _CMP_GE_OQ) << j;
  }
  return kept;
}
