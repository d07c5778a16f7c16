// Objects of CPython in another process's memory: strings, dictionaries, attributes.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>

#include "stack/python/layout.hpp"

namespace stack::python {

// A str as it lies in memory: code units of 1 (Latin-1), 2 (UCS-2) or 4 bytes (Include/cpython/unicodeobject.h).
struct Text {
  std::string units;
  unsigned char width = 1;
  bool cut = false;

  bool is(std::string_view ascii) const { return width == 1 && units == ascii; }
  std::string utf8() const;  // surrogates and what is no code point become U+FFFD; a cut one ends in "…"
};

class Objects {
 public:
  Objects(Memory& memory, const Layout& layout) : memory_(memory), layout_(layout) {}
  Memory& memory() { return memory_; }
  const Layout& layout() const { return layout_; }

  std::optional<Text> text(Address str, std::size_t most_units);
  std::optional<std::string> bytes(Address object, std::size_t most);
  // The type's name, "code"; empty where there is none. Read once for each type.
  const std::string& type_of(Address object);
  bool is(Address object, std::string_view type) { return type_of(object) == type; }
  std::optional<std::uint64_t> integer(Address object);  // that fits in 60 bits

  // `visit` is told the addresses of key and value until it says false. False: the dictionary could not be read.
  using Visit = std::function<bool(Address key, Address value)>;
  bool each(Address dict, const Visit& visit);
  std::optional<Address> item(Address dict, std::string_view key);
  // Of an instance of a class written in Python, without looking into its class.
  std::optional<Address> attribute(Address object, std::string_view name);
  bool each_in_set(Address set, const std::function<bool(Address)>& visit);

 private:
  bool each(Address keys, Address values, const Visit& visit);

  Memory& memory_;
  const Layout& layout_;
  std::unordered_map<Address, std::string> type_names_;
};

}  // namespace stack::python
