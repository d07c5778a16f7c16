// hatchd-demo: a small shop to try hatchd on.
//
//   hatchd-demo [--threads N] [--depth D] [--watch] [--pidfile FILE]
//
// Prints its pid and "ready", serves until SIGTERM or SIGINT. SIGUSR1 prints what --watch saw since the last time.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <string>

#include "crowd.hpp"
#include "shop.hpp"
#include "watch.hpp"

namespace {

struct Options {
  unsigned threads = 0, depth = 20;
  bool watch = false;
  std::string pidfile;
};

[[noreturn]] void usage() {
  std::fputs("usage: hatchd-demo [--threads N] [--depth D] [--watch] [--pidfile FILE]\n", stderr);
  std::exit(2);
}

unsigned number(const char* text) {
  unsigned value = 0;
  const char* end = text + std::strlen(text);
  if (std::from_chars(text, end, value).ptr != end || value > 30'000) usage();
  return value;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const auto value = [&] { return ++i < argc ? argv[i] : (usage(), nullptr); };
    if (name == "--threads")
      options.threads = number(value());
    else if (name == "--depth")
      options.depth = number(value());
    else if (name == "--watch")
      options.watch = true;
    else if (name == "--pidfile")
      options.pidfile = value();
    else
      usage();
  }
  return options;
}

[[gnu::noinline]] void serve_until_told_to_stop(const sigset_t& signals) {
  for (;;) {
    siginfo_t info;
    const int signal = ::sigwaitinfo(&signals, &info);
    if (signal < 0 && errno == EINTR) continue;
    if (signal != SIGUSR1) return;
    std::printf("%s\n", demo::take_watch_report().c_str());
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) try {
  const Options options = parse(argc, argv);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before the first thread: all inherit it, so main alone gets them

  demo::Shop shop;
  shop.open();
  demo::gather_crowd(options.threads, options.depth);
  if (options.watch) demo::start_watch();
  if (!options.pidfile.empty()) std::ofstream(options.pidfile) << ::getpid() << '\n';
  std::printf("%d\nready\n", ::getpid());
  std::fflush(stdout);

  serve_until_told_to_stop(signals);
  shop.close();
  if (!options.pidfile.empty()) ::unlink(options.pidfile.c_str());
  std::fflush(stdout);
  ::_exit(0);  // crowd and watcher never end by themselves
} catch (const std::exception& error) {
  std::fprintf(stderr, "hatchd-demo: %s\n", error.what());
  return 1;
}
