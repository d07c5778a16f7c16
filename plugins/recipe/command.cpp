// kind command: a program with its arguments, without a shell.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "recipe/recipe.hpp"

namespace recipe {
namespace {

namespace json = boost::json;

constexpr std::size_t max_kept = 64 * 1024, max_streamed = std::size_t{4} << 20;
constexpr std::chrono::milliseconds term_patience{2000};

// The arguments with the parameters in their places. A value that begins with '-' would be an option: it is taken only
// behind "--", or where the program is configured to expect it.
std::vector<std::string> arguments_of(const Recipe& recipe) {
  std::vector<std::string> all;
  bool plain = false;  // behind "--"
  for (const json::value& element : recipe.written().at("argv").as_array()) {
    const std::string_view written = element.as_string();
    std::string value = recipe.fill(written);
    if (value.find('\0') != value.npos)
      throw hatch::Failure("an argument cannot hold a NUL byte: " + std::string(written));
    if (value != written && value.starts_with('-') && !plain)
      throw hatch::Failure(
          "parameter " + std::string(written) +
          " begins with '-', which the program would take for an option; write \"--\" before it in argv "
          "where the program knows that");
    plain = plain || written == "--";
    all.push_back(std::move(value));
  }
  return all;
}

std::vector<std::string> environment_of(const hatch::Run& run, const Recipe& recipe) {
  std::vector<std::string> all{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
                               "HATCHD_RUN=" + std::string(run.id())};
  for (const hatch_process& process : run.processes())
    if (process.main) all.push_back("HATCHD_TARGET_PID=" + std::to_string(process.pid));
  for (const auto& variable : recipe.part("environment"))
    if (const json::string* value = variable.value().if_string())
      all.push_back(std::string(variable.key()) + "=" + std::string(*value));
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

// A program that runs, and all that it starts: one process group, ended with this object.
class Child {
 public:
  Child(const std::string& directory, std::vector<std::string> arguments, std::vector<std::string> environment) {
    int output[2], failure[2];
    if (::pipe2(output, O_CLOEXEC) != 0) throw std::runtime_error("pipe: " + std::string(std::strerror(errno)));
    if (::pipe2(failure, O_CLOEXEC) != 0) throw std::runtime_error("pipe: " + std::string(std::strerror(errno)));
    const std::vector<char*> argv = pointers(arguments), envp = pointers(environment);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::setpgid(0, 0);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int null = ::open("/dev/null", O_RDONLY);
      if (null >= 0 && ::dup2(null, 0) == 0 && ::dup2(output[1], 1) == 1 && ::dup2(output[1], 2) == 2 &&
          ::chdir(directory.c_str()) == 0)
        ::execve(argv[0], argv.data(), envp.data());
      const int error = errno;
      (void)!::write(failure[1], &error, sizeof error);
      ::_exit(127);
    }
    ::close(output[1]);
    ::close(failure[1]);
    output_ = output[0];
    int error = 0;
    const bool failed = pid_ < 0 || ::read(failure[0], &error, sizeof error) == sizeof error;
    if (pid_ < 0) error = errno;
    ::close(failure[0]);
    if (!failed) return;
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
    ::close(output_);
    throw hatch::Failure(arguments.front() + " could not be started in " + directory + ": " + std::strerror(error));
  }
  Child(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) end();
    ::close(output_);
  }

  int output() const { return output_; }

  // Its exit status as waitpid(2) gives it.
  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    ::kill(-std::exchange(pid_, -1), SIGKILL);  // what it left behind
    return status;
  }

 private:
  void end() {
    ::kill(-pid_, SIGTERM);
    for (auto waited = std::chrono::milliseconds{0}; waited < term_patience; waited += std::chrono::milliseconds{20}) {
      if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
        ::kill(-std::exchange(pid_, -1), SIGKILL);
        return;
      }
      ::usleep(20'000);
    }
    ::kill(-pid_, SIGKILL);
    wait();
  }

  pid_t pid_ = -1;
  int output_ = -1;
};

std::string ending(int status) {
  if (WIFEXITED(status)) return "exit status " + std::to_string(WEXITSTATUS(status));
  const char* name = ::sigabbrev_np(WTERMSIG(status));
  return "SIG" + std::string(name ? name : std::to_string(WTERMSIG(status)).c_str());
}

}  // namespace

hatch::Result run_command(hatch::Run& run) {
  const Recipe recipe{run};
  const json::value* directory = recipe.written().if_contains("directory");
  std::vector<std::string> arguments = arguments_of(recipe);
  const std::string program = arguments.front();
  const auto begin = std::chrono::steady_clock::now();
  Child child{directory && directory->is_string() ? std::string(directory->get_string()) : "/", std::move(arguments),
              environment_of(run, recipe)};

  std::string kept;  // the end of what it said
  std::size_t said = 0;
  for (char piece[16 * 1024];;) {
    run.wait(child.output(), POLLIN);  // throws when the run is cancelled or out of time
    const ssize_t n = ::read(child.output(), piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    const std::string_view bytes{piece, static_cast<std::size_t>(n)};
    if (said < max_streamed) run.output(bytes);
    said += bytes.size();
    kept += bytes;
    if (kept.size() > 2 * max_kept) kept.erase(0, kept.size() - max_kept);
  }
  const int status = child.wait();
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  if (kept.size() > max_kept) kept.erase(0, kept.size() - max_kept);

  hatch::Result result;
  result.step("command", ms, status == 0, ending(status));
  if (WIFEXITED(status)) result.add("exit_status", WEXITSTATUS(status));
  result.add("output", kept).add("output_bytes", said);
  if (kept.size() < said) result.add("output_cut", true);
  const std::string sentence = program + " ended with " + ending(status) + " after " +
                               std::to_string(static_cast<long>(ms)) + " ms and said " + std::to_string(said) +
                               " bytes";
  result.verdict(sentence + ".");
  result.text(hatch::printable(sentence) + ".\n\n" + hatch::printable(kept, true));
  if (status == 0) return result;
  throw hatch::Failure(program + " ended with " + ending(status)).with(std::move(result));
}

}  // namespace recipe
