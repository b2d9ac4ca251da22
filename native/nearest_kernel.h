// The screen of the exact nearest-code search, written once and compiled for each instruction set.
//
// The including file defines, in a namespace of its own:
//   Vec            a vector of LANES floats; load, zero, broadcast, fma, max_of
//   at_least(a, t) a bit mask of the lanes of a that are >= t, NaN counting as not
//   LANES, ROWS    floats in a vector; rows whose scores stay in registers at once (ROWS * 2 accumulators)
// No header of the C++ library may come in here: an inline function of it, compiled for a newer processor, could be
// the copy that the linker keeps for all.

constexpr long WIDTH = 2 * LANES;  // codes in a panel

// |a − b|², in eight sums whose order never changes.
double distance(const double* a, const double* b, long n) {
  double sums[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  long i = 0;
  for (; i + 8 <= n; i += 8)
    for (int j = 0; j < 8; ++j) {
      const double off = a[i + j] - b[i + j];
      sums[j] += off * off;
    }
  for (; i < n; ++i) sums[0] += (a[i] - b[i]) * (a[i] - b[i]);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

// A row in float64; whether it is finite.
bool widen(const float* x, long n, double* exact) {
  unsigned highest = 0;  // exponent bits, all of them set for NaN and infinity
  for (long i = 0; i < n; ++i) {
    const unsigned bits = __builtin_bit_cast(unsigned, x[i]) & 0x7f800000u;
    highest = highest < bits ? bits : highest;
    exact[i] = x[i];
  }
  return highest < 0x7f800000u;
}

// (exact − centre) · scale in float32.
void shift(const double* exact, const double* centre, double scale, long n, float* shifted) {
  for (long i = 0; i < n; ++i) shifted[i] = (float)((exact[i] - centre[i]) * scale);
}

// Scores s(e) = x'·e' − ½|e'|² of ROWS rows against one panel of codes: panel[d * WIDTH + j], rows x[r * D + d].
static inline void score_panel(const float* x, long D, const float* panel, const float* minus_half, Vec acc[ROWS][2]) {
  const Vec first = load(minus_half), second = load(minus_half + LANES);
  for (int r = 0; r < ROWS; ++r) {
    acc[r][0] = first;
    acc[r][1] = second;
  }
  for (long d = 0; d < D; ++d) {
    const Vec a = load(panel + d * WIDTH), b = load(panel + d * WIDTH + LANES);
    for (int r = 0; r < ROWS; ++r) {
      const Vec value = broadcast(x[r * D + d]);
      acc[r][0] = fma(value, a, acc[r][0]);
      acc[r][1] = fma(value, b, acc[r][1]);
    }
  }
}

// Take the lanes of a panel that may still be among the topk nearest into the list of the row.
static void take_lanes(Survivors* row, const Vec acc[2], unsigned long long lanes, long first_code) {
  float scores[WIDTH];
  store(scores, acc[0]);
  store(scores + LANES, acc[1]);
  for (; lanes; lanes &= lanes - 1) {
    const int lane = __builtin_ctzll(lanes);
    if (scores[lane] >= row->threshold) take_score(row, scores[lane], first_code + lane);
  }
}

// The codes of some panels, the first of them number ``first_code``, against ROWS rows; ``rows`` keep every code that
// the bound cannot rule out.
void screen(const float* x, long D, const float* panels, const float* minus_half, long n_panels, long first_code,
            Survivors* rows) {
  Vec acc[ROWS][2];
  for (long p = 0; p < n_panels; ++p) {
    score_panel(x, D, panels + p * WIDTH * D, minus_half + p * WIDTH, acc);
    for (int r = 0; r < ROWS; ++r) {
      const float threshold = rows[r].threshold;
      const unsigned long long low = at_least(acc[r][0], threshold), high = at_least(acc[r][1], threshold);
      if (low | high) take_lanes(&rows[r], acc[r], low | (high << LANES), first_code + p * WIDTH);
    }
  }
}
