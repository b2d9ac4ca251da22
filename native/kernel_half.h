// Panels of bfloat16, sixteen codes wide: panel[(d / 2) * 32 + 2 * j + d % 2], as dot products of pairs want them.

constexpr long WIDTH = 16;

void pack(const void* entered, long padded, long column, void* panel) {
  const unsigned* pairs = (const unsigned*)entered;
  for (long d = 0; d < padded / 2; ++d) ((unsigned*)panel)[d * WIDTH + column] = pairs[d];
}
