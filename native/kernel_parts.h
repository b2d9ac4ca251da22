// Vectors so narrow that three fit where one would be filled up with zeros: the product x·e is then taken as h·h' +
// l·h' + h·l' with x = h + l and e = h' + l' up to twice the digits of bfloat16. Rows stand as (h, l, h), codes as
// (h, h, l).

static inline bool fits_in_parts(long n, long padded) { return 3 * n <= padded; }

struct Parts {
  Bits high, low;  // bfloat16 in the upper half
};

static inline Parts in_parts(Vec v, Vec centre, Vec scale, Sums* sums) {
  const Bits exponent = (Bits)v & 0x7f800000u;
  sums->highest = exponent > sums->highest ? exponent : sums->highest;
  const Vec shifted = (v - centre) * scale;
  const Bits high = rounded_to_half(shifted);
  const Vec rest = shifted - (Vec)high;
  const Bits low = rounded_to_half(rest);
  const Vec off = rest - (Vec)low;
  sums->before += shifted * shifted;
  sums->after += 2 * ((Vec)high * (Vec)high) + (Vec)low * (Vec)low;
  sums->lost += off * off;
  sums->low += (Vec)low * (Vec)low;
  return {high, low};
}

// As ``enter`` of a code, n at most LANES.
Entered enter_parts(const float* v, const float* centre, float scale, long n, long padded, void* out) {
  float numbers[LANES] = {}, shift[LANES] = {};
  __builtin_memcpy(numbers, v, n * 4);
  __builtin_memcpy(shift, centre, n * 4);
  Sums sums = {};
  const Parts parts = in_parts(load(numbers), load(shift), broadcast(scale), &sums);
  unsigned short high[LANES], low[LANES];
  *(Halves*)high = __builtin_convertvector(parts.high >> 16, Halves);
  *(Halves*)low = __builtin_convertvector(parts.low >> 16, Halves);
  __builtin_memset(out, 0, padded * 2);
  __builtin_memcpy((char*)out, high, n * 2);
  __builtin_memcpy((char*)out + n * 2, high, n * 2);
  __builtin_memcpy((char*)out + n * 4, low, n * 2);
  return entered_of(sums);
}

// As ``enter_rows``, n at most LANES.
void enter_rows_parts(const float* x, long count, const float* centre, float scale, long n, long padded, void* out,
                      EnteredRows* entered) {
  for (int first = 0; first < ROWS; first += LANES) {
    Bits* to = (Bits*)out + first / LANES * (padded / 2);
    const long rows = count - first < LANES ? count - first : LANES;
    Vec v[LANES];
    Bits part[3 * LANES + 1] = {};
    Sums sums = {};
    if (rows > 0) transposed(x + first * n, n, rows, n, v);
    for (long d = 0; rows > 0 && d < n; ++d) {
      const Parts parts = in_parts(v[d], broadcast(centre[d]), broadcast(scale), &sums);
      part[d] = part[2 * n + d] = parts.high;
      part[n + d] = parts.low;
    }
    for (long i = 0; i < padded / 2; ++i) to[i] = part[2 * i] >> 16 | part[2 * i + 1];
    store_entered(sums, first, entered);
  }
}
