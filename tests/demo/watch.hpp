// A thread that looks at the clock all the time: what stops it from outside shows as a gap. It is how the benchmarks
// measure, inside the target, what a dump does to it.
#pragma once

#include <string>

namespace demo {

void start_watch();
// One line of JSON: {"longest_gap_us", "gross_gap_us", "eintr"}; starts anew.
std::string take_watch_report();

}  // namespace demo
