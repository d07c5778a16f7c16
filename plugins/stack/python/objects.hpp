// Objects of CPython in another process's memory: strings, dictionaries, attributes.
#pragma once

#include <functional>
#include <map>
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

  // An entry of a dictionary, and which of its table.
  struct Entry {
    std::uint64_t index = 0;
    Address key = 0, value = 0;
  };
  // Nothing: the dictionary could not be read.
  std::optional<std::vector<Entry>> entries(Address dict);
  // Those whose keys are strings, until `visit` says false; many of them are read in one call.
  using VisitText = std::function<bool(const Text& key, const Entry& entry)>;
  void each_text(Address dict, const VisitText& visit);
  std::optional<Address> item(Address dict, std::string_view key);
  // What integer() and attribute() read first of these, for many in one call.
  void look_ahead(std::span<const Entry> integers_and_objects);
  void look_ahead_at_texts(std::span<const Address> texts);
  // Of an instance of a class written in Python, without looking into its class.
  std::optional<Address> attribute(Address object, std::string_view name);
  bool each_in_set(Address set, const std::function<bool(Address)>& visit);

 private:
  std::optional<Text> text_of(const Copy& head, Address str, std::size_t most_units);
  std::optional<std::vector<Entry>> entries(Address keys, Address values);
  void each_text(const std::vector<Entry>& all, const VisitText& visit);
  Address first_value(Address values) const;
  // The objects of a class share their keys, of which there are only ever more: where one object has an attribute, the
  // others have it too.
  std::optional<Address> shared_item(Address keys, Address values, std::string_view name);
  std::optional<std::uint64_t> flags_of(Address type);
  std::optional<Address> keys_of(Address type);

  Memory& memory_;
  const Layout& layout_;
  std::unordered_map<Address, std::string> type_names_;
  std::unordered_map<Address, std::uint64_t> type_flags_;
  std::unordered_map<Address, Address> type_keys_;
  std::map<std::pair<Address, std::string>, std::uint64_t> shared_;  // index by keys and name
};

}  // namespace stack::python
