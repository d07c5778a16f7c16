#include "common/remote.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "common/child.hpp"
#include "hatch/hatch.hpp"

namespace common {

namespace json = boost::json;

namespace {

using namespace std::chrono_literals;

constexpr std::size_t max_kept = 512 * 1024, max_frame = 64 * 1024, max_tail = 4 * 1024;
constexpr auto pause_between = 1s;
constexpr auto request_limit = 5s;

// What the helper tells: text, trouble, the end of a round, and of one that came to nothing.
enum class Kind : char { text = 't', trouble = 'p', round = 'r', void_round = 'v' };
enum class Round { answered, failed, nobody_listens };
struct Head {
  Kind kind;
  std::uint32_t size;
};

// ---- in the helper

class Teller {
 public:
  explicit Teller(int out) : out_(out) {}

  void tell(Kind kind, std::string_view bytes) const {
    do {
      const std::string_view piece = bytes.substr(0, max_frame);
      bytes.remove_prefix(piece.size());
      Head head{};
      head.kind = kind;
      head.size = static_cast<std::uint32_t>(piece.size());
      std::string frame(reinterpret_cast<const char*>(&head), sizeof head);
      frame += piece;
      for (std::size_t at = 0; at < frame.size();) {
        const ssize_t n = ::write(out_, frame.data() + at, frame.size() - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) ::_exit(0);  // nobody listens any more
        at += static_cast<std::size_t>(n);
      }
    } while (!bytes.empty());
  }
  // Waits for `fd` (-1: nothing) or until `limit` is over. Ends with the listener.
  bool wait(int fd, int limit_ms) const {
    pollfd both[2] = {{out_, 0, 0}, {fd, POLLIN, 0}};
    const int n = ::poll(both, 2, limit_ms);
    if (n > 0 && both[0].revents) return false;
    return true;
  }
  bool listened() const { return wait(-1, 0); }

 private:
  int out_;
};

// The last line that says something.
std::string last_line(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.remove_suffix(1);
  const std::size_t begin = text.rfind('\n');
  return std::string(text.substr(begin == std::string_view::npos ? 0 : begin + 1).substr(0, 500));
}

Round run_program(const std::vector<std::string>& argv, const Teller& teller) {
  Child child{{argv, bare_environment()}};
  std::string tail;
  for (char piece[16 * 1024];;) {
    if (!teller.wait(child.output(), -1)) return Round::nobody_listens;
    const ssize_t n = ::read(child.output(), piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    const std::string_view bytes{piece, static_cast<std::size_t>(n)};
    teller.tell(Kind::text, bytes);
    tail += bytes;
    if (tail.size() > 2 * max_tail) tail.erase(0, tail.size() - max_tail);
  }
  const int status = child.wait();
  if (status != 0) {
    const std::string said = last_line(tail);
    teller.tell(Kind::trouble, argv.front() + " ended with " + ending(status) + (said.empty() ? "" : ": " + said));
  }
  return Round::answered;  // whatever its status: grep(1) has one for "nothing there"
}

// The texts and numbers of a JSON answer, a line each, as people and logs write them: \" and \n are JSON's own. Numbers
// are often what tells one entry from another: an id, a time.
void add_texts(const json::value& value, std::string& out) {
  if (const json::string* text = value.if_string())
    (out += std::string_view(*text)) += '\n';
  else if (value.is_number())
    (out += json::serialize(value)) += '\n';
  else if (const json::array* array = value.if_array())
    for (const json::value& element : *array) add_texts(element, out);
  else if (const json::object* object = value.if_object())
    for (const auto& member : *object) add_texts(member.value(), out);
}

std::string text_of(const std::string& body) {
  boost::system::error_code error;
  const json::value value = json::parse(body, error);  // no deeper than 32: Boost.JSON's own bound
  if (error) return body;
  std::string out;
  add_texts(value, out);
  return out;
}

Round ask_server(const HttpRequest& request, const Teller& teller) {
  const HttpResponse response = send(request, request_limit, [&] { return !teller.listened(); });
  if (response.status / 100 == 2)
    teller.tell(Kind::text, text_of(response.body));
  else
    teller.tell(Kind::trouble, "the server answered " + std::to_string(response.status));
  return response.status / 100 == 2 || response.status == 404 ? Round::answered : Round::failed;
}

[[noreturn]] void serve(const Source& source, int out) {
  const Teller teller{out};
  for (;;) {
    Round round = Round::failed;
    try {
      round = source.is_program() ? run_program(source.argv, teller) : ask_server(source.request, teller);
      if (round == Round::nobody_listens) break;
    } catch (const hatch::Cancelled&) {
      break;
    } catch (const std::exception& error) {
      teller.tell(Kind::trouble, error.what());
    }
    teller.tell(round == Round::answered ? Kind::round : Kind::void_round, {});
    if (!teller.wait(-1, static_cast<int>(std::chrono::milliseconds(pause_between).count()))) break;
  }
  ::_exit(0);
}

[[noreturn]] void become_helper(const Source& source, pid_t parent, int go, int out) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct nothing[2]{};
  if (::syscall(SYS_capset, &header, nothing) != 0) ::_exit(1);
  // Of the target's descriptors, the run's channel and the rest, nothing stays.
  const int null = ::open("/dev/null", O_RDWR);
  const int kept_go = ::fcntl(go, F_DUPFD_CLOEXEC, 64), kept_out = ::fcntl(out, F_DUPFD_CLOEXEC, 65);
  if (null < 0 || kept_go < 0 || kept_out < 0) ::_exit(1);
  for (int fd = 0; fd <= 2; ++fd) ::dup2(null, fd);
  ::dup2(kept_go, 3);
  ::dup2(kept_out, 4);
  ::fcntl(3, F_SETFD, FD_CLOEXEC);
  ::fcntl(4, F_SETFD, FD_CLOEXEC);
  ::syscall(SYS_close_range, 5U, ~0U, 0);
  ::signal(SIGPIPE, SIG_IGN);
  char told = 0;
  ssize_t n = 0;
  while ((n = ::read(3, &told, 1)) < 0 && errno == EINTR) {
  }
  if (n != 1) ::_exit(0);  // it was never needed
  ::close(3);
  serve(source, 4);
}

}  // namespace

Remote::Remote(const Source& source) {
  int go[2], out[2];
  const auto failed = [](const char* what) {
    throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
  };
  if (::pipe2(go, O_CLOEXEC) != 0) failed("pipe");
  go_ = stack::UniqueFd{go[1]};
  const stack::UniqueFd go_theirs{go[0]};
  if (::pipe2(out, O_CLOEXEC) != 0) failed("pipe");
  from_ = stack::UniqueFd{out[0]};
  const stack::UniqueFd out_theirs{out[1]};
  const pid_t parent = ::getpid(), pid = ::fork();
  if (pid < 0) failed("fork");
  if (pid == 0) become_helper(source, parent, go_theirs.get(), out_theirs.get());
  ::fcntl(from_.get(), F_SETFL, O_NONBLOCK);
}

void Remote::begin() {
  (void)!::write(go_.get(), "g", 1);
  go_ = {};
}

bool Remote::receive() {
  bool changed = false;
  char piece[64 * 1024];
  // No more at once than is kept: nothing is forgotten before it was searched.
  for (std::size_t room = max_kept / 2; room >= sizeof piece && from_; room -= sizeof piece) {
    const ssize_t n = ::read(from_.get(), piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) {
      from_ = {};
      if (trouble_.empty()) trouble_ = "the process that asks for it has ended";
      break;
    }
    buffer_.append(piece, static_cast<std::size_t>(n));
    while (take_frame()) changed = true;
  }
  return changed;
}

bool Remote::take_frame() {
  Head head{};
  if (buffer_.size() < sizeof head) return false;
  std::memcpy(&head, buffer_.data(), sizeof head);
  if (head.size > max_frame) {
    from_ = {};
    buffer_.clear();
    return false;
  }
  if (buffer_.size() < sizeof head + head.size) return false;
  const std::string_view bytes{buffer_.data() + sizeof head, head.size};
  if (std::exchange(anew_, false)) {
    text_.clear();
    forgotten_ = 0;
  }
  switch (head.kind) {
    case Kind::text:
      text_ += bytes;
      if (text_.size() > max_kept) {  // by whole lines: a piece of one would look like another
        const std::size_t end = text_.find('\n', text_.size() - max_kept);
        const std::size_t much = end < text_.size() - max_kept / 2 ? end + 1 : text_.size() - max_kept;
        text_.erase(0, much);
        forgotten_ += much;
      }
      break;
    case Kind::trouble: trouble_of_round_ = bytes; break;
    case Kind::round: ++answers_; [[fallthrough]];
    case Kind::void_round:
      trouble_ = std::exchange(trouble_of_round_, {});
      anew_ = true;
      break;
  }
  buffer_.erase(0, sizeof head + head.size);
  return true;
}

}  // namespace common
