// Ctrl-C while a run goes on: the run is the daemon's, so the first press only says so, and the second leaves.
#pragma once

namespace hatchd::client {

class Interrupts {
 public:
  Interrupts();   // takes SIGINT over
  ~Interrupts();  // and gives it back
  Interrupts(const Interrupts&) = delete;

  int presses() const;
  // Ends this process as the signal would have, so that a shell sees it.
  [[noreturn]] void leave() const;
};

}  // namespace hatchd::client
