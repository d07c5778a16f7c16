// What could stand at the end of an unfinished command line: the one answer that the completions of bash, zsh and fish
// all ask for (`hatchctl __complete WORD…`). Commands and options come from the parser itself, hatches, targets, runs and
// parameters from the daemon; without one there are just fewer of them.
#pragma once

#include <boost/json/value.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace hatchd::client {

struct Grammar {
  struct Option {
    std::vector<std::string> names;  // "-t", "--target"
    std::string help;
    bool takes_value = false;
  };
  struct Command {
    std::string name, help;
    std::vector<Option> options;
  };
  std::vector<Option> options;  // of all commands
  std::vector<Command> commands;
};

struct Candidate {
  std::string word;  // as a whole; one that ends in "=" goes on
  std::string help;  // one line, or ""
};

// The daemon's JSON at this path, or null.
using Fetch = std::function<boost::json::value(const std::string& path)>;

// `words`: behind the program's name; the last is what is being typed, "" for nothing yet.
std::vector<Candidate> complete(const Grammar& grammar, const std::vector<std::string>& words, const Fetch& fetch);

// "word\thelp" a line, printable.
std::string lines_of(const std::vector<Candidate>& candidates);

// The script for a shell, or "" for one that is not known.
std::string_view completion_script(std::string_view shell);

}  // namespace hatchd::client
