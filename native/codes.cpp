#include "codes.h"

#include <algorithm>

#include "parallel.h"

namespace {

constexpr long CHUNK = 256;  // codes that one sum takes in: fixed, so that no bit hangs on the number of threads

template <class Work>
void over_chunks(long K, int threads, const Work& work) {
  const long chunks = (K + CHUNK - 1) / CHUNK;
  const int useful = (int)std::max(1L, std::min((long)threads, chunks));
  in_parallel(useful, [&](int t) {
    for (long chunk = t; chunk < chunks; chunk += useful) work(chunk, chunk * CHUNK, std::min(K, (chunk + 1) * CHUNK));
  });
}

// The largest of either, one by one.
void raise(Entered* most, const Entered& e) {
  most->before = std::max(most->before, e.before);
  most->after = std::max(most->after, e.after);
  most->lost = std::max(most->lost, e.lost);
  most->low = std::max(most->low, e.low);
}

}  // namespace

double inverse_length(const float* v, long n, const Isa& isa) {
  const double length = std::sqrt(isa.dot(v, v, n));
  return length > 0 ? 1 / length : 0;
}

Codes::Codes(const float* codes, long K, long D, Metric metric, const Isa& isa, int threads)
    : codes(codes), K(K), D(D), padded((D + isa.pad - 1) / isa.pad * isa.pad),
      panels((K + isa.width - 1) / isa.width), metric(metric), centre(D), factor(K, 1.0) {
  threads = worth_starting(threads, (double)K * D / 1e3);
  find_centre(isa, threads);
  if (!finite) return;
  if (metric != COSINE) find_scale(isa, threads);
  fill_panels(isa, threads);
}

// The code, for cosine at unit length, less the centre; subtracted in float64: where codes lie close together it cancels.
void Codes::direct(const float* code, double by, float* out) const {
  for (long d = 0; d < D; ++d) out[d] = (float)(code[d] * by - centre[d]);
}

void Codes::find_centre(const Isa& isa, int threads) {
  const long chunks = (K + CHUNK - 1) / CHUNK;
  std::vector<double> sums(chunks * D);
  std::vector<char> bad(chunks);
  over_chunks(K, threads, [&](long chunk, long from, long to) {
    std::vector<float> unit(D);
    for (long k = from; k < to; ++k) {
      const float* code = codes + k * D;
      bad[chunk] |= !isa.finite(code, D);
      if (metric == COSINE) {
        factor[k] = inverse_length(code, D, isa);
        direct(code, factor[k], unit.data());
        code = unit.data();
      }
      isa.add(code, D, &sums[chunk * D]);
    }
  });
  for (char b : bad) finite = finite && !b;
  for (long d = 0; d < D; ++d) {
    double sum = 0;
    for (long chunk = 0; chunk < chunks; ++chunk) sum += sums[chunk * D + d];
    centre[d] = (float)(sum / K);
  }
}

void Codes::find_scale(const Isa& isa, int threads) {
  std::vector<double> farthest((K + CHUNK - 1) / CHUNK);
  over_chunks(K, threads, [&](long chunk, long from, long to) {
    for (long k = from; k < to; ++k)
      farthest[chunk] = std::max(farthest[chunk], isa.distance(codes + k * D, 1, centre.data(), 1, D));
  });
  int exponent = 0;
  std::frexp(std::sqrt(*std::max_element(farthest.begin(), farthest.end())), &exponent);
  scale = (float)std::ldexp(1.0, std::max(-126, std::min(126, -exponent)));
}

void Codes::fill_panels(const Isa& isa, int threads) {
  screen = aligned<char>(panels * panel_bytes(isa));
  bias = aligned<float>(panels * isa.width);
  std::fill_n(bias.get(), panels * isa.width, -INFINITY);
  const long chunks = (K + CHUNK - 1) / CHUNK;
  std::vector<Entered> most(chunks);
  std::fill(screen.get() + K / isa.width * panel_bytes(isa), screen.get() + panels * panel_bytes(isa), 0);
  over_chunks(K, threads, [&](long chunk, long from, long to) {
    std::vector<float> unit(D), entered(padded), origin(D);
    for (long k = from; k < to; ++k) {
      const float* code = codes + k * D;
      if (metric != EUCLIDEAN) direct(code, factor[k], unit.data());
      const Entered e = metric == EUCLIDEAN
                            ? isa.enter(code, centre.data(), scale, D, padded, entered.data())
                            : isa.enter(unit.data(), origin.data(), scale, D, padded, entered.data());
      isa.pack(entered.data(), padded, k % isa.width, screen.get() + k / isa.width * panel_bytes(isa));
      bias[k] = metric == EUCLIDEAN ? -e.before / 2 : 0.0f;
      raise(&most[chunk], e);
    }
  });
  Entered all = {};
  for (const Entered& m : most) raise(&all, m);
  const double before = length_from(all.before, D);
  reach = before * (1 + 4 * UNIT);
  half_reach = length_from(all.after, padded);
  low = length_from(all.low, D);
  lost = length_from(all.lost, D) + before * 4 * UNIT + (metric == COSINE ? 0x1p-50 : 0);
}
