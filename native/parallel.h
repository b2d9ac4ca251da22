// Work shared among threads: those of the OpenMP runtime that PyTorch uses, once it is known, else new ones.
//
// A runtime's idle threads spin for a while before they sleep. Threads beside them would get no processor, so the work
// goes to these very threads. The runtime is found at run time: this library does not link one.
#pragma once
#include <cstdint>
#include <thread>
#include <vector>

// Of an OpenMP runtime with GNU's interface: GOMP_parallel, omp_get_thread_num, omp_get_num_threads. Null: none.
struct Runtime {
  void (*fork)(void (*work)(void*), void* data, unsigned threads, unsigned flags);
  int (*number)();
  int (*count)();
};
extern Runtime runtime;

// How many of ``threads`` are worth their start, for work that takes so many microseconds: a runtime's take a few, new
// ones some tens.
inline int worth_starting(int threads, double microseconds) {
  const double start = runtime.fork ? 10 : 100;
  return microseconds < 2 * start ? 1 : (int)(microseconds / start < threads ? microseconds / start : threads);
}

// work(0) … work(threads − 1), on as many threads as there are for them.
template <class Work>
void in_parallel(int threads, const Work& work) {
  if (threads <= 1) return work(0);
  if (!runtime.fork) {
    std::vector<std::thread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back(work, t);
    work(0);
    for (auto& other : others) other.join();
    return;
  }
  struct Task {
    const Work& work;
    int threads;
  } task{work, threads};
  runtime.fork(
      [](void* data) {
        const Task& task = *static_cast<Task*>(data);
        // The runtime may give fewer threads than were asked for.
        for (int t = runtime.number(); t < task.threads; t += runtime.count()) task.work(t);
      },
      &task, (unsigned)threads, 0);
}

// work(from, to) of N rows in as many runs as there are threads.
template <class Work>
void over_runs(int64_t N, int threads, const Work& work) {
  in_parallel(threads, [&](int t) { work(N * t / threads, N * (t + 1) / threads); });
}
