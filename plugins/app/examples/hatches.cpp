// Hatches inside a C++ app, with the standard library and Linux alone: docs/hatchkit.md has the protocol. Copy it into
// the app, without main(), and call hatches::open() once.
//
// Parameters are strings and numbers, given to the function as text; an app that wants more brings its own JSON library.
// Each caller has a thread while it lasts. A hatch that does not return keeps its thread; a real one should bound that.
//
// SPDX-License-Identifier: MIT
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace hatches {

using Params = std::map<std::string, std::string>;

struct Hatch {
  std::string name, title, documentation, effect = "act";
  std::map<std::string, std::string> parameters;  // name → "string" or "number"
  std::vector<std::string> required;
  std::function<std::string(const Params&)> run;  // what it returns is the result, a text
};

struct Problem : std::runtime_error {
  Problem(int status, std::string code, const std::string& detail, std::string pointer = {})
      : std::runtime_error(detail), status(status), code(std::move(code)), pointer(std::move(pointer)) {}
  int status;
  std::string code, pointer;
};

// ---- JSON: written as text; of what is read, objects of strings and numbers are understood

inline std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    char escaped[8];
    std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned char>(c));
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (static_cast<unsigned char>(c) < 0x20)
      out += escaped;
    else
      out += c;
  }
  return out + '"';
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  // name → (text, is it a string?). Whatever else there is, is malformed.
  std::map<std::string, std::pair<std::string, bool>> object() {
    std::map<std::string, std::pair<std::string, bool>> members;
    blank();
    if (at_ == text_.size()) return members;  // an empty body has no parameters
    take('{');
    for (blank(); peek() != '}';) {
      if (!members.empty()) take(','), blank();
      const std::string name = string();
      blank(), take(':'), blank();
      const bool is_string = peek() == '"';
      members[name] = {is_string ? string() : number(), is_string};
      blank();
      if (peek() != ',' && peek() != '}') bad();
    }
    ++at_;
    blank();
    if (at_ != text_.size()) bad();
    return members;
  }

 private:
  [[noreturn]] static void bad() {
    throw Problem(400, "malformed", "the body is not a JSON object of strings and numbers");
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void take(char c) {
    if (peek() != c) bad();
    ++at_;
  }
  void blank() {
    while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_])) ++at_;
  }
  std::string number() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && std::strchr("+-.0123456789eE", text_[at_])) ++at_;
    std::string text(text_.substr(begin, at_ - begin));
    char* end = nullptr;
    (void)std::strtod(text.c_str(), &end);
    if (text.empty() || *end) bad();
    return text;
  }
  unsigned hex() {
    if (at_ + 4 > text_.size()) bad();
    const std::string digits(text_.substr(at_, 4));
    char* end = nullptr;
    const unsigned long value = std::strtoul(digits.c_str(), &end, 16);
    if (*end) bad();
    at_ += 4;
    return static_cast<unsigned>(value);
  }
  static void append(std::string& out, unsigned point) {
    if (point < 0x80) {
      out += static_cast<char>(point);
    } else if (point < 0x800) {
      out += static_cast<char>(0xC0 | point >> 6);
      out += static_cast<char>(0x80 | (point & 63));
    } else {
      if (point < 0x10000) {
        out += static_cast<char>(0xE0 | point >> 12);
      } else {
        out += static_cast<char>(0xF0 | point >> 18);
        out += static_cast<char>(0x80 | (point >> 12 & 63));
      }
      out += static_cast<char>(0x80 | (point >> 6 & 63));
      out += static_cast<char>(0x80 | (point & 63));
    }
  }
  std::string string() {
    std::string out;
    take('"');
    while (peek() != '"') {
      if (at_ >= text_.size() || static_cast<unsigned char>(peek()) < 0x20) bad();
      const char c = text_[at_++];
      if (c != '\\') {
        out += c;
        continue;
      }
      const char kind = peek();
      ++at_;
      if (const char* found = kind ? std::strchr("\"\"\\\\//b\bf\fn\nr\rt\t", kind) : nullptr; kind != 'u') {
        if (!found) bad();
        out += found[1];
        continue;
      }
      unsigned point = hex();
      if (point >= 0xD800 && point < 0xDC00) {  // the first half of a pair
        if (text_.substr(at_, 2) != "\\u") bad();
        at_ += 2;
        const unsigned low = hex();
        if (low < 0xDC00 || low > 0xDFFF) bad();
        point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
      } else if (point >= 0xDC00 && point < 0xE000) {
        bad();
      }
      append(out, point);
    }
    ++at_;
    return out;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

// ---- the server

class Server {
 public:
  explicit Server(std::vector<Hatch> hatches) : hatches_(std::move(hatches)) {}

  // Throws when the folder or the socket is not to be had.
  void open() {
    const char* configured = std::getenv("HATCH_DIR");
    std::string folder = configured ? configured : "/run/hatch-app";
    if (!configured && ::access(folder.c_str(), W_OK) != 0) folder = "/tmp/hatch-app-" + std::to_string(::geteuid());
    ::mkdir(folder.c_str(), 0700);
    struct stat info {};
    if (::lstat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode) ||
        (folder.starts_with("/tmp/hatch-app-") && info.st_uid != ::geteuid()))
      throw std::runtime_error(folder + " is not a folder of this user");
    guarded_ = (info.st_mode & 0007) == 0;

    const std::string path = folder + "/" + std::to_string(::getpid()) + ".sock";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) throw std::runtime_error(path + " is too long");
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    ::unlink(path.c_str());  // of an earlier process of this number
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd_ < 0 || ::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error(path + ": " + std::strerror(errno));
    ::chmod(path.c_str(), guarded_ ? 0666 : 0600);
    if (::listen(fd_, 64) != 0) throw std::runtime_error(path + ": " + std::strerror(errno));
    std::thread([this] { serve(); }).detach();
  }

 private:
  static constexpr std::size_t max_head = 16 * 1024, max_body = 1024 * 1024;
  static constexpr std::chrono::seconds patience{10};

  void serve() {
    for (;;) {
      const int connection = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
      if (connection < 0) {
        std::this_thread::sleep_for(std::chrono::seconds(1));  // no descriptor left: the app needs them more
        continue;
      }
      // A thread for each caller: one who says nothing must not hold up the others.
      std::thread([this, connection] {
        attend(connection);
        ::close(connection);
      }).detach();
    }
  }

  bool admits(int connection) const {
    ucred peer{};
    socklen_t size = sizeof peer;
    return guarded_ || (::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
                        (peer.uid == 0 || peer.uid == ::geteuid()));
  }

  // More bytes; false: the caller left, or took too long.
  static bool more(int connection, std::string& data, std::chrono::steady_clock::time_point until) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd entry{connection, POLLIN, 0};
    if (left.count() <= 0 || ::poll(&entry, 1, static_cast<int>(left.count())) <= 0) return false;
    char buffer[16384];
    const ssize_t n = ::recv(connection, buffer, sizeof buffer, 0);
    if (n > 0) data.append(buffer, static_cast<std::size_t>(n));
    return n > 0;
  }

  void attend(int connection) {
    int status = 200;
    std::string body;
    try {
      body = answer(connection);
    } catch (const Problem& problem) {
      status = problem.status;
      body = "{\"status\": " + std::to_string(status) + ", \"code\": " + quoted(problem.code) +
             ", \"detail\": " + quoted(problem.what());
      if (!problem.pointer.empty())
        body += ", \"errors\": [{\"pointer\": " + quoted(problem.pointer) + ", \"detail\": " + quoted(problem.what()) +
                "}]";
      body += "}";
    } catch (const std::exception&) {
      return;  // the caller left
    }
    const std::string reply =
        "HTTP/1.1 " + std::to_string(status) + " -\r\nContent-Type: application/" + (status == 200 ? "" : "problem+") +
        "json\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    for (std::size_t at = 0; at < reply.size();) {
      pollfd entry{connection, POLLOUT, 0};
      const ssize_t n =
          ::poll(&entry, 1, 10000) > 0 ? ::send(connection, reply.data() + at, reply.size() - at, MSG_NOSIGNAL) : -1;
      if (n <= 0) return;
      at += static_cast<std::size_t>(n);
    }
    // Closing with unread bytes would take the answer along.
    ::shutdown(connection, SHUT_WR);
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    for (std::string rest; more(connection, rest, until); rest.clear()) {
    }
  }

  std::string answer(int connection) {
    if (!admits(connection)) throw Problem(403, "forbidden", "this user is not admitted");
    const auto until = std::chrono::steady_clock::now() + patience;
    std::string data;
    while (data.find("\r\n\r\n") == std::string::npos) {
      if (data.size() > max_head) throw Problem(413, "too-large", "the head is larger than 16 KiB");
      if (!more(connection, data, until)) throw std::runtime_error("the caller left");
    }
    const std::size_t end = data.find("\r\n\r\n");
    const std::string head = data.substr(0, end + 2);
    const std::size_t first = head.find(' '), second = head.find(' ', first + 1), line = head.find("\r\n");
    if (first == std::string::npos || second == std::string::npos || second > line ||
        head.compare(second + 1, 7, "HTTP/1.") != 0)
      throw Problem(400, "malformed", "the request line is not that of HTTP/1.1");
    const std::string method = head.substr(0, first);
    std::string target = head.substr(first + 1, second - first - 1);
    target = target.substr(0, target.find('?'));
    std::size_t length = 0;
    for (std::size_t at = line + 2; at < head.size();) {
      const std::size_t stop = head.find("\r\n", at), colon = head.find(':', at);
      if (colon == std::string::npos || colon > stop) throw Problem(400, "malformed", "a header is malformed");
      std::string name = head.substr(at, colon - at), value = head.substr(colon + 1, stop - colon - 1);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      value.erase(0, value.find_first_not_of(" \t"));
      if (name == "transfer-encoding") throw Problem(400, "malformed", "send the body with Content-Length");
      if (name == "content-length") {
        if (value.empty() || value.find_first_not_of("0123456789") != std::string::npos)
          throw Problem(400, "malformed", "Content-Length is not a number");
        if (value.size() > 7 || std::stoul(value) > max_body)
          throw Problem(413, "too-large", "the body is larger than 1 MiB");
        length = std::stoul(value);
      }
      at = stop + 2;
    }
    data.erase(0, end + 4);
    while (data.size() < length)
      if (!more(connection, data, until)) throw std::runtime_error("the caller left");
    return route(method, target, std::string_view(data).substr(0, length));
  }

  std::string route(const std::string& method, const std::string& target, std::string_view body) const {
    if (target == "/hatches") {
      if (method != "GET") throw Problem(405, "method", "GET /hatches lists");
      return list();
    }
    if (!target.starts_with("/hatches/"))
      throw Problem(404, "hatch-unknown", "there are GET /hatches and POST /hatches/NAME");
    if (method != "POST") throw Problem(405, "method", "POST runs a hatch; nothing runs by GET");
    for (const Hatch& hatch : hatches_)
      if (target.substr(9) == hatch.name) return call(hatch, body);
    throw Problem(404, "hatch-unknown", "there is no such hatch");
  }

  static std::string call(const Hatch& hatch, std::string_view body) {
    Params params;
    for (const auto& [name, value] : Reader(body).object()) {
      const auto known = hatch.parameters.find(name);
      if (known == hatch.parameters.end()) throw Problem(422, "params-invalid", "unknown", "/" + name);
      if ((known->second == "string") != value.second)
        throw Problem(422, "params-invalid", "must be a " + known->second, "/" + name);
      params[name] = value.first;
    }
    for (const std::string& name : hatch.required)
      if (!params.contains(name)) throw Problem(422, "params-invalid", "is required", "/" + name);
    const auto begun = std::chrono::steady_clock::now();
    std::string result;
    try {
      result = hatch.run(params);
    } catch (const std::exception& error) {
      throw Problem(500, "hatch-failed", error.what());
    } catch (...) {
      throw Problem(500, "hatch-failed", "it threw something that is no std::exception");
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begun;
    return "{\"result\": " + quoted(result) + ", \"ms\": " + std::to_string(took.count()) + "}";
  }

  std::string list() const {
    std::string text = "{\"protocol\": 1, \"process\": {\"pid\": " + std::to_string(::getpid()) +
                       ", \"program\": \"c++\", \"language\": \"c++\"}, \"hatches\": [";
    for (std::size_t i = 0; i < hatches_.size(); ++i) {
      const Hatch& hatch = hatches_[i];
      std::string properties, required;
      for (const auto& [name, type] : hatch.parameters)
        properties += (properties.empty() ? "" : ", ") + quoted(name) + ": {\"type\": " + quoted(type) + "}";
      for (const std::string& name : hatch.required) required += (required.empty() ? "" : ", ") + quoted(name);
      text +=
          (i ? ", " : "") + std::string("{\"name\": ") + quoted(hatch.name) + ", \"title\": " + quoted(hatch.title) +
          ", \"documentation\": " + quoted(hatch.documentation.empty() ? hatch.title : hatch.documentation) +
          ", \"effect\": " + quoted(hatch.effect) + ", \"parameters\": {\"type\": \"object\", \"properties\": {" +
          properties + "}, \"required\": [" + required + "], \"additionalProperties\": false}, \"timeout_ms\": 30000}";
    }
    return text + "]}";
  }

  std::vector<Hatch> hatches_;
  bool guarded_ = false;
  int fd_ = -1;
};

// Serves them until the process ends. What goes wrong is told on stderr and is no reason for the app not to start.
inline void open(std::vector<Hatch> hatches) {
  static Server* server = nullptr;  // never destroyed: its threads end with the process
  try {
    if (!server) (server = new Server(std::move(hatches)))->open();
  } catch (const std::exception& error) {
    std::cerr << "hatches are closed: " << error.what() << '\n';
  }
}

}  // namespace hatches

int main() {
  hatches::Hatch echo;
  echo.name = "echo";
  echo.title = "Give the text back";
  echo.effect = "observe";
  echo.parameters = {{"text", "string"}};
  echo.required = {"text"};
  echo.run = [](const hatches::Params& params) { return params.at("text"); };
  hatches::Hatch fail;
  fail.name = "fail";
  fail.title = "Fail on purpose";
  fail.run = [](const hatches::Params&) -> std::string { throw std::runtime_error("on purpose"); };
  hatches::open({echo, fail});
  for (;;) ::pause();  // the app
}
