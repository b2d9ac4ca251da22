// Scores with a row in each lane: ROWS by WIDTH sums stay in registers, and their highest needs no look across lanes.
// The including file has ``kernel.h``, STEP, how many numbers one multiplication takes in, and ``fma``.

static inline Vec fma(Vec a, Vec b, Vec c);

// Panels of codes: panel[(d / STEP) * WIDTH + j].
void pack(const void* entered, long padded, long column, void* panel) {
  for (long i = 0; i < padded / STEP; ++i) ((unsigned*)panel)[i * WIDTH + column] = ((const unsigned*)entered)[i];
}

// By halves: one after another, all would wait for each.
template <int FROM, int COUNT>
static inline __attribute__((always_inline)) Vec highest_of(const Vec (&sums)[WIDTH][VECTORS], int v) {
  if constexpr (COUNT == 1)
    return sums[FROM][v];
  else
    return max_of(highest_of<FROM + COUNT / 2, COUNT - COUNT / 2>(sums, v), highest_of<FROM, COUNT / 2>(sums, v));
}

template <bool KEPT>
static inline void scores_of(const Scored& scored, float* highest) {
  const long steps = scored.padded / STEP;
  const float *x = (const float*)scored.rows, *codes = (const float*)scored.panels;
  Vec best[VECTORS];
  for (int v = 0; v < VECTORS; ++v) best[v] = load(highest + v * LANES);
  for (long p = 0; p < scored.n_panels; ++p, codes += WIDTH * steps) {
    Vec sums[WIDTH][VECTORS];
    for (int j = 0; j < WIDTH; ++j)
      for (int v = 0; v < VECTORS; ++v) sums[j][v] = broadcast(scored.bias[p * WIDTH + j]);
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
      if constexpr (!KEPT) top = highest_of<0, WIDTH>(sums, v);
      for (int j = 0; KEPT && j < WIDTH; ++j) {  // between stores, one after another costs nothing
        store(scored.scores + ((p * WIDTH + j) * VECTORS + v) * LANES, sums[j][v]);
        top = max_of(sums[j][v], top);
      }
      store(scored.tops + (p * VECTORS + v) * LANES, top);
      best[v] = max_of(top, best[v]);
    }
  }
  for (int v = 0; v < VECTORS; ++v) store(highest + v * LANES, best[v]);
}

void product(const Scored& scored, float* highest) {
  (scored.scores ? scores_of<true> : scores_of<false>)(scored, highest);
}

void select(const Scored& scored, Screened* screened) {
  (scored.scores ? select_from<true> : select_from<false>)(scored, screened);
}

// The scores of one row and the codes of a panel, and a bit mask of those that are >= t. Where none were kept they are
// computed again, a code in each lane and in another order, which the bound of their rounding allows.
static inline unsigned long long column_at_least(const Scored& scored, long panel, int r, float t, float* out) {
  const float* bias = scored.bias + panel * WIDTH;
  if (scored.scores) return kept_at_least(scored.scores + panel * WIDTH * ROWS + r, bias, t, out);
  static_assert(WIDTH <= LANES);  // lanes behind the last code hold what comes after it in memory
  const long steps = scored.padded / STEP;
  const float* x = (const float*)scored.rows + r / LANES * steps * LANES + r % LANES;
  const float* codes = (const float*)scored.panels + panel * WIDTH * steps;
  Vec even = load(bias), odd = {};
  long i = 0;
  for (; i + 2 <= steps; i += 2) {
    even = fma(broadcast(x[i * LANES]), load(codes + i * WIDTH), even);
    odd = fma(broadcast(x[(i + 1) * LANES]), load(codes + (i + 1) * WIDTH), odd);
  }
  if (i < steps) even = fma(broadcast(x[i * LANES]), load(codes + i * WIDTH), even);
  store(out, even + odd);
  return at_least(even + odd, broadcast(t)) & ((1ull << WIDTH) - 1);
}
