#include "client/interrupt.hpp"

#include <signal.h>
#include <stdlib.h>

namespace hatchd::client {

namespace {

volatile sig_atomic_t pressed = 0;

void count(int) { pressed = pressed + 1; }

}  // namespace

Interrupts::Interrupts() {
  pressed = 0;
  struct sigaction action {};
  action.sa_handler = count;  // without SA_RESTART: what waits wakes up
  ::sigaction(SIGINT, &action, nullptr);
}

Interrupts::~Interrupts() { ::signal(SIGINT, SIG_DFL); }

int Interrupts::presses() const { return pressed; }

void Interrupts::leave() const {
  ::signal(SIGINT, SIG_DFL);
  ::raise(SIGINT);
  ::_Exit(1);  // not reached: SIGINT was not blocked
}

}  // namespace hatchd::client
