#include "app/hatches.hpp"

HATCH_PLUGIN("app", "1.0.0", "Hatches that live inside the app itself", app::Hatches, app::Call)
