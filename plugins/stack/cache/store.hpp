// The files of the cache: one for each table, replaced whole.
//
// The folder is the plugin's own. Still nothing in it is trusted: what is no regular file of this user, or open to
// others, or not of the file that is asked for, is as good as not there, and is replaced by the next table.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "stack/cache/identity.hpp"

namespace stack::cache {

// A mapped file, or the copy of one.
class Bytes {
 public:
  Bytes() = default;
  Bytes(std::byte* begin, std::size_t size) : begin_(begin), size_(size) {}
  Bytes(Bytes&& other) noexcept : begin_(std::exchange(other.begin_, nullptr)), size_(other.size_) {}
  Bytes& operator=(Bytes&& other) noexcept {
    std::swap(begin_, other.begin_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Bytes();
  std::span<const std::byte> view() const { return {begin_, begin_ ? size_ : 0}; }

 private:
  std::byte* begin_ = nullptr;
  std::size_t size_ = 0;
};

class Store {
 public:
  // Of one file, and of the folder.
  struct Limits {
    std::size_t file_bytes, bytes, files;
  };
  static constexpr Limits usual{std::size_t{64} << 20, std::size_t{256} << 20, 512};

  // `folder`: a directory's descriptor, which stays the caller's; -1: nothing is kept.
  explicit Store(int folder, Limits limits = usual) : folder_(folder), limits_(limits) {}

  int folder() const { return folder_; }
  // Nothing: there is none that counts.
  Bytes load(const Identity& identity) const;
  // Where it cannot be written the next run learns again. Makes room by removing the oldest.
  void save(const Identity& identity, std::string_view table) const;

 private:
  void make_room(std::size_t bytes) const;

  int folder_;
  Limits limits_;
};

}  // namespace stack::cache
