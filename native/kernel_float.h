// Products in float32. The including file has ``kernel.h``, ``fma`` and ROWS: ROWS * 2 sums stay in registers.

constexpr long WIDTH = 2 * LANES;  // codes in a panel: panel[d * WIDTH + j]

static inline Vec fma(Vec a, Vec b, Vec c);

void pack(const void* entered, long padded, long column, void* panel) {
  for (long d = 0; d < padded; ++d) ((float*)panel)[d * WIDTH + column] = ((const float*)entered)[d];
}

void product(const void* rows, long padded, const void* panels, const float* bias, long n_panels, float* scores,
             long stride) {
  const float* x = (const float*)rows;
  for (long p = 0; p < n_panels; ++p) {
    const float* panel = (const float*)panels + p * WIDTH * padded;
    Vec acc[ROWS][2];
    for (int r = 0; r < ROWS; ++r) {
      acc[r][0] = load(bias + p * WIDTH);
      acc[r][1] = load(bias + p * WIDTH + LANES);
    }
    for (long d = 0; d < padded; ++d) {
      const Vec a = load(panel + d * WIDTH), b = load(panel + d * WIDTH + LANES);
      for (int r = 0; r < ROWS; ++r) {
        const Vec value = broadcast(x[r * padded + d]);
        acc[r][0] = fma(value, a, acc[r][0]);
        acc[r][1] = fma(value, b, acc[r][1]);
      }
    }
    for (int r = 0; r < ROWS; ++r) {
      store(scores + r * stride + p * WIDTH, acc[r][0]);
      store(scores + r * stride + p * WIDTH + LANES, acc[r][1]);
    }
  }
}
