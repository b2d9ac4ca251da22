// Scores with a row in each lane: ROWS by WIDTH sums stay in registers, and their highest needs no look across lanes.
// The including file has ``kernel.h``, STEP, how many numbers one multiplication takes in, and ``fma``.

static inline Vec fma(Vec a, Vec b, Vec c);

// Panels of codes: panel[(d / STEP) * WIDTH + j].
void pack(const void* entered, long padded, long column, void* panel) {
  for (long i = 0; i < padded / STEP; ++i) ((unsigned*)panel)[i * WIDTH + column] = ((const unsigned*)entered)[i];
}

void product(const void* rows, long padded, const void* panels, const float* bias, long n_panels, float* scores,
             float* tops) {
  const long steps = padded / STEP;
  const float* x = (const float*)rows;
  for (long p = 0; p < n_panels; ++p) {
    const float* codes = (const float*)panels + p * WIDTH * steps;
    Vec sums[WIDTH][VECTORS];
    for (int j = 0; j < WIDTH; ++j)
      for (int v = 0; v < VECTORS; ++v) sums[j][v] = broadcast(bias[p * WIDTH + j]);
    for (long i = 0; i < steps; ++i) {
      Vec lanes[VECTORS];
      for (int v = 0; v < VECTORS; ++v) lanes[v] = load(x + (v * steps + i) * LANES);
      for (int j = 0; j < WIDTH; ++j) {
        const Vec code = broadcast(codes[i * WIDTH + j]);
        for (int v = 0; v < VECTORS; ++v) sums[j][v] = fma(lanes[v], code, sums[j][v]);
      }
    }
    for (int v = 0; v < VECTORS; ++v) {
      Vec top = sums[0][v];
      for (int j = 0; j < WIDTH; ++j) {
        store(scores + ((p * WIDTH + j) * VECTORS + v) * LANES, sums[j][v]);
        top = max_of(sums[j][v], top);
      }
      store(tops + (p * VECTORS + v) * LANES, top);
    }
  }
}
