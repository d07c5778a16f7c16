#include "client/transfer.hpp"

#include <curl/curl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "base/fd.hpp"

namespace hatchd::client {
namespace {

struct State {
  CURL* handle;
  const Sink& sink;
  Answer answer;
  std::size_t received = 0;
  bool too_large = false;
};

std::size_t on_body(char* data, std::size_t, std::size_t size, void* user) {
  State& state = *static_cast<State*>(user);
  long status = 0;
  curl_easy_getinfo(state.handle, CURLINFO_RESPONSE_CODE, &status);
  const bool streamed = state.sink && status >= 200 && status < 300;
  state.received += size;
  if (state.received > (streamed ? max_answer : max_kept)) {
    state.too_large = true;
    return 0;
  }
  if (streamed) return state.sink({data, size}) ? size : 0;
  state.answer.body.append(data, size);
  return size;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const Call*>(user)->go_on() ? 0 : 1;
}

std::string user_name() {
  const passwd* user = ::getpwuid(::geteuid());
  return user ? user->pw_name : "uid " + std::to_string(::geteuid());
}

// What to do about a Unix socket that does not let us in.
Problem unreachable(const std::string& socket, int error) {
  Problem problem{"cannot-connect", socket + ": " + errno_text(error)};
  struct stat status {};
  if (error == ENOENT) {
    problem.detail = socket + ": there is no such socket";
    problem.remedy = "start hatchd, or say where it listens: --socket PATH or --url URL";
  } else if (error == ECONNREFUSED) {
    problem.detail = socket + ": nobody listens on it; hatchd was ended without cleaning up";
    problem.remedy = "start hatchd again (systemctl start hatchd)";
  } else if (error == EACCES || error == EPERM) {
    problem.detail = socket + ": " + user_name() + " may not open it";
    problem.remedy = "use sudo, or join the group that \"group\" names for this listener";
    if (::stat(socket.c_str(), &status) == 0)
      if (const group* owner = ::getgrgid(status.st_gid); owner && (status.st_mode & S_IWGRP) && status.st_gid != 0)
        problem.remedy = "use sudo, or join the group " + std::string(owner->gr_name) + " (usermod -aG " +
                         owner->gr_name + " " + user_name() + ") and log in again";
  }
  return problem;
}

Problem failure(const Endpoint& endpoint, const State& state, CURLcode code, const char* text) {
  Problem problem{"connection-broken", endpoint.name() + ": " + (*text ? text : curl_easy_strerror(code))};
  if (state.too_large) {
    problem.detail = endpoint.name() + ": the answer is larger than this client takes";
    return problem;
  }
  switch (code) {
    case CURLE_COULDNT_CONNECT: {
      long error = 0;
      curl_easy_getinfo(state.handle, CURLINFO_OS_ERRNO, &error);
      if (!endpoint.socket.empty()) return unreachable(endpoint.socket, static_cast<int>(error));
      problem.code = "cannot-connect";
      problem.remedy = "is hatchd listening there (\"listen\" in its configuration, or hatchd --pid N --tcp)?";
      break;
    }
    case CURLE_URL_MALFORMAT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
      problem.code = "cannot-connect";
      problem.remedy = "check --url, and that the daemon's certificate is valid for that name";
      break;
    case CURLE_WRITE_ERROR: problem.detail = "standard output does not take the answer"; break;
    default: problem.remedy = "what was asked may have happened: see hatchctl runs";
  }
  return problem;
}

}  // namespace

Result<Answer> exchange(const Endpoint& endpoint, const Call& call, const Sink& sink) {
  static const bool started = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl{curl_easy_init(), curl_easy_cleanup};
  if (!started || !curl) throw std::runtime_error("libcurl does not start");
  CURL* const handle = curl.get();
  State state{handle, sink, {}};

  const std::string accept = "Accept: " + (!call.accept.empty() ? call.accept
                                           : call.json          ? "application/json"
                                                                : "text/plain");
  curl_slist* headers = curl_slist_append(nullptr, accept.c_str());
  const Defer free_headers{[&] { curl_slist_free_all(headers); }};
  if (!endpoint.token.empty())
    headers = curl_slist_append(headers, ("Authorization: Bearer " + endpoint.token).c_str());

  for (const auto& [name, value] : call.headers) headers = curl_slist_append(headers, (name + ": " + value).c_str());

  char error[CURL_ERROR_SIZE] = "";
  const std::string url = endpoint.url + call.path;
  curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
  if (!endpoint.socket.empty()) curl_easy_setopt(handle, CURLOPT_UNIX_SOCKET_PATH, endpoint.socket.c_str());
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  // As curl itself does: a certificate of one's own is made known by the variable that OpenSSL's programs share.
  if (const char* authorities = std::getenv("SSL_CERT_FILE")) curl_easy_setopt(handle, CURLOPT_CAINFO, authorities);
  curl_easy_setopt(handle, CURLOPT_PROXY, "");
  curl_easy_setopt(handle, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_USERAGENT, "hatchctl");
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, 5L);
  curl_easy_setopt(handle, CURLOPT_TIMEOUT, static_cast<long>(call.limit.count()));
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, error);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &state);
  if (call.silence.count() > 0) {
    curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, static_cast<long>(call.silence.count()));
  }
  if (call.go_on) {
    curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, &on_progress);
    curl_easy_setopt(handle, CURLOPT_XFERINFODATA, const_cast<Call*>(&call));
  }
  if (call.method == "POST") {
    curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call.body.size()));
    curl_easy_setopt(handle, CURLOPT_POSTFIELDS, call.body.data());
  } else if (call.method != "GET") {
    curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, call.method.c_str());
  }

  const CURLcode code = curl_easy_perform(handle);
  if (code != CURLE_OK) return tl::unexpected(failure(endpoint, state, code, error));
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &state.answer.status);
  curl_header* location = nullptr;
  if (curl_easy_header(handle, "Location", 0, CURLH_HEADER, -1, &location) == CURLHE_OK)
    state.answer.location = location->value;
  return std::move(state.answer);
}

}  // namespace hatchd::client
