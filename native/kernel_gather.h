// Rows into lanes where the instruction set has no fast way.

static inline void transposed(const float* x, long stride, long rows, long columns, Vec* out) {
  float v[LANES][LANES] = {};
  for (long r = 0; r < rows; ++r)
    for (long c = 0; c < columns; ++c) v[c][r] = x[r * stride + c];
  for (int c = 0; c < LANES; ++c) out[c] = load(v[c]);
}

// The scores that were kept of one row and the codes of a panel, and a bit mask of those that are >= t.
static inline unsigned long long kept_at_least(const float* scores, const float* bias, float t, float* out) {
  unsigned long long kept = 0;
  for (int j = 0; j < WIDTH; ++j) {
    out[j] = BIASED ? scores[j * ROWS] : scores[j * ROWS] + bias[j];
    kept |= (unsigned long long)(out[j] >= t) << j;
  }
  return kept;
}
