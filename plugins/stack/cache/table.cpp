#include "stack/cache/table.hpp"

#include <elf.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace stack::cache {
namespace {

constexpr std::array<char, 8> magic{'h', 'a', 't', 'c', 'h', 't', 'b', '2'};
constexpr int nested = 8;  // symbols that begin before an address and may yet cover it

struct Header {
  std::array<char, 8> magic;
  std::uint64_t checksum;  // of all that follows
  Identity identity;
  std::uint64_t first_page;
  std::uint32_t machine, rule_size;
  std::uint32_t rules, symbols, witnesses, names;
  std::uint32_t has_symbols, is_go;
  FileNames file_names;
};
static_assert(sizeof(Header) == 160 && sizeof(Symbol) == 16 && sizeof(Witness) == 40);
constexpr std::size_t checked_from = offsetof(Header, identity);

#if defined(__x86_64__)
constexpr std::uint32_t machine = EM_X86_64;
#else
constexpr std::uint32_t machine = EM_AARCH64;
#endif

// Against torn and rotten files, not against whoever could write them: the folder's permissions do that. Four words at a
// time, since a large program's table has megabytes.
std::uint64_t checksum(std::span<const std::byte> bytes) {
  constexpr std::uint64_t factor = 0x9E3779B97F4A7C15;
  std::array<std::uint64_t, 4> lanes{1, 2, 3, 4};
  const auto mix = [](std::uint64_t& lane, std::uint64_t word) { lane = std::rotl(lane ^ word, 27) * factor; };
  std::size_t at = 0;
  for (; bytes.size() - at >= sizeof lanes; at += sizeof lanes) {
    std::array<std::uint64_t, 4> words;
    std::memcpy(words.data(), bytes.data() + at, sizeof words);
    for (std::size_t i = 0; i < lanes.size(); ++i) mix(lanes[i], words[i]);
  }
  for (; at < bytes.size(); ++at) mix(lanes[0], std::to_integer<std::uint64_t>(bytes[at]));
  std::uint64_t all = bytes.size();
  for (const std::uint64_t lane : lanes) mix(all, lane);
  return all;
}

// Takes `count` of T off the front. They are where they belong, since all before them are multiples of eight.
template <class T>
bool take(std::span<const std::byte>& bytes, std::uint32_t count, std::span<const T>& into) {
  if (count > bytes.size() / sizeof(T)) return false;
  into = {reinterpret_cast<const T*>(bytes.data()), count};
  bytes = bytes.subspan(count * sizeof(T));
  return true;
}

template <class T>
void append(std::string& out, const T* data, std::size_t count) {
  out.append(reinterpret_cast<const char*>(data), count * sizeof(T));
}

}  // namespace

std::optional<Table> Table::parse(std::span<const std::byte> bytes, const Identity& identity) {
  Header header{};
  if (bytes.size() < sizeof header || reinterpret_cast<std::uintptr_t>(bytes.data()) % 8 != 0) return std::nullopt;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != magic || header.machine != machine || header.rule_size != sizeof(Rule) ||
      header.identity != identity || header.checksum != checksum(bytes.subspan(checked_from)))
    return std::nullopt;
  Table table;
  table.first_page_ = header.first_page;
  table.has_symbols_ = header.has_symbols != 0;
  table.is_go_ = header.is_go != 0;
  table.file_names_ = header.file_names;
  bytes = bytes.subspan(sizeof header);
  if (!take(bytes, header.rules, table.rules_) || !take(bytes, header.symbols, table.symbols_) ||
      !take(bytes, header.witnesses, table.witnesses_) || bytes.size() != header.names)
    return std::nullopt;
  table.names_ = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  return table;
}

std::string write_table(const Identity& identity, const Content& content) {
  Header header{};
  header.magic = magic;
  header.identity = identity;
  header.first_page = content.first_page;
  header.machine = machine;
  header.rule_size = sizeof(Rule);
  header.rules = static_cast<std::uint32_t>(content.rules.size());
  header.symbols = static_cast<std::uint32_t>(content.symbols.size());
  header.witnesses = static_cast<std::uint32_t>(content.witnesses.size());
  header.names = static_cast<std::uint32_t>(content.names.size());
  header.has_symbols = content.has_symbols;
  header.is_go = content.is_go;
  header.file_names = content.file_names;
  std::string out;
  out.reserve(sizeof header + content.rules.size() * sizeof(Rule) + content.symbols.size() * sizeof(Symbol) +
              content.witnesses.size() * sizeof(Witness) + content.names.size());
  append(out, &header, 1);
  append(out, content.rules.data(), content.rules.size());
  append(out, content.symbols.data(), content.symbols.size());
  append(out, content.witnesses.data(), content.witnesses.size());
  out += content.names;
  header.checksum = checksum(std::as_bytes(std::span{out}).subspan(checked_from));
  std::memcpy(out.data() + offsetof(Header, checksum), &header.checksum, sizeof header.checksum);
  return out;
}

std::string_view name_at(std::string_view names, std::uint32_t offset) {
  if (offset >= names.size()) return {};
  const std::string_view rest = names.substr(offset);
  return rest.substr(0, rest.find('\0'));
}

const Rule* find(std::span<const Rule> rules, std::uint64_t address) {
  const auto after =
      std::upper_bound(rules.begin(), rules.end(), address, [](std::uint64_t a, const Rule& r) { return a < r.start; });
  if (after == rules.begin()) return nullptr;
  const Rule& rule = *std::prev(after);
  return address - rule.start < rule.size ? &rule : nullptr;
}

const Symbol* find(std::span<const Symbol> symbols, std::uint64_t address) {
  auto at = std::upper_bound(symbols.begin(), symbols.end(), address,
                             [](std::uint64_t a, const Symbol& s) { return a < s.start; });
  for (int tries = 0; tries < nested && at != symbols.begin(); ++tries) {
    --at;
    if (address - at->start < at->size) return &*at;
  }
  return nullptr;
}

}  // namespace stack::cache
