#include "supervisor/audit_folder.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>

namespace hatchd::supervisor {

namespace fs = std::filesystem;

namespace {

// The first name in the folder that is none of the audit's; "" when there is none.
std::string foreign_name(const fs::path& folder, const std::string& stem) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (const std::string name = entry.path().filename().string(); !name.starts_with(stem)) return name;
  return {};
}

}  // namespace

Result<UniqueFd> open_audit_folder(const config::Config& config, const Identity& front) {
  const fs::path file = config.audit.file.empty() ? fs::path(config.runs.directory) / "audit" / "audit.jsonl"
                                                  : fs::path(config.audit.file);
  const fs::path folder = file.parent_path();
  const std::string remedy = "set audit.file to a file in a folder of its own, such as /var/log/hatchd/audit.jsonl";
  std::error_code error;
  fs::create_directories(folder.parent_path(), error);
  ::mkdir(folder.c_str(), 0700);
  UniqueFd fd{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0)
    return refuse("internal", folder.string() + ": " + errno_text(errno), remedy);
  if (!front.uid) {
    if (::faccessat(fd.get(), ".", W_OK | X_OK, AT_EACCESS) != 0)
      return refuse("internal", "the audit cannot be written in " + folder.string() + ": " + errno_text(errno), remedy);
    return fd;
  }
  if (const std::string other = foreign_name(folder, file.stem().string()); !other.empty())
    return refuse("internal", folder.string() + " holds " + other + ", and the folder of the audit becomes the front's",
                  remedy);
  if (auto given = give_to(folder.string(), front); !given) return tl::unexpected(given.error());
  return fd;
}

}  // namespace hatchd::supervisor
