// Work shared among threads.
#pragma once
#include <thread>
#include <vector>

// work(0) … work(threads − 1), each on a thread of its own.
template <class Work>
void in_parallel(int threads, const Work& work) {
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(work, t);
  work(0);
  for (auto& other : others) other.join();
}
