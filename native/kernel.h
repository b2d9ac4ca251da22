// What every instruction set shares, written once and compiled for each.
//
// The including file defines, in a namespace of its own, LANES, ROWS, WIDTH, BIASED, ``max_of(a, b)``, which is b
// where a is NaN, and ``at_least(a, t)``: a bit mask of the lanes where a >= t, NaN counting as not. No header of the
// C++ library may come in here: an inline function of it, compiled for a newer processor, could be the copy that the
// linker keeps for all.

typedef float Vec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef unsigned Bits __attribute__((vector_size(4 * LANES), aligned(4)));
typedef float Eight __attribute__((vector_size(32), aligned(4)));
typedef double Wide __attribute__((vector_size(64), aligned(8)));
typedef unsigned short Halves __attribute__((vector_size(2 * LANES), aligned(2)));

static inline Vec load(const float* p) { return *(const Vec*)p; }
static inline void store(float* p, Vec v) { *(Vec*)p = v; }
static inline Vec broadcast(float value) { return value - Vec{}; }

static inline unsigned long long at_least(Vec a, Vec t);
static inline Vec max_of(Vec a, Vec b);
static inline void transposed(const float* x, long stride, long rows, long columns, Vec* out);
static inline unsigned long long column_at_least(const Scored& scored, long panel, int r, float t, float* out);

constexpr int VECTORS = ROWS / LANES;  // of a panel of rows

static inline float sum_of(Vec v) {
  float sum = 0;
  for (int j = 0; j < LANES; ++j) sum += v[j];
  return sum;
}

#ifdef WIDEN  // compilers take the general form apart
static inline Wide widen(const float* p) { return (Wide)WIDEN(p); }
#else
static inline Wide widen(const float* p) { return __builtin_convertvector(*(const Eight*)p, Wide); }
#endif

// Sixteen sums whose order never changes, two vectors of eight.
double distance(const float* x, double scale_x, const float* e, double scale_e, long n) {
  Wide sums[2] = {};
  long i = 0;
  for (; i + 16 <= n; i += 16)
    for (int j = 0; j < 2; ++j) {
      const Wide off = widen(x + i + 8 * j) * scale_x - widen(e + i + 8 * j) * scale_e;
      sums[j] += off * off;
    }
  double rest = 0;
  for (; i < n; ++i) {
    const double off = x[i] * scale_x - e[i] * scale_e;
    rest += off * off;
  }
  const Wide s = sums[0] + sums[1];
  return (((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]))) + rest;
}

double dot(const float* a, const float* b, long n) {
  Wide sums[2] = {};
  long i = 0;
  for (; i + 16 <= n; i += 16)
    for (int j = 0; j < 2; ++j) sums[j] += widen(a + i + 8 * j) * widen(b + i + 8 * j);
  double rest = 0;
  for (; i < n; ++i) rest += (double)a[i] * b[i];
  const Wide s = sums[0] + sums[1];
  return (((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]))) + rest;
}

void add(const float* v, long n, double* sum) {
  long i = 0;
  for (; i + 8 <= n; i += 8) *(Wide*)(sum + i) += widen(v + i);
  for (; i < n; ++i) sum[i] += v[i];
}

// Nearest bfloat16, ties to even; what would be subnormal becomes zero, since the products take it for zero.
static inline Bits rounded_to_half(Vec v) {
  const Bits bits = (Bits)v;
  const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
  return (rounded & 0x7f800000u) == 0 ? rounded & 0x80000000u : rounded;
}

// What is summed of numbers as they enter; ``low``: see kernel_parts.h.
struct Sums {
  Vec before, after, lost, low;
  Bits highest;
};

// Numbers as they are multiplied: float32, or bfloat16 in the upper half.
template <bool HALF>
static inline Bits entered_lanes(Vec v, Vec centre, Vec scale, Sums* sums) {
  const Bits exponent = (Bits)v & 0x7f800000u;
  sums->highest = exponent > sums->highest ? exponent : sums->highest;
  const Vec shifted = (v - centre) * scale;
  sums->before += shifted * shifted;
  if constexpr (!HALF) {
    sums->after += shifted * shifted;
    return (Bits)shifted;
  }
  const Bits bits = rounded_to_half(shifted);
  const Vec kept = (Vec)bits, off = shifted - kept;
  sums->after += kept * kept;
  sums->lost += off * off;
  return bits;
}

static inline Entered entered_of(const Sums& sums) {
  unsigned top = 0;
  for (int j = 0; j < LANES; ++j) top = top < sums.highest[j] ? sums.highest[j] : top;
  return {sum_of(sums.before), sum_of(sums.after), sum_of(sums.lost), sum_of(sums.low), top < 0x7f800000u};
}

static inline void store_entered(const Sums& sums, int first, EnteredRows* entered) {
  store(entered->after + first, sums.after);
  store(entered->lost + first, sums.lost);
  store(entered->low + first, sums.low);
  for (int j = 0; j < LANES; ++j) entered->finite[first + j] = sums.highest[j] < 0x7f800000u;
}

template <bool HALF>
Entered enter(const float* v, const float* centre, float scale, long n, long padded, void* out) {
  constexpr int SIZE = HALF ? 2 : 4;
  Sums sums = {};
  const auto put = [&](const float* from, const float* shift, void* to) {
    const Bits bits = entered_lanes<HALF>(load(from), load(shift), broadcast(scale), &sums);
    if constexpr (HALF)
      *(Halves*)to = __builtin_convertvector(bits >> 16, Halves);
    else
      store((float*)to, (Vec)bits);
  };
  long i = 0;
  for (; i + LANES <= n; i += LANES) put(v + i, centre + i, (char*)out + i * SIZE);
  if (i < n) {
    float last[LANES] = {}, shift[LANES] = {}, end[LANES];
    __builtin_memcpy(last, v + i, (n - i) * 4);
    __builtin_memcpy(shift, centre + i, (n - i) * 4);
    put(last, shift, end);
    __builtin_memcpy((char*)out + i * SIZE, end, (n - i) * SIZE);
  }
  __builtin_memset((char*)out + n * SIZE, 0, (padded - n) * SIZE);
  return entered_of(sums);
}

// A panel of rows: VECTORS times [padded][LANES] floats, or [padded / 2][LANES] pairs of bfloat16.
template <bool HALF>
void enter_rows(const float* x, long count, const float* centre, float scale, long n, long padded, void* out,
                EnteredRows* entered) {
  constexpr int STEP = HALF ? 2 : 1;
  for (int first = 0; first < ROWS; first += LANES) {
    Bits* to = (Bits*)out + first / LANES * (padded / STEP);
    const long rows = count - first < LANES ? count - first : LANES;
    Sums sums = {};
    for (long start = 0; start < n; start += LANES) {
      const long columns = n - start < LANES ? n - start : LANES;
      Vec v[LANES];
      for (long r = 0; r < rows; ++r) __builtin_prefetch(x + (first + ROWS + r) * n + start, 0, 2);
      if (rows > 0) transposed(x + first * n + start, n, rows, columns, v);
      const auto number = [&](long d) {
        return entered_lanes<HALF>(v[d], broadcast(centre[start + d]), broadcast(scale), &sums);
      };
      for (long d = 0; rows > 0 && d < columns; d += STEP) {
        const Bits one = number(d), none = {};
        if constexpr (HALF)
          to[(start + d) / 2] = one >> 16 | (d + 1 < columns ? number(d + 1) : none);
        else
          to[start + d] = one;
      }
    }
    for (long i = rows > 0 ? (n + STEP - 1) / STEP : 0; i < padded / STEP; ++i) to[i] = Bits{};
    store_entered(sums, first, entered);
  }
}

// The codes of a panel that may be among the nearest of one row.
static inline void take_column(const Scored& scored, long panel, Screened* screened, int r) {
  float column[WIDTH > LANES ? WIDTH : LANES];
  unsigned long long kept = column_at_least(scored, panel, r, screened->threshold[r], column);
  for (; kept; kept &= kept - 1) {
    const int j = __builtin_ctzll(kept);
    if (screened->topk == 1 || column[j] >= screened->threshold[r])
      take_score(screened, r, column[j], scored.first_code + panel * WIDTH + j);
  }
}

template <bool KEPT>
static inline void select_from(const Scored& scored, Screened* screened) {
  constexpr int WORD = 64, TOGETHER = WORD / LANES;  // panels whose answers fill a word
  for (int first = 0; first < ROWS; first += LANES) {
    if (screened->topk == 1)
      store(screened->threshold + first, load(screened->highest + first) - load(screened->slack + first));
    const auto take = [&](unsigned at) { take_column(scored, at / LANES, screened, first + at % LANES); };
    // Scores to be computed again come together, so that the processor works on several at a time.
    unsigned waiting[2 * WORD], count = 0;
    const auto take_waiting = [&] {
      for (unsigned i = 0; i < count; ++i) take(waiting[i]);
      count = 0;
    };
    for (long p = 0; p < scored.n_panels; p += TOGETHER) {
      const Vec threshold = load(screened->threshold + first);
      unsigned long long taken = 0;
      for (long i = 0; i < TOGETHER && p + i < scored.n_panels; ++i)
        taken |= at_least(load(scored.tops + (p + i) * ROWS + first), threshold) << (i * LANES);
      for (; taken; taken &= taken - 1) {
        const unsigned at = (unsigned)p * LANES + __builtin_ctzll(taken);
        if constexpr (KEPT)
          take(at);
        else
          waiting[count++] = at;
      }
      if (screened->topk > 1 || count > WORD) take_waiting();
    }
    take_waiting();
  }
}

bool finite(const float* v, long n) {
  Bits highest = {};
  unsigned top = 0;
  long i = 0;
  for (; i + LANES <= n; i += LANES) {
    const Bits exponent = (Bits)load(v + i) & 0x7f800000u;
    highest = exponent > highest ? exponent : highest;
  }
  for (; i < n; ++i) {
    const unsigned exponent = __builtin_bit_cast(unsigned, v[i]) & 0x7f800000u;
    top = top < exponent ? exponent : top;
  }
  for (int j = 0; j < LANES; ++j) top = top < highest[j] ? highest[j] : top;
  return top < 0x7f800000u;
}

// out = by·(x − e)
void scaled_difference(const float* x, const float* e, float by, long n, float* out) {
  for (long i = 0; i < n; ++i) out[i] = by * (x[i] - e[i]);
}

// The gradient g of the quantized row to the row x of code q, by the transpose of the rotation trick's map. With
// unit vectors u = x/|x| and v = q/|q| it is (|q|/|x|)·(g − (u + v)·(u·g + v·g)/(1 + u·v) + 2u·(v·g)).
void turned_back(const float* g, const float* x, const float* q, long n, float* out) {
  const double xx = dot(x, x, n), qq = dot(q, q, n);
  const double scale = __builtin_sqrt(qq) / __builtin_sqrt(xx);
  if (!(xx > 0 && qq > 0 && (float)scale > 0 && (float)scale < __builtin_inff())) {
    for (long i = 0; i < n; ++i) out[i] = g[i];
    return;
  }
  const double by_x = 1 / __builtin_sqrt(xx), by_q = 1 / __builtin_sqrt(qq);
  const double gu = dot(g, x, n) * by_x, gv = dot(g, q, n) * by_q, middle = 1 + dot(x, q, n) * by_x * by_q;
  // Opposite vectors have no middle to turn about: then the map is u ↦ v alone.
  const double turn = middle > 0x1p-40 ? (gu + gv) / middle : 0;
  const float along_x = (float)(by_x * (2 * gv - turn) * scale), along_q = (float)(by_q * turn * scale);
  const float whole = (float)scale;
  for (long i = 0; i < n; ++i) out[i] = whole * g[i] + along_x * x[i] - along_q * q[i];
}

void open() {}
void close() {}

#include "kernel_tables.h"
