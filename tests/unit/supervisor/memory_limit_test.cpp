#include "supervisor/memory_limit.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "catch.hpp"

using namespace hatchd;
namespace fs = std::filesystem;

namespace {

struct Folder {
  std::string path = "/tmp/hatchd-cgroups-XXXXXX";
  Folder() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
  Folder(const Folder&) = delete;
  ~Folder() { fs::remove_all(path); }
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories(fs::path(path + "/" + name).parent_path());
    std::ofstream(path + "/" + name) << text << "\n";
  }
  std::optional<std::uint64_t> limit() const { return supervisor::memory_limit(path + "/cgroup", path + "/own"); }
};

}  // namespace

TEST_CASE("the memory limit is the least of the control groups that hatchd is in") {
  const Folder folder;
  SECTION("version 2") {
    folder.write("own", "0::/system.slice/hatchd.service");
    CHECK_FALSE(folder.limit());
    folder.write("cgroup/system.slice/hatchd.service/memory.max", "max");
    CHECK_FALSE(folder.limit());
    folder.write("cgroup/system.slice/hatchd.service/memory.max", "536870912");
    CHECK(folder.limit() == 536870912);
    folder.write("cgroup/system.slice/memory.max", "1048576");
    CHECK(folder.limit() == 1048576);
  }
  SECTION("of a container, which sees its own group as the root") {
    folder.write("own", "0::/");
    folder.write("cgroup/memory.max", "268435456");
    CHECK(folder.limit() == 268435456);
  }
  SECTION("version 1") {
    folder.write("own", "9:name=systemd:/x\n5:cpu,memory:/a/b\n0::/");
    folder.write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
    CHECK_FALSE(folder.limit());
    folder.write("cgroup/memory/a/b/memory.limit_in_bytes", "4096");
    CHECK(folder.limit() == 4096);
  }
  SECTION("nonsense") {
    folder.write("own", "nothing\n:\n0::/..");
    folder.write("cgroup/memory.max", "-1");
    CHECK_FALSE(folder.limit());
  }
}
