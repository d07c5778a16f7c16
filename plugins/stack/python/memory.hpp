// Reading another process's memory, as far as it can be trusted: not at all. Every read says whether it went well, and
// nothing that was read is an address, a length or a count before it was compared with a bound.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "stack/memory.hpp"

namespace stack::python {

using Address = std::uint64_t;

class Memory {
 public:
  virtual ~Memory() = default;

  // All of `into`, or false.
  bool read(Address from, std::span<std::byte> into) {
    if (!may_be(from, into.size())) return false;
    return into.empty() || find_ahead(from, into) || copy(from, into);
  }
  // Several stretches, one after the other, in one call where that goes: a call takes longer than what it copies.
  struct Part {
    Address from = 0;
    std::span<std::byte> into;
    bool read = false;
  };
  void read_all(std::span<Part> parts) {
    if (copy_all(parts)) return;
    for (Part& part : parts)
      if (!part.read) part.read = read(part.from, part.into);
  }
  // Reads what will be asked for soon, by one call; read() answers from it until the next look_ahead().
  struct Stretch {
    Address from = 0;
    std::size_t size = 0;
  };
  void look_ahead(std::span<const Stretch> stretches) {
    ahead_.clear();
    std::size_t size = 0;
    for (const Stretch& stretch : stretches) size += stretch.size;
    ahead_bytes_.resize(size);
    std::vector<Part> parts;
    std::span<std::byte> rest{ahead_bytes_};
    for (const Stretch& stretch : stretches) {
      parts.push_back({stretch.from, rest.first(stretch.size), false});
      rest = rest.subspan(stretch.size);
    }
    copy_all(parts);
    for (const Part& part : parts)
      if (part.read) ahead_.emplace(part.from, part.into);
  }
  template <class T>
  std::optional<T> get(Address from) {
    T value;
    if (!read(from, std::as_writable_bytes(std::span{&value, 1}))) return std::nullopt;
    return value;
  }
  std::optional<Address> pointer(Address from) { return get<Address>(from); }

 private:
  virtual bool copy(Address from, std::span<std::byte> into) = 0;
  // Marks the parts that it has read. True: those are all.
  virtual bool copy_all(std::span<Part>) { return false; }

  bool find_ahead(Address from, std::span<std::byte> into) const {
    auto at = ahead_.upper_bound(from);
    if (at == ahead_.begin()) return false;
    const auto& [begin, bytes] = *--at;
    if (from - begin > bytes.size() || bytes.size() - (from - begin) < into.size()) return false;
    std::memcpy(into.data(), bytes.data() + (from - begin), into.size());
    return true;
  }

  std::map<Address, std::span<const std::byte>> ahead_;  // parts of ahead_bytes_
  std::vector<std::byte> ahead_bytes_;

 protected:
  static bool may_be(Address from, std::size_t size) {
    constexpr Address first_page = 4096;
    return from >= first_page && from + size >= from;
  }
};

// process_vm_readv(2): nobody is stopped.
class ProcessMemory final : public Memory {
 public:
  explicit ProcessMemory(pid_t tid) : tid_(tid) {}
  int error() const { return error_; }  // errno of the last read that failed at its first byte, or 0

 private:
  bool copy(Address from, std::span<std::byte> into) override {
    errno = 0;
    const std::size_t got = read_memory(tid_, from, into);
    if (got == 0) error_ = errno;
    return got == into.size();
  }
  bool copy_all(std::span<Part> parts) override {
    constexpr std::size_t most = 128;
    if (parts.size() > most) return false;
    std::array<iovec, most> local{}, remote{};
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (!may_be(parts[i].from, parts[i].into.size())) return false;
      local[i] = {parts[i].into.data(), parts[i].into.size()};
      remote[i] = {reinterpret_cast<void*>(parts[i].from), parts[i].into.size()};
    }
    // Up to the first byte that is not there.
    ssize_t n = ::process_vm_readv(tid_, local.data(), parts.size(), remote.data(), parts.size(), 0);
    for (Part& part : parts) {
      if (n < static_cast<ssize_t>(part.into.size())) return false;
      n -= static_cast<ssize_t>(part.into.size());
      part.read = true;
    }
    return true;
  }
  pid_t tid_;
  int error_ = 0;
};

// A stretch of memory that was read at once, and values in it.
class Copy {
 public:
  bool take(Memory& memory, Address from, std::size_t size) {
    from_ = from;
    bytes_.resize(size);
    if (memory.read(from, bytes_)) return true;
    bytes_.clear();
    return false;
  }
  // The same in two steps: what is to be read (Memory::read_all), and what came of it.
  Memory::Part part_of(Address from, std::size_t size) {
    from_ = from;
    bytes_.resize(size);
    return {from, bytes_, false};
  }
  bool keep(const Memory::Part& part) {
    if (!part.read) bytes_.clear();
    return part.read;
  }
  // The part of a larger one, which covers it.
  void take_part(const Copy& whole, Address from, std::size_t size) {
    from_ = from;
    const auto begin = whole.bytes_.begin() + static_cast<std::ptrdiff_t>(from - whole.from_);
    bytes_.assign(begin, begin + static_cast<std::ptrdiff_t>(size));
  }
  bool covers(Address from, std::size_t size) const {
    return from >= from_ && size <= bytes_.size() && from - from_ <= bytes_.size() - size;
  }
  // Zero where it is not covered: a null pointer, no entries.
  template <class T>
  T at(std::size_t offset) const {
    T value{};
    if (bytes_.size() >= sizeof value && offset <= bytes_.size() - sizeof value)
      std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
  }
  Address pointer(std::size_t offset) const { return at<Address>(offset); }
  std::span<const std::byte> part(Address from, std::size_t size) const {
    return std::span{bytes_}.subspan(from - from_, size);
  }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  Address from_ = 0;
  std::vector<std::byte> bytes_;
};

}  // namespace stack::python
