#include "targets/mask.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>
#include <utility>

#include "targets/proc.hpp"

namespace hatchd::targets {

namespace {

constexpr std::string_view stars = "******";

bool name_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.'; }

// "password", "DB_PASSWD", "spring.datasource.password", "api-key", "--client-secret", "key"; not "monkey" or
// "keyboard".
bool is_secret(std::string_view name) {
  std::string plain;
  for (const char c : name)
    if (std::isalnum(static_cast<unsigned char>(c)))
      plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    else
      plain += ' ';
  for (const std::string_view word : {"passw", "passphrase", "pwd", "secret", "token", "credential", "dsn", "cookie",
                                      "apikey", "accesskey", "privatekey"})
    if (plain.find(word) != std::string::npos) return true;
  // Short words count alone only.
  const std::size_t space = plain.rfind(' ');
  const std::string last = space == std::string::npos ? plain : plain.substr(space + 1);
  return last == "pass" || last == "key" || last == "auth" || last == "pin";
}

// scheme://user:password@host → scheme://******@host, wherever it stands in the text.
void mask_urls(std::string& text) {
  for (std::size_t at = 0; (at = text.find("://", at)) != std::string::npos;) {
    at += 3;
    const std::size_t end = std::min(text.find_first_of("/?# \t\n\"'", at), text.size());
    // The last @ of the authority: passwords with a raw @ in them do occur.
    const std::size_t sign = end > at ? text.rfind('@', end - 1) : std::string::npos;
    if (sign != std::string::npos && sign >= at && sign < end) text.replace(at, sign - at, stars);
  }
}

// name=value for each secret name. A value that begins the argument ends with it; one inside a text ends at a
// separator.
void mask_values(std::string& text) {
  for (std::size_t at = 0; (at = text.find('=', at)) != std::string::npos; ++at) {
    std::size_t begin = at;
    while (begin > 0 && name_char(text[begin - 1])) --begin;
    if (!is_secret(std::string_view(text).substr(begin, at - begin))) continue;
    const std::size_t end = begin == 0 ? text.size() : std::min(text.find_first_of("&;, \t\n\"'", at + 1), text.size());
    if (end > at + 1) text.replace(at + 1, end - at - 1, stars);
  }
}

// Short options whose value is a password, by program.
struct Short {
  std::string_view program;  // the name begins with it
  std::string_view option;
  bool attached;  // -pVALUE; else the next argument
};
constexpr std::array<Short, 7> shorts{{{"mysql", "-p", true},
                                       {"mariadb", "-p", true},
                                       {"sshpass", "-p", true},
                                       {"sshpass", "-p", false},
                                       {"redis-cli", "-a", false},
                                       {"mosquitto_", "-P", false},
                                       {"ldap", "-w", false}}};

void mask_list(std::vector<std::string>& arguments) {
  const std::string program = arguments.empty() ? std::string() : std::string(base_name(arguments.front()));
  bool next = false;  // the value of the option before
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string& argument = arguments[i];
    if (std::exchange(next, false) && !argument.empty() && (argument[0] != '-' || argument.size() == 1)) {
      argument = stars;
      continue;
    }
    if (argument.size() > 1 && argument[0] == '-') {
      next = argument.find('=') == std::string::npos && argument.find(' ') == std::string::npos && is_secret(argument);
      for (const Short& entry : shorts) {
        if (!program.starts_with(entry.program) || !argument.starts_with(entry.option)) continue;
        if (argument.size() == entry.option.size())
          next = next || !entry.attached;
        else if (entry.attached)
          argument.replace(entry.option.size(), std::string::npos, stars);
      }
      // curl -u user:password, --user user:password
      if ((argument == "-u" || argument == "--user" || argument == "--proxy-user") && i + 1 < arguments.size()) {
        std::string& user = arguments[i + 1];
        if (const std::size_t colon = user.find(':');
            colon != std::string::npos && user.find("://") == std::string::npos)
          user.replace(colon + 1, std::string::npos, stars);
      }
    }
    mask_urls(argument);
    mask_values(argument);
  }
}

}  // namespace

std::vector<std::string> masked(std::vector<std::string> arguments) {
  mask_list(arguments);
  // A title written over the arguments, and the text of sh -c, are command lines within one argument.
  for (std::string& argument : arguments) {
    if (argument.find(' ') == std::string::npos) continue;
    std::vector<std::string> words;
    for (std::size_t begin = 0; begin <= argument.size();) {
      const std::size_t end = std::min(argument.find(' ', begin), argument.size());
      words.push_back(argument.substr(begin, end - begin));
      begin = end + 1;
    }
    mask_list(words);
    argument.clear();
    for (std::size_t i = 0; i < words.size(); ++i) (argument += i == 0 ? "" : " ") += words[i];
  }
  return arguments;
}

}  // namespace hatchd::targets
