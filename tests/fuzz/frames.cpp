// What a captured process could send to another: packets of a channel, with and without descriptors, small ones in the
// packet and large ones in a memory file, sealed or not. The reader takes a message, or calls it broken; it keeps no
// descriptor; and an outcome that was fed by them has a state and a problem fit for a terminal.
//
// The input is a row of packets: a byte that says how it is sent, two for its length, and that many bytes.
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "link/channel.hpp"
#include "link/outcome.hpp"

using namespace hatchd;

namespace {

enum How : unsigned char { in_memory_file = 1, sealed = 2, with_descriptor = 4, in_two = 8 };

void send(int to, std::string_view packet, const UniqueFd* fds, std::size_t count) {
  iovec part{const_cast<char*>(packet.data()), packet.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(2 * sizeof(int))> control{};
  if (count > 0) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* first = CMSG_FIRSTHDR(&header);
    first->cmsg_level = SOL_SOCKET;
    first->cmsg_type = SCM_RIGHTS;
    first->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (std::size_t i = 0; i < count; ++i) {
      const int fd = fds[i].get();
      std::memcpy(CMSG_DATA(first) + i * sizeof(int), &fd, sizeof fd);
    }
  }
  if (!packet.empty() && ::sendmsg(to, &header, MSG_NOSIGNAL) < 0) abort();
}

UniqueFd memory_file(std::string_view text, bool seal) {
  if (seal) {
    auto file = sealed_memfd("fuzz", text);
    if (!file) abort();
    return std::move(*file);
  }
  UniqueFd file(::memfd_create("fuzz", MFD_CLOEXEC));
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) abort();
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto [left, right] = link::Channel::pair();
  link::Channel reader(std::move(right));
  link::Outcome outcome;
  std::string_view input(reinterpret_cast<const char*>(data), size);
  while (input.size() >= 3) {
    const auto how = static_cast<unsigned char>(input[0]);
    const std::size_t length = static_cast<unsigned char>(input[1]) | static_cast<std::size_t>(input[2] & 15) << 8;
    const std::string_view body = input.substr(3, length);
    input.remove_prefix(std::min(input.size(), 3 + length));

    std::array<UniqueFd, 2> fds;
    std::size_t count = 0;
    std::string_view packet = body, inside = "{\"verdict\":\"so\"}";
    if (how & in_two) {  // a message and, behind a NUL, what lies in its descriptor
      const std::size_t end = body.find('\0');
      packet = body.substr(0, end);
      if (end != body.npos) inside = body.substr(end + 1);
    }
    if (how & in_memory_file) {
      fds[count++] = memory_file(packet, how & sealed);
      packet = "@";
    }
    if (how & with_descriptor) fds[count++] = memory_file(inside, how & sealed);
    send(left.get(), packet, fds.data(), count);

    link::Message message;
    if (reader.receive(message) != link::Received::message) continue;
    if (message.type.empty() || message.fds.size() > count) abort();
    if (const auto* problem = object_of(message.body, "problem")) to_json(problem_from_json(*problem));
    outcome.take(message);
  }
  outcome.plugin_gone("signal 9");
  if (!outcome.ended()) abort();
  const auto problem = outcome.problem();
  if ((outcome.state() == link::RunState::succeeded) == problem.has_value()) abort();
  if (problem && problem->detail.find('\x1b') != std::string::npos) abort();
  if (!outcome.result().empty() && !link::verdict_of(outcome.result())) abort();
  return 0;
}
