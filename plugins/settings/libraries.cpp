// What the process has loaded, and what an upgrade has replaced under it.
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>

#include "settings/section.hpp"

namespace settings {
namespace {

// "3" of "libssl.so.3", "6.0.30" of "libstdc++.so.6.0.30".
std::string version_of(std::string_view name) {
  const std::size_t so = name.find(".so.");
  return so == name.npos ? std::string{} : std::string(name.substr(so + 4));
}

const stack::Mapping* mapping_of(const Subject& subject, const stack::Module& module) {
  for (const stack::Mapping& mapping : subject.mappings)
    if (mapping.start >= module.low && mapping.end <= module.high && mapping.inode) return &mapping;
  return nullptr;
}

}  // namespace

Section libraries(const Subject& subject) {
  Section section{"libraries"};
  if (subject.mappings.empty()) return section.missing("maps", EACCES);
  hatch::Array list;
  for (const stack::Module& module : subject.modules) {
    if (!module.path.starts_with('/')) continue;  // the vdso
    const std::string version = version_of(module.name());
    // The path as the target sees it: another file there now is an upgrade that the process has not taken part in.
    // Overlay file systems show one device in maps and another in stat, so the inode alone is compared.
    const stack::Mapping* mapped = mapping_of(subject, module);
    struct stat file {};
    const bool there = ::fstatat(subject.process.proc_fd, ("root" + module.path).c_str(), &file, 0) == 0;
    const bool replaced = there && mapped && file.st_ino != mapped->inode;
    hatch::Object entry;
    entry.add("name", module.name()).add("path", module.path);
    if (!version.empty()) entry.add("version", version);
    if (module.deleted) entry.add("deleted", true);
    if (replaced) entry.add("replaced", true);
    const bool restart = module.deleted || replaced;
    if (restart) entry.add("restart_needed", true);
    list.add(entry);
    section.rows.push_back(
        {std::string(module.name()), module.path + (!restart ? ""
                                                    : there  ? "  REPLACED on disk: restart to use the new one"
                                                             : "  DELETED on disk: restart needed")});
  }
  section.json = list.json();
  return section;
}

}  // namespace settings
