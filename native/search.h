// The exact search among one codebook. How it goes, and why it is exact, stands in search.cpp.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "codes.h"

constexpr int64_t NO_ROW = -1, UNRESOLVED = -2;

// The answer; ``distance`` is null where nobody asked for it, and topk then 1.
struct Found {
  int topk;
  int64_t* index;
  double* distance;

  void fill(long n, int64_t value) const {
    std::fill_n(index + n * topk, topk, value);
    if (distance) std::fill_n(distance + n * topk, topk, INFINITY);
  }

  // Candidates come in ascending order, and an equal distance goes behind: of equals the lower index stays in front.
  template <class Measure>
  void choose(long n, long count, const Measure& measure) const {
    double nearest[MAX_TOPK];
    int64_t* i = index + n * topk;
    fill(n, NO_ROW);
    for (long c = 0; c < count; ++c) {
      const auto [code, away] = measure(c);
      int t = topk - 1;
      if (i[t] >= 0 && !(away < nearest[t])) continue;
      for (; t > 0 && (i[t - 1] < 0 || away < nearest[t - 1]); --t) {
        i[t] = i[t - 1];
        nearest[t] = nearest[t - 1];
      }
      i[t] = code;
      nearest[t] = away;
    }
    if (distance) std::copy_n(nearest, topk, distance + n * topk);
  }
};

// Rows (N, D) searched among prepared codes: one screen, and its survivors verified. A row it leaves open is UNRESOLVED.
struct Search {
  const float* x;
  long N;
  const Codes& codes;
  const Isa& isa;
  Found found;
  long group, tile;  // panels that stay in the cache, the most rows that share them

  Search(const float* x, long N, const Codes& codes, const Isa& isa, const Found& found, int threads);
  void run(int threads) const;

 private:
  struct Room;
  void run(long start, long count, Room* room) const;
  long row_bytes() const;
  void enter(long start, long r, long count, Room* room) const;
  void to_unit_length(const float* rows, long count, double* factor, float* out) const;
  bool keeps_scores() const { return codes.padded > isa.narrow; }
  long at_a_time() const;
  float slack(float after_squared, float lost_squared, float low_squared) const;
  void score(long r, long from, long to, Room* room) const;
  void leave(long n, double factor, Screened* screened, int r) const;
};

// Every distance of every row, for rows so few that preparing the codes would take longer, or that no screen tells
// apart. Whether the codes are finite.
bool measure_all(const float* x, long N, const float* table, long K, long D, Metric metric, const Isa& isa, int threads,
                 const Found& found);

// How many threads are worth starting for so many multiplications.
int useful_threads(int threads, long N, long K, long D);
