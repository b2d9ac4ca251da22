// What one instruction set offers to the search. Rows and codes are ``entered``, shifted by the centre and scaled, as
// floats or as bfloat16; ``product`` scores a panel of rows, each in a lane of its own, against panels of codes, and
// ``select`` keeps what may be the nearest.
#pragma once

#include "survivors.h"

// Of a vector v1 in float32 and what is multiplied of it, v̂, which stands for ṽ: |v1|², |v̂|², |v1 − ṽ|² and |l|², as
// search.cpp has them; and whether v was finite.
struct Entered {
  float before, after, lost, low;
  int finite;
};

// The same of the rows of a panel, without |v1|².
struct EnteredRows {
  float after[MAX_ROWS], lost[MAX_ROWS], low[MAX_ROWS];
  bool finite[MAX_ROWS];
};

// A panel of rows against panels of codes. A score is bias[code] + x·e.
struct Scored {
  const void* rows;
  long padded;
  const void* panels;
  const float* bias;
  long n_panels, first_code;
  float* scores;  // [code * rows + row], without the bias where ``product`` cannot begin with it; null: not kept
  float* tops;    // [panel * rows + row], the highest of a panel of codes
};

struct Isa {
  const char* name;
  int rows;   // rows in a panel
  int width;  // codes in a panel
  int pad;    // vectors are filled up with zeros to a multiple of so many numbers
  int half;   // 1: entered vectors are bfloat16, else float32
  int narrow;  // up to so many numbers a vector no scores are kept: the few that matter are computed again
  // (v − centre)·scale into ``out``, filled up with zeros to ``padded`` numbers.
  Entered (*enter)(const float* v, const float* centre, float scale, long n, long padded, void* out);
  // One entered vector into its column of a panel of codes.
  void (*pack)(const void* entered, long padded, long column, void* panel);
  // ``count`` rows x (count, n), at most ``rows``, likewise into a panel of rows.
  void (*enter_rows)(const float* x, long count, const float* centre, float scale, long n, long padded, void* out,
                     EnteredRows* entered);
  // The scores and tops; and highest[row] where one of them is higher.
  void (*product)(const Scored& scored, float* highest);
  void (*select)(const Scored& scored, Screened* screened);
  // |x·scale_x − e·scale_e|² in float64, in an order that never changes.
  double (*distance)(const float* x, double scale_x, const float* e, double scale_e, long n);
  double (*dot)(const float* a, const float* b, long n);
  void (*add)(const float* v, long n, double* sum);  // sum += v
  bool (*finite)(const float* v, long n);
  void (*scaled_difference)(const float* x, const float* e, float by, long n, float* out);
  void (*turned_back)(const float* g, const float* x, const float* q, long n, float* out);
  void (*grow_table)(const float* bits, long k, float least, float* table);
  void (*bit_sums)(const float* table, const float* slope, long k, float* room, float* ones, float* zeros);
  void (*open)();   // before products on this thread, and after
  void (*close)();
};

// Every file of an instruction set defines its own; null where the compiler cannot build it.
extern const Isa* const ISA_AMX;
extern const Isa* const ISA_AVX512BF16;
extern const Isa* const ISA_AVX512;
extern const Isa* const ISA_AVX2;
extern const Isa* const ISA_PORTABLE;
