// Tables of 2^k numbers, one for each value of k bits, the first bit the most significant.

static inline Vec cut_off(Vec v, float least) { return v > broadcast(least) ? v : Vec{}; }
static inline float cut_off(float v, float least) { return v > least ? v : 0; }

// table[c] = the product over the bits j of c of bits[2j + bit], where it is above ``least`` all the way, else 0.
// From the last bit on, so that every new bit doubles the table in whole runs.
void grow_table(const float* bits, long k, float least, float* table) {
  table[0] = 1;
  long size = 1;
  for (long j = k - 1; j >= 0; --j, size *= 2) {
    const float zero = bits[2 * j], one = bits[2 * j + 1];
    long i = 0;
    for (; i + LANES <= size; i += LANES) {
      const Vec v = load(table + i);
      store(table + size + i, cut_off(v * one, least));
      store(table + i, cut_off(v * zero, least));
    }
    for (; i < size; ++i) {
      const float v = table[i];
      table[size + i] = cut_off(v * one, least);
      table[i] = cut_off(v * zero, least);
    }
  }
}

// Of the products table[c]·slope[c], the sums of those whose bit j is one, and where it is zero. Takes room for 2^k
// numbers: every bit folds the table in half.
void bit_sums(const float* table, const float* slope, long k, float* room, float* ones, float* zeros) {
  long size = 1l << k, i = 0;
  for (; i + LANES <= size; i += LANES) store(room + i, load(table + i) * load(slope + i));
  for (; i < size; ++i) room[i] = table[i] * slope[i];
  for (long j = 0; j < k; ++j) {
    size /= 2;
    Vec lower = {}, upper = {};
    for (i = 0; i + LANES <= size; i += LANES) {
      const Vec a = load(room + i), b = load(room + size + i);
      lower += a;
      upper += b;
      store(room + i, a + b);
    }
    float zero = sum_of(lower), one = sum_of(upper);
    for (; i < size; ++i) {
      zero += room[i];
      one += room[size + i];
      room[i] += room[size + i];
    }
    ones[j] = one;
    zeros[j] = zero;
  }
}
