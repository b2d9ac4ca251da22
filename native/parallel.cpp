#include "parallel.h"

Runtime runtime{nullptr, nullptr, nullptr};

extern "C" {

// Addresses of GOMP_parallel, omp_get_thread_num and omp_get_num_threads, all of one runtime.
void vqkit_use_runtime(void* fork, void* number, void* count) {
  runtime = {reinterpret_cast<decltype(Runtime::fork)>(fork), reinterpret_cast<decltype(Runtime::number)>(number),
             reinterpret_cast<decltype(Runtime::count)>(count)};
}
}
