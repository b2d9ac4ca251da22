// Memory that begins at a cache line, so that no vector of it lies in two.
#pragma once
#include <cstdlib>
#include <memory>
#include <new>

struct Free {
  void operator()(void* p) const { std::free(p); }
};

template <class T>
using Aligned = std::unique_ptr<T[], Free>;

// ``count`` numbers, not set to anything.
template <class T>
Aligned<T> aligned(size_t count) {
  void* p = std::aligned_alloc(64, (count * sizeof(T) + 63) / 64 * 64 + 64);
  if (!p) throw std::bad_alloc();
  return Aligned<T>(static_cast<T*>(p));
}
