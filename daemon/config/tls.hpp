// The files behind "tls". The front may open none, so the supervisor reads them, at start and at each reload, and hands
// on what is in them.
#pragma once

#include <string>
#include <vector>

#include "base/problem.hpp"
#include "config/config.hpp"

namespace hatchd::config {

struct TlsFiles {
  std::string certificate, key;  // PEM
};

// What is wrong with them as files; what is in them is http/tls.hpp's to judge.
std::vector<FieldError> read_tls(const Tls& tls, TlsFiles& files);

}  // namespace hatchd::config
