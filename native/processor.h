// Which instruction sets this processor has.
#pragma once
#include "isa.h"

const Isa* isa_number(int number);           // fastest first; null past the last
const Isa* isa_called(const char* name);     // null for one this processor has not
const Isa* fastest_isa(bool half_allowed);   // ``half_allowed``: those that screen in bfloat16 too
