// The list of all routes.
#pragma once

#include "api/api.hpp"
#include "http/router.hpp"

namespace hatchd::front {

// `api` must outlive the router.
http::Router routes(api::Api& api);

}  // namespace hatchd::front
