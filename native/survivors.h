// The codes of one row that may be its nearest, as the screen goes on.
#pragma once

constexpr int MAX_TOPK = 64;
constexpr int MAX_SURVIVORS = 256;

struct Survivors {
  float threshold;  // a code that scores less is ruled out
  float slack;      // twice the bound of a score's rounding error
  int topk, count, full;
  float best[MAX_TOPK];  // the topk highest scores so far, descending
  float score[MAX_SURVIVORS];
  long code[MAX_SURVIVORS];
};

static inline void begin(Survivors* row, int topk, float slack) {
  const float lowest = -__builtin_inff();
  row->threshold = lowest;
  row->slack = slack;
  row->topk = topk;
  row->count = row->full = 0;
  for (int t = 0; t < topk; ++t) row->best[t] = lowest;
}

static inline void drop_ruled_out(Survivors* row) {
  int kept = 0;
  for (int i = 0; i < row->count; ++i) {
    if (row->score[i] < row->threshold) continue;
    row->score[kept] = row->score[i];
    row->code[kept++] = row->code[i];
  }
  row->count = kept;
}

static inline void take_score(Survivors* row, float score, long code) {
  const int last = row->topk - 1;
  if (score > row->best[last]) {
    int t = last;
    for (; t > 0 && row->best[t - 1] < score; --t) row->best[t] = row->best[t - 1];
    row->best[t] = score;
    row->threshold = row->best[last] - row->slack;
  }
  if (row->count == MAX_SURVIVORS) drop_ruled_out(row);
  if (row->count == MAX_SURVIVORS) {
    row->full = 1;
    return;
  }
  row->score[row->count] = score;
  row->code[row->count++] = code;
}
