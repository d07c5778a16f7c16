// Mangled names are input from strangers, and a short one can stand for gigabytes: back references double at every
// step. So the demanglers of libiberty run with a callback that counts, and that leaves by longjmp when it is enough.
// They are C without clean-up of their own in the callback variants, so nothing is lost but, once in a while, a small
// buffer of theirs.
#include "stack/demangle.hpp"

#include <csetjmp>
#include <cstddef>

#include <libiberty/demangle.h>

namespace stack {
namespace {

constexpr std::size_t mangled_limit = 4096;

struct Sink {
  char text[demangled_limit];
  std::size_t size = 0;
  std::jmp_buf enough;
};

void collect(const char* text, std::size_t size, void* opaque) {
  Sink& sink = *static_cast<Sink*>(opaque);
  for (std::size_t i = 0; i < size; ++i) {
    if (sink.size == sizeof sink.text) std::longjmp(sink.enough, 1);
    sink.text[sink.size++] = text[i];
  }
}

using Demangler = int (*)(const char*, int, demangle_callbackref, void*);

// No object with a destructor lives in here: longjmp passes through.
bool run(Demangler demangler, const char* symbol, int options, Sink& sink) {
  if (setjmp(sink.enough) != 0) return false;
  return demangler(symbol, options, &collect, &sink) != 0 && sink.size > 0;
}

// Behind a name, a compiler writes '.' and what it did to the function.
std::size_t suffix_at(std::string_view symbol) {
  const std::size_t dot = symbol.find('.', 1);
  return dot == symbol.npos ? symbol.size() : dot;
}

// Rust's legacy names are C++ names that end in a hash: 17h and 16 hexadecimal digits.
bool is_rust_legacy(std::string_view name) {
  if (!name.starts_with("_ZN") || name.size() < 24 || !name.ends_with('E')) return false;
  const std::string_view hash = name.substr(name.size() - 20, 19);
  return hash.starts_with("17h") && hash.substr(3).find_first_not_of("0123456789abcdef") == hash.npos;
}

}  // namespace

std::string demangle(std::string_view symbol) {
  if (symbol.size() > mangled_limit) return std::string(symbol.substr(0, demangled_limit));
  const bool rust_v0 = symbol.starts_with("_R");
  if (!rust_v0 && !symbol.starts_with("_Z")) return std::string(symbol);
  // Rust's legacy escapes hold dots ("..", "$LT$"): the suffix begins behind the last 'E' there.
  std::size_t cut = suffix_at(symbol);
  if (!rust_v0)
    if (const std::size_t hash = symbol.find("17h");
        hash != symbol.npos && symbol.size() >= hash + 20 && symbol[hash + 19] == 'E')
      cut = hash + 20;
  const std::string name{symbol.substr(0, cut)};
  const bool rust = rust_v0 || is_rust_legacy(name);
  Sink sink;
  const bool done = rust ? run(&rust_demangle_callback, name.c_str(), DMGL_PARAMS | DMGL_ANSI, sink)
                         : run(&cplus_demangle_v3_callback, name.c_str(), DMGL_PARAMS | DMGL_ANSI, sink);
  if (!done) return std::string(symbol);
  return std::string(sink.text, sink.size) + std::string(symbol.substr(cut).substr(0, 64));
}

}  // namespace stack
