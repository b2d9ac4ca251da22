#include "processor.h"

#include <cstring>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

#if defined(__x86_64__)
bool leaf_seven(int subleaf, char reg, int bit) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, subleaf, &a, &b, &c, &d)) return false;
  return (reg == 'a' ? a : reg == 'd' ? d : b) >> bit & 1;
}

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

// Linux hands out the tiles' registers to a process that asks for them.
bool tiles_granted() {
#if defined(__linux__)
  constexpr int ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18;
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
  return false;
#endif
}
#endif

bool runs(const Isa* isa) {
  if (!isa) return false;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (isa == ISA_AMX) {
    static const bool granted =
        has_avx512() && leaf_seven(0, 'd', 22) && leaf_seven(0, 'd', 24) && tiles_granted();
    return granted;
  }
  if (isa == ISA_AVX512BF16) return has_avx512() && leaf_seven(1, 'a', 5);
  if (isa == ISA_AVX512) return has_avx512();
  if (isa == ISA_AVX2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return isa == ISA_PORTABLE;
}

// Fastest first. AMD's bfloat16 products take half as long as float32's; Intel's take longer, outside tiles.
const Isa* const* every_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  static const bool halves = __builtin_cpu_is("amd");
#else
  constexpr bool halves = false;
#endif
  static const Isa* const every[] = {ISA_AMX, halves ? ISA_AVX512BF16 : ISA_AVX512,
                                     halves ? ISA_AVX512 : ISA_AVX512BF16, ISA_AVX2, ISA_PORTABLE};
  return every;
}
constexpr int N_ISAS = 5;

}  // namespace

const Isa* isa_number(int number) {
  for (int i = 0; i < N_ISAS; ++i)
    if (runs(every_isa()[i]) && number-- == 0) return every_isa()[i];
  return nullptr;
}

const Isa* isa_called(const char* name) {
  for (int i = 0; i < N_ISAS; ++i)
    if (runs(every_isa()[i]) && !std::strcmp(name, every_isa()[i]->name)) return every_isa()[i];
  return nullptr;
}

const Isa* fastest_isa(bool half_allowed) {
  for (int i = 0;; ++i) {
    const Isa* isa = isa_number(i);
    if (!isa || half_allowed || !isa->half) return isa;
  }
}

extern "C" {

// The name of an instruction set this processor has, fastest first; null past the last.
const char* vqkit_isa(int number) {
  const Isa* isa = isa_number(number);
  return isa ? isa->name : nullptr;
}
}
