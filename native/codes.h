// A codebook as the search wants it: shifted, scaled, in panels; and what bounds the rounding of its scores.
#pragma once
#include <cmath>
#include <vector>

#include "aligned.h"
#include "isa.h"

enum Metric { EUCLIDEAN, COSINE, DOT };

struct Codes {
  const float* codes;
  long K, D, padded, panels;
  Metric metric;
  bool finite = true;
  std::vector<float> centre;    // (D,)
  std::vector<double> factor;   // (K,) 1, or 1/|e| for cosine, 0 for a zero code
  float scale = 1;              // a power of two that brings the farthest code near one
  double reach, half_reach, lost, low;  // the largest |e'|, |ê|, |e' − ẽ| and |l'|
  Aligned<char> screen;
  Aligned<float> bias;          // −½|e'|² where the distance is Euclidean, else 0; −inf behind the last code

  Codes(const float* codes, long K, long D, Metric metric, const Isa& isa, int threads);
  const char* panel(long number, const Isa& isa) const { return screen.get() + number * panel_bytes(isa); }
  long panel_bytes(const Isa& isa) const { return isa.width * padded * (isa.half ? 2 : 4); }

 private:
  void find_centre(const Isa& isa, int threads);
  void find_scale(const Isa& isa, int threads);
  void fill_panels(const Isa& isa, int threads);
  void direct(const float* code, double by, float* out) const;
};

// 1/|v|, 0 for a zero vector.
double inverse_length(const float* v, long n, const Isa& isa);

constexpr double UNIT = 0x1p-24;  // of float32

// An upper bound of the length of n numbers, given the float32 sum of their squares: it may have rounded n + 3 times,
// and squares below 2⁻¹²⁶ may have been lost.
inline double length_from(float squares, long n) {
  return std::sqrt((double)squares * (1 + (n + 3) * 2 * UNIT) + n * 0x1p-126);
}
