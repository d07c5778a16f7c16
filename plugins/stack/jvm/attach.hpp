// A thread dump through HotSpot's attach socket, without any tool of the JDK: protocol 1, which every HotSpot since
// JDK 6 speaks (openjdk/jdk src/hotspot/share/services/attachListener.cpp, os/posix/attachListener_posix.cpp).
//
// The socket is /tmp/.java_pid<N>, N being the pid in the JVM's own namespace, /tmp that of the JVM's root. HotSpot
// opens it when it finds the file .attach_pid<N> at a SIGQUIT. Where SIGQUIT is not caught it kills, so it is sent only
// to a process whose SigCgt says that it is. The VM serves its own effective uid and gid (and root, since JDK 9 or so):
// the dialogue is led by a thread that takes these ids, where hatchd may take them.
#pragma once

#include "stack/model.hpp"

namespace stack::jvm {

struct Dump {
  std::string text;     // of the VM: hostile. Empty: there is none
  bool cut = false;     // at text_limit
  bool locks = false;   // java.util.concurrent locks and who owns them were asked for
  Micros safepoint{0};  // the longest that the VM's threads can have stood still for it
  Trouble trouble;      // why there is no text
  bool cancelled = false;
};

constexpr std::size_t text_limit = std::size_t{64} << 20;

// The same for another command of the protocol: "properties", or "jcmd" with what jcmd(1) is to be asked as argument.
Dump ask(const Process& process, pid_t living, bool act, Hold& hold, std::string command, std::string argument = {});

// `living`: a thread of the process that has not ended. With `act`, a socket that is not open yet is opened.
Dump dump_threads(const Process& process, pid_t living, bool act, Hold& hold);

}  // namespace stack::jvm
