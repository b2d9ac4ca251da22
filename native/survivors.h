// The codes of one row that may be its nearest, as the screen goes on.
#pragma once

constexpr int MAX_TOPK = 64;
constexpr int MAX_SURVIVORS = 128;
constexpr int MAX_SCORES = 512;  // looked through at once; codes are filled up to a multiple of SCORE_STEP
constexpr int SCORE_STEP = 64;

struct Candidate {
  float score;
  int code;
};

// What nearly every row needs comes first, in one cache line.
struct alignas(64) Survivors {
  float threshold;  // a code that scores less is ruled out
  float slack;      // twice the bound of a score's rounding error
  float least;      // the topk-th highest score so far
  int topk, count, full;
  Candidate list[MAX_SURVIVORS];
  float best[MAX_TOPK];  // the topk highest scores so far, descending; kept where topk > 1
};

static inline void begin(Survivors* row, int topk, float slack) {
  const float lowest = -__builtin_inff();
  row->threshold = row->least = lowest;
  row->slack = slack;
  row->topk = topk;
  row->count = row->full = 0;
  for (int t = 0; topk > 1 && t < topk; ++t) row->best[t] = lowest;
}

static inline void drop_ruled_out(Survivors* row) {
  int kept = 0;
  for (int i = 0; i < row->count; ++i)
    if (row->list[i].score >= row->threshold) row->list[kept++] = row->list[i];
  row->count = kept;
}

static inline void raise_best(Survivors* row, float score) {
  if (!(score > row->least)) return;
  if (row->topk > 1) {
    int t = row->topk - 1;
    for (; t > 0 && row->best[t - 1] < score; --t) row->best[t] = row->best[t - 1];
    row->best[t] = score;
    score = row->best[row->topk - 1];
  }
  row->least = score;
  row->threshold = score - row->slack;
}

static inline void take_score(Survivors* row, float score, long code) {
  raise_best(row, score);
  if (row->count == MAX_SURVIVORS) drop_ruled_out(row);
  if (row->count == MAX_SURVIVORS) {
    row->full = 1;
    return;
  }
  row->list[row->count++] = {score, (int)code};
}
