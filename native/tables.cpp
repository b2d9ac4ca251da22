// Tables of the codes of a binary quantizer, a row each.
#include <cstdint>
#include <vector>

#include "parallel.h"
#include "processor.h"

extern "C" {

// table (N, 2^k) of the probabilities of bits (N, k, 2), that of zero and that of one: their products over the bits of
// each code, the first the most significant; what is not above ``least`` becomes zero.
void vqkit_bit_table(const float* bits, int64_t N, int64_t k, float least, int threads, float* table) {
  const Isa* isa = fastest_isa(false);
  over_runs(N, worth_starting(threads, (double)(N << k) / 2e3), [&](int64_t from, int64_t to) {
    for (int64_t n = from; n < to; ++n) isa->grow_table(bits + n * 2 * k, k, least, table + (n << k));
  });
}

// ones, zeros (N, k): the sums of table·slope, (N, 2^k) both, over the codes whose bit is one, and is zero.
void vqkit_bit_sums(const float* table, const float* slope, int64_t N, int64_t k, int threads, float* ones,
                    float* zeros) {
  const Isa* isa = fastest_isa(false);
  over_runs(N, worth_starting(threads, (double)(N << k) / 2e3), [&](int64_t from, int64_t to) {
    std::vector<float> room((size_t)1 << k);
    for (int64_t n = from; n < to; ++n)
      isa->bit_sums(table + (n << k), slope + (n << k), k, room.data(), ones + n * k, zeros + n * k);
  });
}
}
