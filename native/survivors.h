// The codes of some rows that may be their nearest, as the screen goes on.
#pragma once

constexpr int MAX_TOPK = 64;
constexpr int MAX_SURVIVORS = 128;
constexpr int MAX_ROWS = 32;  // that are screened at once

struct Candidate {
  float score;
  int code;
};

struct Survivors {
  int count, full;
  Candidate list[MAX_SURVIVORS];
  float best[MAX_TOPK];  // the topk highest scores so far, descending; kept where topk > 1
};

// What every comparison needs stands side by side, a row a lane.
struct alignas(64) Screened {
  float threshold[MAX_ROWS];  // a code that scores less is ruled out
  float slack[MAX_ROWS];      // twice the bound of a score's rounding error
  float highest[MAX_ROWS];    // the highest score so far, of all that ``product`` has seen
  float least[MAX_ROWS];      // the topk-th highest of those that were looked at; kept where topk > 1
  int topk;
  Survivors rows[MAX_ROWS];
};

// A slack of −∞ lets no code survive: for a row that is not there, or that no screen can tell.
static inline void begin(Screened* screened, int r, float slack) {
  const float lowest = -__builtin_inff();
  Survivors* row = &screened->rows[r];
  screened->highest[r] = screened->least[r] = lowest;
  screened->threshold[r] = slack >= 0 ? lowest : -lowest;
  screened->slack[r] = slack;
  row->count = 0;
  row->full = !(slack >= 0);
  for (int t = 0; screened->topk > 1 && t < screened->topk; ++t) row->best[t] = lowest;
}

static inline void drop_ruled_out(Screened* screened, int r) {
  Survivors* row = &screened->rows[r];
  int kept = 0;
  for (int i = 0; i < row->count; ++i)
    if (row->list[i].score >= screened->threshold[r]) row->list[kept++] = row->list[i];
  row->count = kept;
}

static inline void raise_best(Screened* screened, int r, float score) {
  if (!(score > screened->least[r])) return;
  float* best = screened->rows[r].best;
  int t = screened->topk - 1;
  for (; t > 0 && best[t - 1] < score; --t) best[t] = best[t - 1];
  best[t] = score;
  screened->least[r] = best[screened->topk - 1];
  screened->threshold[r] = screened->least[r] - screened->slack[r];
}

static inline void take_score(Screened* screened, int r, float score, long code) {
  Survivors* row = &screened->rows[r];
  if (screened->topk > 1) raise_best(screened, r, score);  // else ``select`` has, for all rows at once
  if (row->count == MAX_SURVIVORS) drop_ruled_out(screened, r);
  if (row->count == MAX_SURVIVORS) {
    row->full = 1;
    return;
  }
  row->list[row->count++] = {score, (int)code};
}
