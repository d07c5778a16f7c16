// The commands of hatchctl, one function each: ask the daemon, print what it says, turn its status into an exit code.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "client/endpoint.hpp"
#include "client/output.hpp"
#include "client/transfer.hpp"

namespace hatchd::client {

enum Exit : int { succeeded = 0, failed = 1, usage = 2, not_allowed = 3, cannot_connect = 4 };

// From an answer that is no success, or its status alone; main.cpp's help says the same in words.
int exit_of(long status);
int exit_of(const Answer& answer);

struct Options {
  std::string target, reason;
  bool json = false, dry_run = false, yes = false;
  bool watch = false;  // again and again
  unsigned every = 2;  // seconds
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
int follow(const Client& client, const std::string& run);
int cancel(const Client& client, const std::string& run);
int console(const Client& client, const std::string& id);
// `filter`: query of GET /v1/audit; empty values are left out.
int audit(const Client& client, const std::map<std::string, std::string>& filter);
int health(const Client& client);

// A problem of the client's own, on stderr (with --json on stdout, as the server's are); its exit code.
int report(const Problem& problem, const Options& options, const Screen& screen);
// What the server refused: JSON where JSON was asked for, else its lines on stderr; its exit code.
int refused(const Client& client, const Answer& answer);
// The way of most commands: one call, its body to stdout as it comes; its exit code.
int tell(const Client& client, Call call);

}  // namespace hatchd::client
