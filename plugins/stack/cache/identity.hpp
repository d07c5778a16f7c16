// Which file a table was made of, and whom it may serve.
//
// A build-id is what a file says of itself, so it is not enough: a table counts for the very file that it was made of,
// as it was then. And what somebody's process brought serves only targets of the same user: a file of root is the same
// for all, another is its owner's word against theirs.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>

namespace stack::cache {

// Compared byte by byte, and written into files as it is: no padding.
struct Identity {
  static constexpr std::uint32_t everybody = ~std::uint32_t{0};

  std::array<unsigned char, 32> build_id{};  // zeros behind its end, and where the file has none
  std::uint64_t device = 0, inode = 0, size = 0;
  std::int64_t modified_ns = 0, changed_ns = 0;
  std::uint64_t mapped_at = 0;  // offset in the file of the module's first mapping
  std::uint32_t owner = 0;
  std::uint32_t serves = 0;  // targets of this user alone, or everybody

  bool operator==(const Identity&) const = default;
};
static_assert(sizeof(Identity) == 88);

// Of an open file that a target of `user` has mapped. Reads headers by bounded pread(2); nullopt: it is no ELF file of
// 64 bits, or cannot be read.
std::optional<Identity> identify(int file, uid_t user, std::uint64_t mapped_at);

}  // namespace stack::cache
