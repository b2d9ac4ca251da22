// Coordinates to the values of their nearest levels, one pass over memory each.
//
// Rows of a few coordinates make short loops. So what a coordinate needs is written out for TILE rows, and the
// numbers of as many rows are one run of equal work, which compilers turn into vectors.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "parallel.h"

namespace {

constexpr int64_t TILE = 32;

// Numbers (D,) for each coordinate of TILE rows.
std::vector<float> for_tile(const float* numbers, int64_t D) {
  std::vector<float> tile(TILE * D);
  for (int64_t i = 0; i < TILE * D; ++i) tile[i] = numbers[i % D];
  return tile;
}

// work(n, count, room): rows n to n + count, at most TILE, and room for as many rows of integers.
template <class Work>
void over_tiles(int64_t N, int64_t D, int threads, const Work& work) {
  const int useful = worth_starting(threads, (double)N * D / 4e3);
  over_runs((N + TILE - 1) / TILE, useful, [&](int64_t from, int64_t to) {
    std::vector<int32_t> room(TILE * D);
    for (int64_t n = from * TILE; n < std::min(N, to * TILE); n += TILE) work(n, std::min(TILE, N - n), room.data());
  });
}

// indices (count,) of level numbers (count, D).
template <int D>
void pack_rows(const int32_t* levels, const int64_t* basis, int64_t count, int64_t, int64_t* indices) {
  for (int64_t r = 0; r < count; ++r) {
    int64_t index = levels[r * D] * basis[0];
    for (int64_t d = 1; d < D; ++d) index += levels[r * D + d] * basis[d];
    indices[r] = index;
  }
}

void pack_wide_rows(const int32_t* levels, const int64_t* basis, int64_t count, int64_t D, int64_t* indices) {
  for (int64_t r = 0; r < count; ++r) {
    int64_t index = 0;
    for (int64_t d = 0; d < D; ++d) index += levels[r * D + d] * basis[d];
    indices[r] = index;
  }
}

// Loops of a length that is known are unrolled.
constexpr decltype(&pack_wide_rows) PACK[] = {pack_wide_rows, pack_rows<1>, pack_rows<2>, pack_rows<3>, pack_rows<4>,
                                              pack_rows<5>,   pack_rows<6>, pack_rows<7>, pack_rows<8>};

}  // namespace

extern "C" {

// out (N, D) = x + shift, the same for all rows.
void vqkit_shift(const float* x, const float* shift, int64_t N, int64_t D, int threads, float* out) {
  const std::vector<float> by = for_tile(shift, D);
  over_tiles(N, D, threads, [&](int64_t n, int64_t count, int32_t*) {
    for (int64_t i = 0; i < count * D; ++i) out[n * D + i] = x[n * D + i] + by[i];
  });
}

// out (N, D) = g·(1 − t²)·slope: the gradient through tanh. A row of g lies ``stride`` numbers behind the one before, D
// or 0.
void vqkit_unsquash(const float* g, int64_t stride, const float* squashed, const float* slope, int64_t N, int64_t D,
                    int threads, float* out) {
  const std::vector<float> by = for_tile(slope, D), alike = stride ? std::vector<float>() : for_tile(g, D);
  over_tiles(N, D, threads, [&](int64_t n, int64_t count, int32_t*) {
    const float* from = stride ? g + n * D : alike.data();
    for (int64_t i = 0; i < count * D; ++i) {
      const float t = squashed[n * D + i];
      out[n * D + i] = from[i] * (1 - t * t) * by[i];
    }
  });
}

// Squashed coordinates (N, D) to the values of their nearest levels (N, D) and the packed numbers of these (N,). A
// position is t·reach + half, a level its nearest integer in [0, top], halfway the upper one; its value is
// (level − middle) / middle, and it counts ``basis`` in the index.
void vqkit_snap_levels(const float* squashed, const float* reach, const float* half, const float* top,
                       const float* middle, const int64_t* basis, int64_t N, int64_t D, int threads, float* values,
                       int64_t* indices) {
  const std::vector<float> reaches = for_tile(reach, D), halves = for_tile(half, D), tops = for_tile(top, D),
                           middles = for_tile(middle, D);
  const auto pack = PACK[D <= 8 ? D : 0];
  over_tiles(N, D, threads, [&](int64_t n, int64_t count, int32_t* levels) {
    const float *from = squashed + n * D, *by = reaches.data(), *plus = halves.data(), *most = tops.data();
    const float* centre = middles.data();
    float* out = values + n * D;
    for (int64_t i = 0; i < count * D; ++i) {
      // Cut off before rounding: what is not negative is rounded down by conversion.
      const float position = from[i] * by[i] + plus[i], raised = position + 0.5f;
      const float inside = raised > 0 ? raised : 0, level = inside < most[i] ? inside : most[i];
      levels[i] = (int32_t)level;
      out[i] = ((float)levels[i] - centre[i]) / centre[i];
    }
    pack(levels, basis, count, D, indices + n);
  });
}
}
