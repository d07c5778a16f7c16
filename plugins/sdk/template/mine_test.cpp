// The hatch is tested without a daemon: hatch::testing stands in for it.
#undef NDEBUG
#include <cassert>
#include <hatch/testing.hpp>

#include "disk_space.hpp"

int main() {
  const auto fine = hatch::testing::run<DiskSpace>({{"path", "/"}, {"least", 0}});
  assert(fine.status == HATCH_OK);
  assert(fine.member("verdict").ends_with("% of / is free"));

  const auto nowhere = hatch::testing::run<DiskSpace>({{"path", "/no/such/place"}});
  assert(nowhere.status == HATCH_FAILED);
  assert(nowhere.failure.detail == "/no/such/place: No such file or directory");
}
