#include "worker/freed.hpp"

#include <malloc.h>
#include <string.h>

#include <cstdlib>
#include <new>

// The other forms of both operators call these two (C++20, [new.delete]); what is aligned beyond malloc(3) has its own. The
// one that does not throw stands here, too, since a sanitizer's would be asked otherwise, for memory that ends here.

void* operator new(std::size_t size) {
  for (;;) {
    if (void* memory = std::malloc(size ? size : 1)) return memory;
    const std::new_handler handler = std::get_new_handler();
    if (!handler) throw std::bad_alloc();
    handler();
  }
}

void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return ::operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void operator delete(void* memory) noexcept {
  if (memory && hatchd::worker::wipes_freed) ::explicit_bzero(memory, ::malloc_usable_size(memory));
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept { ::operator delete(memory); }
