// Native stacks and a runtime's, brought together without a target.
#include "support.hpp"

namespace {

using stack::Frame;

struct NoReader final : stack::RuntimeReader {
  std::string_view mode() const override { return "python"; }
  std::string runtime() const override { return "CPython 3"; }
  bool gather(const stack::Options&, stack::Hold&) override { return true; }
  bool has_stacks() const override { return true; }
  stack::RuntimeStacks digest(const stack::Options&, stack::Hold&) override { return {}; }
};

Frame native(const char* function, bool in_module = true) {
  Frame frame;
  frame.function = function;
  frame.module = "m";
  frame.in_module = in_module;
  return frame;
}
Frame python(const char* function) {
  Frame frame;
  frame.function = function;
  frame.file = "/srv/a.py";
  frame.line = 3;
  frame.kind = "python";
  return frame;
}

// One process with native threads 1, 2, … whose frames are `threads`, and a runtime beside it.
struct Both {
  stack::Gathered gathered;
  stack::Digest digest;
  stack::ProcessCopy& copy = gathered.processes.emplace_back();
  stack::ProcessStacks& stacks = digest.processes.emplace_back();
  stack::RuntimeStacks& runtime;

  explicit Both(std::vector<Frame> frames, std::vector<std::vector<std::uint32_t>> threads)
      : runtime(*(stacks.runtime = std::make_shared<stack::RuntimeStacks>())) {
    copy.pid = 7;
    copy.native = !threads.empty();
    copy.reader = std::make_shared<NoReader>();
    stacks.frames = std::move(frames);
    for (auto& thread : threads) {
      stack::ThreadCopy& added = copy.threads.emplace_back();
      added.tid = static_cast<pid_t>(copy.threads.size());
      added.registers.emplace();
      stacks.threads.push_back({std::move(thread), false, {}});
    }
    runtime.runtime = "CPython 3.11";
    runtime.loop = "_PyEval_EvalFrameDefault";
    runtime.frames = {python("a"), python("b"), python("c")};
  }
  stack::RuntimeThread& add(pid_t tid, std::vector<std::uint32_t> frames, std::vector<std::uint32_t> segments = {}) {
    stack::RuntimeThread& thread = runtime.threads.emplace_back();
    thread.tid = tid;
    thread.frames = std::move(frames);
    thread.segments = std::move(segments);
    return thread;
  }
  std::vector<std::string> functions(std::size_t thread) const {
    const auto shown = stack::merge(gathered, digest);
    std::vector<std::string> names;
    for (const std::uint32_t frame : shown[0].threads.at(thread).frames)
      names.push_back(shown[0].frames[frame].function);
    return names;
  }
};

using Names = std::vector<std::string>;
const std::vector<Frame> interpreted = {native("read"), native("_PyEval_EvalFrameDefault"), native("PyObject_Call"),
                                        native("_PyEval_EvalFrameDefault.cold"), native("main")};

}  // namespace

TEST_CASE("each call of the interpreter's loop gives way to the frames that it carries") {
  Both both{interpreted, {{0, 1, 2, 3, 4}}};
  both.add(1, {0, 1, 2}, {2, 1});
  CHECK(both.functions(0) == Names{"read", "a", "b", "PyObject_Call", "c", "main"});
  const auto shown = stack::merge(both.gathered, both.digest);
  CHECK(shown[0].mode == "all");
  CHECK(shown[0].threads.size() == 1);
}

TEST_CASE("where calls and frames do not fit, all frames stand at the innermost call") {
  Both both{interpreted, {{0, 1, 2, 3, 4}, {0, 4}}};
  both.add(1, {0, 1, 2}, {1, 1, 1});
  both.add(2, {2});
  CHECK(both.functions(0) == Names{"read", "a", "b", "c", "PyObject_Call", "main"});
  CHECK(both.functions(1) == Names{"read", "main", "c"});
}

TEST_CASE("a runtime that compiles is found where no module is") {
  Both both{{native("futex"), native("", false), native("", false), native("clone")}, {{0, 1, 2, 3}}};
  both.runtime.loop.clear();
  both.add(1, {0, 1});
  CHECK(both.functions(0) == Names{"futex", "a", "b", "clone"});
}

TEST_CASE("what has no thread of the kernel, or none that is listed, is shown by itself") {
  Both both{interpreted, {{0, 4}}};
  both.add(0, {0}).id = "goroutine 18";
  both.add(99, {1});
  both.add(1, {2});
  const auto shown = stack::merge(both.gathered, both.digest);
  REQUIRE(shown[0].threads.size() == 3);
  CHECK(both.functions(0) == Names{"read", "main", "c"});
  CHECK(shown[0].threads[1].id == "goroutine 18");
  CHECK(both.functions(2) == Names{"b"});
  const std::string threads = stack::render_answer(shown, {}).threads;
  CHECK(threads.find("\"id\":\"goroutine 18\"") != std::string::npos);
  CHECK(threads.find("\"id\":99") != std::string::npos);
}

TEST_CASE("native stacks that stand in say for what, and what would help") {
  Both both{interpreted, {{0, 4}}};
  both.runtime.trouble =
      stack::Trouble{stack::Trouble::Kind::other, "no attach socket is open", {}, "act=true opens it"};
  const auto shown = stack::merge(both.gathered, both.digest);
  CHECK(shown[0].mode == "native");
  CHECK(shown[0].runtime == "CPython 3.11");
  CHECK(shown[0].note == "no attach socket is open (act=true opens it); native stacks instead");
  const stack::Answer answer = stack::render_answer(shown, {});
  CHECK(answer.partial);
  CHECK(answer.processes.find("native stacks instead") != std::string::npos);
}

TEST_CASE("a runtime's stacks stand where the native ones are refused") {
  Both both{interpreted, {{0, 4}}};
  both.copy.trouble = stack::Trouble{stack::Trouble::Kind::rights, "process 7 is being traced", {}, {}};
  both.add(1, {0});
  const auto shown = stack::merge(both.gathered, both.digest);
  CHECK(!shown[0].trouble);
  CHECK(shown[0].mode == "python");
  CHECK(shown[0].note == "no native stacks: process 7 is being traced");
  CHECK(both.functions(0) == Names{"a"});
}

TEST_CASE("equal stacks are shown once, with the threads that show them") {
  Both both{{}, {}};
  for (pid_t tid = 1; tid <= 12; ++tid) {
    stack::RuntimeThread& thread =
        both.add(tid, tid == 5 ? std::vector<std::uint32_t>{2} : std::vector<std::uint32_t>{0});
    thread.name = "worker-" + std::to_string(tid);
    thread.waiting_on = "lock";
  }
  stack::Options options;
  options.group = true;
  const auto shown = stack::merge(both.gathered, both.digest);
  const stack::Answer answer = stack::render_answer(shown, options);
  CHECK(answer.threads.find("\"count\":11,\"ids\":[1,2,3,4,6,7,8,9,10,11,12],\"names\":[\"worker-1\"") !=
        std::string::npos);
  CHECK(answer.threads.find("\"count\":1,\"ids\":[5]") != std::string::npos);
  const std::string text = stack::render_text(shown, answer, options);
  CHECK(text.find("11 threads here, waiting for lock: \"worker-1\" thread 1, ") != std::string::npos);
  CHECK(text.find("and 3 more\n  #0   a  at /srv/a.py:3\n") != std::string::npos);
  CHECK(stack::render_folded(shown).find(";worker-5;c (a.py:3) 1\n") != std::string::npos);
}
