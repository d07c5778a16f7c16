#include "stack/node/options.hpp"

#include <algorithm>
#include <charconv>

namespace stack::node {
namespace {

// "9230", "127.0.0.1:9230", "[::1]:0", "localhost".
std::optional<std::uint16_t> port_of(std::string_view value) {
  const std::size_t colon = value.rfind(':');
  if (colon != value.npos && value.find(']', colon) == value.npos) value.remove_prefix(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), port);
  if (error != std::errc{} || end != value.data() + value.size() || value.empty()) return std::nullopt;
  return port;
}

void read_one(std::string_view argument, InspectorOptions& options) {
  const std::size_t equals = argument.find('=');
  const std::string_view name = argument.substr(0, equals);
  const auto port = equals == argument.npos ? std::nullopt : port_of(argument.substr(equals + 1));
  if (name == "--inspect" || name == "--inspect-brk" || name == "--inspect-wait") {
    options.wanted = true;
    if (port) options.port = port;
  } else if (name == "--inspect-port" || name == "--debug-port") {
    if (port) options.port = port;
  } else if (name == "--disable-sigusr1") {
    options.signal_disabled = true;
  }
}

void read_all(std::string_view text, char separator, InspectorOptions& options) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(separator, at), text.size());
    read_one(text.substr(at, end - at), options);
    at = end + 1;
  }
}

}  // namespace

InspectorOptions read_options(std::string_view command_line, std::string_view node_options) {
  InspectorOptions options;
  read_all(node_options, ' ', options);
  read_all(command_line, '\0', options);  // it has the last word
  return options;
}

std::string_view variable_of(std::string_view environment, std::string_view name) {
  for (std::size_t at = 0; at < environment.size();) {
    const std::size_t end = std::min(environment.find('\0', at), environment.size());
    const std::string_view entry = environment.substr(at, end - at);
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=')
      return entry.substr(name.size() + 1);
    at = end + 1;
  }
  return {};
}

}  // namespace stack::node
