// What differs between processors: the registers of a stopped thread, in the order of DWARF's register numbers, and the
// system call that it is in. Sources: System V ABI AMD64 figure 3.36, DWARF for the Arm 64-bit Architecture.
#pragma once

#include <elf.h>
#include <sys/user.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace stack {

struct Registers {
#if defined(__x86_64__)
  static constexpr unsigned count = 17, sp_number = 7, pc_number = 16;
#elif defined(__aarch64__)
  static constexpr unsigned count = 33, sp_number = 31, pc_number = 32;
#else
#error "stack.dump knows x86-64 and aarch64"
#endif
  std::array<std::uint64_t, count> values{};
  // Of a thread that was read without a stop only pc and sp are known.
  bool complete = false;
  std::uint64_t thread_pointer = 0;  // 0: unknown. On x86-64 the thread's control block, at the top of its stack

  std::uint64_t sp() const { return values[sp_number]; }
  std::uint64_t pc() const { return values[pc_number]; }
};

// Those that a function leaves as they were, or puts back (System V ABI AMD64 3.2.1, AAPCS64 6.1.1): what is known of the
// caller's registers but for sp and pc.
#if defined(__x86_64__)
constexpr std::array<std::uint8_t, 6> kept_registers{3, 6, 12, 13, 14, 15};
constexpr std::size_t kept_slots = 6;      // room for them in a table of 8-byte rows (cache/table.hpp)
constexpr unsigned return_register = ~0U;  // a call leaves the return address on the stack
#else
constexpr std::array<std::uint8_t, 12> kept_registers{19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30};
constexpr std::size_t kept_slots = 14;
constexpr unsigned return_register = 30;
#endif

constexpr std::uint64_t no_system_call = ~std::uint64_t{0};

#if defined(__x86_64__)
constexpr std::uint64_t red_zone = 128;  // below sp a leaf function may keep values (AMD64 ABI 3.2.2)

inline Registers registers_of(const user_regs_struct& r) {
  return {{r.rax, r.rdx, r.rcx, r.rbx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15,
           r.rip},
          true,
          r.fs_base};
}
#else
constexpr std::uint64_t red_zone = 0;

inline Registers registers_of(const user_regs_struct& r) {
  Registers all;
  for (unsigned i = 0; i < 31; ++i) all.values[i] = r.regs[i];
  all.values[31] = r.sp;
  all.values[32] = r.pc;
  all.complete = true;
  return all;
}
#endif

}  // namespace stack
