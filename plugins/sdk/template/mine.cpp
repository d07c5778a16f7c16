// The plugin: its name below "plugins" in the configuration, and the hatches that it brings.
#include "disk_space.hpp"

HATCH_PLUGIN("mine", "1.0.0", "A plugin to start from", DiskSpace)
