#include "stack/python/objects.hpp"

#include <algorithm>

#include "hatch/json.hpp"

namespace stack::python {
namespace {

constexpr std::size_t most_entries = 100'000;  // of a dictionary or set that is looked through
constexpr std::size_t most_types = 10'000;
constexpr std::size_t integer_size = 40;
constexpr std::size_t first_units = 64;  // of a string, which are all of most names
constexpr std::size_t name_limit = 200;  // of a type, of a key that is compared

constexpr std::uint64_t inline_values = 1 << 2, managed_dict = 1 << 4;  // Py_TPFLAGS_…, Include/object.h

}  // namespace

std::string Text::utf8() const {
  std::string out;
  out.reserve(units.size());
  for (std::size_t at = 0; at + width <= units.size(); at += width) {
    std::uint32_t point = 0;
    for (unsigned char i = 0; i < width; ++i)
      point |= std::uint32_t{static_cast<unsigned char>(units[at + i])} << (8 * i);
    const bool valid = point <= 0x10FFFF && (point < 0xD800 || point > 0xDFFF);
    hatch::append_code_point(out, valid ? char32_t{point} : char32_t{0xFFFD});
  }
  return cut ? out + "…" : out;
}

std::optional<Text> Objects::text(Address str, std::size_t most_units) {
  Copy head;
  if (!head.take(memory_, str, layout_.text_ascii + first_units) && !head.take(memory_, str, layout_.text_ascii))
    return std::nullopt;
  return text_of(head, str, most_units);
}

std::optional<Text> Objects::text_of(const Copy& head, Address str, std::size_t most_units) {
  const auto length = head.at<std::int64_t>(layout_.text_length);
  // interned:2, kind:3, compact:1, ascii:1. Free-threaded builds give `interned` a byte of its own.
  auto state = head.at<std::uint32_t>(layout_.text_state);
  if (layout_.free_threaded && (state >> 2 & 7) == 0) state >>= 6;
  const unsigned width = state >> 2 & 7;
  const bool compact = state >> 5 & 1, ascii = state >> 6 & 1;
  if (length < 0 || !compact || (width != 1 && width != 2 && width != 4)) return std::nullopt;
  constexpr std::size_t compact_more = 24;  // PyCompactUnicodeObject; 16 since 3.12, which dropped wstr_length
  const std::size_t header = layout_.text_ascii + (ascii                                  ? 0
                                                   : layout_.version >= version_of(3, 12) ? 16
                                                                                          : compact_more);
  Text text;
  text.width = static_cast<unsigned char>(width);
  text.cut = static_cast<std::uint64_t>(length) > most_units;
  text.units.resize(std::min(static_cast<std::uint64_t>(length), std::uint64_t{most_units}) * width);
  const std::span into = std::as_writable_bytes(std::span{text.units});
  if (head.covers(str + header, into.size()))
    std::ranges::copy(head.part(str + header, into.size()), into.begin());
  else if (!memory_.read(str + header, into))
    return std::nullopt;
  return text;
}

std::optional<std::string> Objects::bytes(Address object, std::size_t most) {
  const auto size = memory_.get<std::int64_t>(object + layout_.bytes_size);
  if (!size || *size < 0 || static_cast<std::uint64_t>(*size) > most) return std::nullopt;
  std::string content(static_cast<std::size_t>(*size), '\0');
  if (!memory_.read(object + layout_.bytes_data, std::as_writable_bytes(std::span{content}))) return std::nullopt;
  return content;
}

const std::string& Objects::type_of(Address object) {
  static const std::string none;
  const auto type = memory_.pointer(object + layout_.object_type);
  if (!type) return none;
  if (const auto known = type_names_.find(*type); known != type_names_.end()) return known->second;
  if (type_names_.size() >= most_types) return none;
  const auto name = memory_.pointer(*type + layout_.type_name);
  if (!name) return none;
  // A C string of unknown length: in two steps, since the second may touch a page that is not there.
  std::string text;
  for (const std::size_t part : {std::size_t{16}, name_limit}) {
    std::string next(part, '\0');
    if (!memory_.read(*name + text.size(), std::as_writable_bytes(std::span{next}))) break;
    text += next;
    if (const std::size_t end = text.find('\0'); end != text.npos) {
      text.resize(end);
      return type_names_.emplace(*type, std::move(text)).first->second;
    }
  }
  return none;
}

std::optional<std::uint64_t> Objects::integer(Address object) {
  // PyLongObject: digits of 30 bits behind their number, whose low bits are flags since 3.12.
  Copy copy;
  if (!copy.take(memory_, object, integer_size)) return std::nullopt;
  auto digits = copy.at<std::int64_t>(16);
  if (layout_.version >= version_of(3, 12)) {
    if ((digits & 3) != 0) return (digits & 3) == 1 ? std::optional<std::uint64_t>{0} : std::nullopt;
    digits >>= 3;
  }
  if (digits < 0 || digits > 2) return std::nullopt;
  std::uint64_t value = 0;
  if (digits > 0) value = copy.at<std::uint32_t>(24);
  if (digits > 1) value |= std::uint64_t{copy.at<std::uint32_t>(28)} << 30;
  return value;
}

std::optional<std::vector<Objects::Entry>> Objects::entries(Address dict) {
  Copy object;  // PyDictObject: ma_keys, ma_values at 32 and 40
  if (!object.take(memory_, dict, 48)) return std::nullopt;
  return entries(object.pointer(32), object.pointer(40));
}

// PyDictKeysObject (Objects/dict-common.h, pycore_dict.h): a hash index, then the entries in the order of insertion. In
// a split table the values lie elsewhere.
std::optional<std::vector<Objects::Entry>> Objects::entries(Address keys, Address values) {
  Copy head;
  if (!head.take(memory_, keys, 40)) return std::nullopt;
  std::uint64_t count = 0, index_bytes = 0, header = 0, entry_size = 24, key_at = 8;
  if (layout_.version < version_of(3, 11)) {
    const auto size = head.at<std::uint64_t>(8);
    count = head.at<std::uint64_t>(32);
    header = 40;
    if (size > most_entries * 2) return std::nullopt;
    index_bytes = size * (size <= 0xFF ? 1 : size <= 0xFFFF ? 2 : 4);
  } else {
    const auto log2_bytes = head.at<std::uint8_t>(9), kind = head.at<std::uint8_t>(10);
    count = head.at<std::uint64_t>(24);
    header = 32;
    if (log2_bytes > 24 || kind > 2) return std::nullopt;
    index_bytes = std::uint64_t{1} << log2_bytes;
    if (kind != 0) {  // keys are strings, which know their hash
      entry_size = 16;
      key_at = 0;
    }
  }
  if (count > most_entries) return std::nullopt;
  Copy table, split;
  if (!table.take(memory_, keys + header + index_bytes, count * entry_size)) return std::nullopt;
  if (values && !split.take(memory_, first_value(values), count * sizeof(Address))) return std::nullopt;
  std::vector<Entry> all;
  for (std::uint64_t i = 0; i < count; ++i) {
    const Address key = table.pointer(i * entry_size + key_at);
    const Address value =
        values ? split.pointer(i * sizeof(Address)) : table.pointer(i * entry_size + key_at + sizeof(Address));
    if (key && value) all.push_back({i, key, value});
  }
  return all;
}

// PyDictValues begins with four bytes of its own since 3.13.
Address Objects::first_value(Address values) const { return values + (layout_.version >= version_of(3, 13) ? 8 : 0); }

void Objects::each_text(const std::vector<Entry>& all, const VisitText& visit) {
  constexpr std::size_t at_once = 32;
  std::array<Copy, at_once> heads;
  std::vector<Memory::Part> parts;
  for (std::size_t first = 0; first < all.size(); first += at_once) {
    const std::span some = std::span{all}.subspan(first, std::min(at_once, all.size() - first));
    parts.clear();
    for (std::size_t i = 0; i < some.size(); ++i)
      parts.push_back(heads[i].part_of(some[i].key, layout_.text_ascii + first_units));
    memory_.read_all(parts);
    for (std::size_t i = 0; i < some.size(); ++i) {
      const Address key = some[i].key;
      const auto text = heads[i].keep(parts[i]) ? text_of(heads[i], key, name_limit) : this->text(key, name_limit);
      if (text && !visit(*text, some[i])) return;
    }
  }
}

void Objects::each_text(Address dict, const VisitText& visit) {
  if (const auto all = entries(dict)) each_text(*all, visit);
}

std::optional<Address> Objects::item(Address dict, std::string_view key) {
  std::optional<Address> found;
  each_text(dict, [&](const Text& name, const Entry& entry) {
    if (name.is(key)) found = entry.value;
    return !found;
  });
  return found;
}

void Objects::look_ahead(std::span<const Entry> integers_and_objects) {
  constexpr std::size_t before = 4 * sizeof(Address);  // of an object: where its values and its dictionary are
  std::vector<Memory::Stretch> stretches;
  for (const Entry& entry : integers_and_objects) {
    stretches.push_back({entry.key, integer_size});
    stretches.push_back({entry.value - before, before + layout_.object_type + sizeof(Address)});
  }
  memory_.look_ahead(stretches);
}

void Objects::look_ahead_at_texts(std::span<const Address> texts) {
  std::vector<Memory::Stretch> stretches;
  for (const Address text : texts) stretches.push_back({text, layout_.text_ascii + first_units});
  memory_.look_ahead(stretches);
}

std::optional<Address> Objects::keys_of(Address type) {
  if (const auto known = type_keys_.find(type); known != type_keys_.end()) return known->second;
  const auto keys = memory_.pointer(type + layout_.type_cached_keys);
  if (keys && type_keys_.size() < most_types) type_keys_.emplace(type, *keys);
  return keys;
}

std::optional<std::uint64_t> Objects::flags_of(Address type) {
  if (const auto known = type_flags_.find(type); known != type_flags_.end()) return known->second;
  const auto flags = memory_.get<std::uint64_t>(type + layout_.type_flags);
  if (flags && type_flags_.size() < most_types) type_flags_.emplace(type, *flags);
  return flags;
}

std::optional<Address> Objects::attribute(Address object, std::string_view name) {
  const auto type = memory_.pointer(object + layout_.object_type);
  const auto flags = type ? flags_of(*type) : std::nullopt;
  if (!flags) return std::nullopt;
  constexpr std::uint64_t word = sizeof(Address);
  std::optional<Address> dict;
  Address values = 0;
  if (layout_.version < version_of(3, 11) || (*flags & managed_dict) == 0) {
    const auto offset = memory_.get<std::int64_t>(*type + 288);  // tp_dictoffset
    if (!offset || *offset <= 0 || *offset > 4096) return std::nullopt;
    dict = memory_.pointer(object + static_cast<std::uint64_t>(*offset));
  } else if (layout_.version == version_of(3, 11)) {
    // Before the object: values in place, and the dictionary when somebody asked for it.
    if (Copy both; both.take(memory_, object - 4 * word, 2 * word)) {
      values = both.pointer(0);
      dict = both.pointer(word);
    }
  } else if (layout_.version == version_of(3, 12)) {
    dict = memory_.pointer(object - 3 * word);
    if (dict && *dict & 1) {  // values, less one, so that the pointer is odd
      values = *dict + 1;
      dict = 0;
    }
  } else {
    dict = memory_.pointer(object - 3 * word);
    const auto size = *flags & inline_values ? memory_.get<std::int64_t>(*type + 32) : std::nullopt;  // tp_basicsize
    if (size && *size > 0 && *size < 4096) {
      const Address in_place = object + static_cast<std::uint64_t>(*size);
      if (memory_.get<std::uint8_t>(in_place + 3).value_or(0)) values = in_place;  // PyDictValues.valid
    }
  }
  if (!dict) return std::nullopt;
  if (*dict) return item(*dict, name);
  const auto keys = values ? keys_of(*type) : std::nullopt;
  if (!keys) return std::nullopt;
  return shared_item(*keys, values, name);
}

std::optional<Address> Objects::shared_item(Address keys, Address values, std::string_view name) {
  if (const auto known = shared_.find({keys, std::string(name)}); known != shared_.end()) {
    const Address value = memory_.pointer(first_value(values) + known->second * sizeof(Address)).value_or(0);
    return value ? std::optional{value} : std::nullopt;
  }
  std::optional<Address> found;
  const auto all = entries(keys, values);
  if (!all) return found;
  each_text(*all, [&](const Text& key, const Entry& entry) {
    if (!key.is(name)) return true;
    found = entry.value;
    if (shared_.size() < most_types) shared_.emplace(std::pair{keys, std::string(name)}, entry.index);
    return false;
  });
  return found;
}

bool Objects::each_in_set(Address set, const std::function<bool(Address)>& visit) {
  Copy object;  // PySetObject: mask and table at 32 and 40; entries are key and hash
  if (!object.take(memory_, set, 48)) return false;
  const auto mask = object.at<std::uint64_t>(32);
  if (mask >= most_entries) return false;
  Copy table;
  if (!table.take(memory_, object.pointer(40), (mask + 1) * 16)) return false;
  for (std::uint64_t i = 0; i <= mask; ++i)
    if (const Address key = table.pointer(i * 16); key && !visit(key)) return true;
  return true;
}

}  // namespace stack::python
