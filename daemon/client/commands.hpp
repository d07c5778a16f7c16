// The commands of hatchctl, one function each: ask the daemon, print what it says, turn its status into an exit code.
#pragma once

#include <string>
#include <vector>

#include "client/endpoint.hpp"
#include "client/output.hpp"

namespace hatchd::client {

enum Exit : int { succeeded = 0, failed = 1, usage = 2, not_allowed = 3, cannot_connect = 4 };

// From the status of an answer; main.cpp's help says the same in words.
int exit_of(long status);

struct Options {
  std::string target, reason;
  bool json = false, dry_run = false, yes = false;
};

struct Client {
  Endpoint endpoint;
  Options options;
  Screen screen;
};

struct RunFilter {
  std::string hatch, state, after;
  unsigned limit = 0;  // 0: as the server likes
};

int hatches(const Client& client);
int describe(const Client& client, const std::string& id);
int run(const Client& client, const std::string& id, const std::vector<std::string>& params);
int targets(const Client& client, const std::string& name);
int runs(const Client& client, const RunFilter& filter);
int show(const Client& client, const std::string& run);
int cancel(const Client& client, const std::string& run);
int health(const Client& client);

// A problem of the client's own, on stderr (with --json on stdout, as the server's are); its exit code.
int report(const Problem& problem, const Options& options, const Screen& screen);

}  // namespace hatchd::client
