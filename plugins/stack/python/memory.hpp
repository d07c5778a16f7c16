// Reading another process's memory, as far as it can be trusted: not at all. Every read says whether it went well, and
// nothing that was read is an address, a length or a count before it was compared with a bound.
#pragma once

#include <cerrno>
#include <cstring>
#include <optional>
#include <span>

#include "stack/memory.hpp"

namespace stack::python {

using Address = std::uint64_t;

class Memory {
 public:
  virtual ~Memory() = default;

  // All of `into`, or false.
  bool read(Address from, std::span<std::byte> into) {
    constexpr Address first_page = 4096;
    if (from < first_page || from + into.size() < from) return false;
    return into.empty() || copy(from, into);
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
