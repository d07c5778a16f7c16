// Command lines hold secrets more often than they should.
//
// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <utility>

#include "again.hpp"
#include "hatch/mask.hpp"

namespace hatch {
namespace {

// Short options whose value is a password, by program.
struct Short {
  std::string_view program;  // the name begins with it
  std::string_view option;
  bool attached;  // -pVALUE; else the next argument
};
constexpr std::array<Short, 9> shorts{{{"mysql", "-p", true},
                                       {"mariadb", "-p", true},
                                       {"sshpass", "-p", true},
                                       {"sshpass", "-p", false},
                                       {"redis-cli", "-a", false},
                                       {"valkey-cli", "-a", false},
                                       {"mosquitto_", "-P", false},
                                       {"ldap", "-w", false},
                                       {"mongo", "-p", false}}};

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// curl -u user:password, --user user:password
void mask_user(std::string& user) {
  const std::size_t colon = user.find(':');
  if (colon != std::string::npos && user.find("://") == std::string::npos)
    user.replace(colon + 1, std::string::npos, Mask::stars);
}

// Stars, and what ended the value where it stood: without its quote the next words would be taken for the value too.
bool is_masked(std::string_view argument) {
  return argument.starts_with(Mask::stars) && argument.find_first_not_of("*\"'`\r\n,;") == argument.npos;
}

// "--name=value" or "NAME=value": the argument begins with the name, so the value ends with it.
bool mask_assignment(const Mask& mask, std::string& argument) {
  const std::size_t equals = argument.find('=');
  if (equals == std::string::npos || equals == 0) return false;
  const std::string_view name = std::string_view(argument).substr(0, equals);
  for (const char c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
          c == '.'))
      return false;
  argument = std::string(name) + '=' + mask.value(name, std::string_view(argument).substr(equals + 1));
  return true;
}

void mask_one(const Mask& mask, std::string& argument) {
  if (!mask_assignment(mask, argument)) argument = mask.text(argument);
}

void mask_list(const Mask& mask, std::vector<std::string>& arguments) {
  const std::string program{arguments.empty() ? std::string_view{} : base_name(arguments.front())};
  std::string name;  // of the option before, whose value this may be
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string& argument = arguments[i];
    if (const std::string option = std::exchange(name, {});
        !option.empty() && !argument.empty() && (argument[0] != '-' || argument.size() == 1)) {
      if (!is_masked(argument)) argument = option == "-" ? std::string(Mask::stars) : mask.value(option, argument);
      continue;
    }
    if (argument.size() > 1 && argument[0] == '-') {
      if (argument.find_first_of("= ") == std::string::npos) name = argument;
      for (const Short& entry : shorts) {
        if (!program.starts_with(entry.program) || !argument.starts_with(entry.option)) continue;
        if (argument.size() == entry.option.size() && !entry.attached)
          name = "-";
        else if (argument.size() > entry.option.size() && entry.attached)
          argument.replace(entry.option.size(), std::string::npos, Mask::stars);
      }
      if ((argument == "-u" || argument == "--user" || argument == "--proxy-user") && i + 1 < arguments.size())
        mask_user(arguments[i + 1]);
    }
    mask_one(mask, argument);
  }
}

// A title written over the arguments, and the text of sh -c, are command lines within one argument.
void mask_words(const Mask& mask, std::string& argument) {
  if (argument.find(' ') == std::string::npos) return;
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin <= argument.size();) {
    const std::size_t end = std::min(argument.find(' ', begin), argument.size());
    words.push_back(argument.substr(begin, end - begin));
    begin = end + 1;
  }
  mask_list(mask, words);
  argument.clear();
  for (std::size_t i = 0; i < words.size(); ++i) (argument += i == 0 ? "" : " ") += words[i];
}

}  // namespace

std::vector<std::string> Mask::arguments(std::vector<std::string> arguments) const {
  // "Authorization: SCHEME ******" loses its scheme to the words.
  return masking::mask_again(arguments, [&](std::vector<std::string> list) {
    mask_list(*this, list);
    for (std::string& argument : list) mask_words(*this, argument);
    return list;
  });
}

}  // namespace hatch
