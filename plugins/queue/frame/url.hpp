// The address of a broker or of a result back end, as Celery, kombu and everybody else write it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace queue {

struct Url {
  std::string scheme;                        // lower case
  std::string user, password, host, path;    // percent codes decoded; path without its first slash
  std::uint16_t port = 0;                    // 0: none is written
  bool has_path = false;                     // "amqp://h/" has one, an empty one
  std::map<std::string, std::string> query;  // the first value of each name

  // "redis://user:******@host:6379/0": fit to be shown.
  std::string masked() const;
  bool is(std::initializer_list<std::string_view> schemes) const;
};

// Throws Trouble, whose text never quotes what it read: that may be a password.
Url parse_url(std::string_view text);
// "sentinel://a:26379;sentinel://b": several addresses of one service.
std::vector<Url> parse_urls(std::string_view text);

}  // namespace queue
