#include "queue/amqp/client.hpp"

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "common/tls.hpp"

namespace queue::amqp {
namespace {

constexpr amqp_channel_t talk = 1, looking = 2, aside = 3;
constexpr int frame_max = 131072;

amqp_bytes_t bytes(const std::string& text) { return {text.size(), const_cast<char*>(text.data())}; }
std::string text_of(amqp_bytes_t from) {
  return from.len ? std::string(static_cast<const char*>(from.bytes), from.len) : std::string();
}

amqp_table_entry_t entry_of(const Header& header) {
  static amqp_field_value_t nones[2] = {{AMQP_FIELD_KIND_VOID, {}}, {AMQP_FIELD_KIND_VOID, {}}};
  amqp_table_entry_t entry{};
  entry.key = bytes(header.name);
  switch (header.type) {
    case Header::Type::text:
      entry.value.kind = AMQP_FIELD_KIND_UTF8;
      entry.value.value.bytes = bytes(header.text);
      break;
    case Header::Type::number:
      entry.value.kind = AMQP_FIELD_KIND_I64;
      entry.value.value.i64 = header.number;
      break;
    case Header::Type::none: entry.value.kind = AMQP_FIELD_KIND_VOID; break;
    case Header::Type::two_nones:
      entry.value.kind = AMQP_FIELD_KIND_ARRAY;
      entry.value.value.array = {2, nones};
      break;
  }
  return entry;
}

const amqp_field_value_t* find(const amqp_table_t& table, std::string_view name) {
  for (int i = 0; i < table.num_entries; ++i)
    if (text_of(table.entries[i].key) == name) return &table.entries[i].value;
  return nullptr;
}
std::string text_in(const amqp_table_t* table, std::string_view name) {
  const amqp_field_value_t* value = table ? find(*table, name) : nullptr;
  return value && (value->kind == AMQP_FIELD_KIND_UTF8 || value->kind == AMQP_FIELD_KIND_BYTES)
             ? text_of(value->value.bytes)
             : std::string();
}

timeval time_left(const Watch& watch) {
  const auto left = std::chrono::duration_cast<std::chrono::microseconds>(watch.end() - Clock::now()).count();
  const long long bounded = std::max<long long>(left, 1000);
  return {static_cast<time_t>(bounded / 1'000'000), static_cast<suseconds_t>(bounded % 1'000'000)};
}

// The words of a connection.close or channel.close.
struct Closing {
  int code = 0;
  std::string text;
};
Closing closing_of(const amqp_method_t& method) {
  if (method.id == AMQP_CONNECTION_CLOSE_METHOD) {
    const auto* close = static_cast<const amqp_connection_close_t*>(method.decoded);
    return {close->reply_code, text_of(close->reply_text)};
  }
  if (method.id == AMQP_CHANNEL_CLOSE_METHOD) {
    const auto* close = static_cast<const amqp_channel_close_t*>(method.decoded);
    return {close->reply_code, text_of(close->reply_text)};
  }
  return {};
}

}  // namespace

Access access_of(const Url& url, const Tls& tls) {
  if (!url.is({"amqp", "amqps", "pyamqp", "librabbitmq"}))
    throw Trouble("its scheme is " + url.scheme, "write amqp:// or amqps://");
  Access access;
  access.place.tls = tls;
  access.place.tls.on = tls.on || url.scheme == "amqps";
  access.place.host = url.host.empty() ? "localhost" : url.host;
  access.place.port = url.port ? url.port : access.place.tls.on ? 5671 : 5672;
  access.user = url.user.empty() ? "guest" : url.user;
  access.password = url.user.empty() && url.password.empty() ? "guest" : url.password;
  access.vhost = url.path.empty() ? "/" : url.path;
  access.shown = url.masked();
  return access;
}

// Ends a blocking call from outside by shutting its socket down.
class Client::Guard {
 public:
  Guard(int socket, const Watch& watch)
      : done_(::eventfd(0, EFD_CLOEXEC)), thread_([this, socket, cancel = watch.cancel_fd(), end = watch.end()] {
          pollfd entries[] = {{done_, POLLIN, 0}, {cancel, POLLIN, 0}};
          for (;;) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
            const int n = ::poll(entries, 2, left < 0 ? 0 : static_cast<int>(std::min<long long>(left, 1 << 30)));
            if (n < 0) continue;
            if (entries[0].revents) return;
            struck_ = true;
            ::shutdown(socket, SHUT_RDWR);
            return;
          }
        }) {}
  ~Guard() {
    ::eventfd_write(done_, 1);
    thread_.join();
    ::close(done_);
  }
  bool struck() const { return struck_; }

 private:
  std::atomic<bool> struck_{false};
  int done_;
  std::thread thread_;
};

struct Client::State {
  amqp_connection_state_t connection = amqp_new_connection();
  bool aside_open = false, closed = false;
  // A delivery or return whose content has not come whole yet.
  std::optional<Event> partial;
  std::uint64_t expected = 0;
  bool header_due = false;

  ~State() { amqp_destroy_connection(connection); }
};

Client::Client(const Access& access, const Watch& watch, std::chrono::milliseconds patience, Report& report)
    : watch_(watch), name_(access.place.name()), state_(std::make_unique<State>()) {
  report.begin("connect");
  amqp_connection_state_t connection = state_->connection;
  std::string tls;
  if (access.place.tls.on) {
    amqp_socket_t* socket = amqp_ssl_socket_new(connection);
    auto* context = socket ? static_cast<SSL_CTX*>(amqp_ssl_socket_get_context(socket)) : nullptr;
    if (!context) throw Trouble("TLS cannot be set up");
    const Tls& settings = access.place.tls;
    if (settings.ca.empty())
      common::add_system_authorities(SSL_CTX_get_cert_store(context));
    else if (amqp_ssl_socket_set_cacert(socket, settings.ca.c_str()) != AMQP_STATUS_OK)
      throw Trouble("the certificates of authorities in " + settings.ca + " cannot be read",
                    "name a PEM file that hatchd's user for plugins can read");
    if (!settings.certificate.empty() &&
        amqp_ssl_socket_set_key(socket, settings.certificate.c_str(), settings.key.c_str()) != AMQP_STATUS_OK)
      throw Trouble("the certificate " + settings.certificate + " or its key cannot be used",
                    "name PEM files that belong together and that hatchd's user for plugins can read");
    amqp_ssl_socket_set_verify_peer(socket, settings.verify);
    amqp_ssl_socket_set_verify_hostname(socket, settings.verify);
    amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST);
    const timeval limit = time_left(watch.within(patience));
    const int status = amqp_socket_open_noblock(socket, access.place.host.c_str(), access.place.port, &limit);
    if (status != AMQP_STATUS_OK) {
      if (status == AMQP_STATUS_SSL_PEER_VERIFY_FAILED)
        throw Trouble("TLS with " + name_ + " failed: its certificate is not trusted",
                      settings.ca.empty()
                          ? "name its authority's PEM file in \"ca\" of the profile"
                          : "is its authority the one that \"ca\" of the profile names, and is it still valid?");
      if (status == AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED)
        throw Trouble("TLS with " + name_ + " failed: its certificate is for another name than " + access.place.host,
                      "write the name that the certificate is for into the address");
      const bool shaking = status <= AMQP_STATUS_SSL_ERROR;
      throw Trouble((shaking ? "TLS with " : "cannot connect to ") + name_ + (shaking ? " failed: " : ": ") +
                        amqp_error_string2(status),
                    shaking ? "does this port speak TLS, and is its authority the one that \"ca\" names?"
                            : "is it running, and does it listen at this address?");
    }
    tls = ", TLS";
  } else {
    amqp_socket_t* socket = amqp_tcp_socket_new(connection);
    amqp_tcp_socket_set_sockfd(socket, connect_socket(access.place, watch.within(patience), name_));
  }
  report.good(name_ + tls);

  report.begin("login");
  guard_ = std::make_unique<Guard>(fd(), watch);
  const timeval limit = time_left(watch.within(patience));
  amqp_set_handshake_timeout(connection, &limit);
  amqp_set_rpc_timeout(connection, &limit);
  // Without this the broker does not say that it has stopped reading from us.
  amqp_table_entry_t blocked{}, capabilities{};
  blocked.key = amqp_cstring_bytes("connection.blocked");
  blocked.value.kind = AMQP_FIELD_KIND_BOOLEAN;
  blocked.value.value.boolean = 1;
  capabilities.key = amqp_cstring_bytes("capabilities");
  capabilities.value.kind = AMQP_FIELD_KIND_TABLE;
  capabilities.value.value.table = {1, &blocked};
  const amqp_table_t properties{1, &capabilities};
  const amqp_rpc_reply_t reply =
      amqp_login_with_properties(connection, access.vhost.c_str(), 8, frame_max, 0, &properties, AMQP_SASL_METHOD_PLAIN,
                                 access.user.c_str(), access.password.c_str());
  if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION) {
    const Closing closing = closing_of(reply.reply);
    if (closing.code == AMQP_ACCESS_REFUSED)
      throw Trouble("login refused for user " + access.user + ": " + closing.text,
                    closing.text.find("loopback") != std::string::npos || access.user == "guest"
                        ? "guest may log in from the broker's own host only; give hatchd a user of its own"
                        : "is this the user's password? rabbitmqctl authenticate_user checks it");
    if (closing.code == AMQP_NOT_ALLOWED)
      throw Trouble("user " + access.user + " may not open the virtual host \"" + access.vhost + "\": " + closing.text,
                    "rabbitmqctl list_vhosts and list_permissions show what there is; in the address it stands behind "
                    "the host, %2F for \"/\"");
    throw Trouble("login failed: " + closing.text);
  }
  if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
    if (guard_->struck() || reply.library_error == AMQP_STATUS_TIMEOUT) {
      watch.check();
      throw Trouble(name_ + " took the connection and does not answer", "it hangs, is overloaded, or is no RabbitMQ");
    }
    const bool foreign = reply.library_error == AMQP_STATUS_BAD_AMQP_DATA ||
                         reply.library_error == AMQP_STATUS_INCOMPATIBLE_AMQP_VERSION;
    throw Trouble(foreign ? name_ + " does not speak AMQP 0-9-1"
                          : std::string("login failed: ") + amqp_error_string2(reply.library_error),
                  foreign ? "is this the port of RabbitMQ, and does it want TLS?" : "is the password right?");
  }
  if (const amqp_table_t* server = amqp_get_server_properties(connection))
    broker_ = text_in(server, "product") + " " + text_in(server, "version");
  amqp_channel_open(connection, talk);
  expect("opening a channel");
  report.good("as " + access.user + " to virtual host " + access.vhost + ", " + broker_);
}

Client::~Client() = default;

int Client::fd() const { return amqp_get_sockfd(state_->connection); }

void Client::lost(const std::string& what) const {
  if (guard_ && guard_->struck()) {
    watch_.check();
    throw Trouble(what + ": " + name_ + " did not answer in time");
  }
  throw Trouble(what + ": " + name_ + " ended the connection");
}

// The answer to the call before.
void Client::expect(const char* what) {
  const amqp_rpc_reply_t reply = amqp_get_rpc_reply(state_->connection);
  if (reply.reply_type == AMQP_RESPONSE_NORMAL) return;
  if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION) {
    const Closing closing = closing_of(reply.reply);
    throw Trouble(std::string(what) + " was refused: " + closing.text,
                  closing.code == AMQP_ACCESS_REFUSED
                      ? "rabbitmqctl list_permissions shows what the user may configure, write and read"
                      : "");
  }
  lost(what);
}

Look Client::look(const std::string& queue) {
  amqp_channel_open(state_->connection, looking);
  expect("opening a channel");
  const auto* found = amqp_queue_declare(state_->connection, looking, bytes(queue), 1, 0, 0, 0, amqp_empty_table);
  if (found) {
    const Look look{true, found->message_count, found->consumer_count};
    amqp_channel_close(state_->connection, looking, AMQP_REPLY_SUCCESS);
    return look;
  }
  const amqp_rpc_reply_t reply = amqp_get_rpc_reply(state_->connection);
  if (reply.reply_type != AMQP_RESPONSE_SERVER_EXCEPTION) lost("looking at the queue");
  const Closing closing = closing_of(reply.reply);
  amqp_channel_close_ok_t ok{};
  amqp_send_method(state_->connection, looking, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
  if (closing.code == AMQP_NOT_FOUND) return {};
  throw Trouble("looking at the queue was refused: " + closing.text,
                closing.code == AMQP_ACCESS_REFUSED ? "the user needs the permission to read or configure it" : "");
}

std::string Client::open_inbox() {
  const auto* made = amqp_queue_declare(state_->connection, talk, amqp_empty_bytes, 0, 0, 1, 1, amqp_empty_table);
  if (!made) expect("making a queue for the answer");
  if (!made) lost("making a queue for the answer");
  std::string name = text_of(made->queue);
  amqp_basic_consume(state_->connection, talk, bytes(name), amqp_empty_bytes, 0, 1, 1, amqp_empty_table);
  expect("consuming from the queue for the answer");
  return name;
}

void Client::confirm() {
  amqp_confirm_select(state_->connection, talk);
  expect("asking for confirms");
}

void Client::publish(const Message& message, bool mandatory) { send(message, talk, mandatory); }

void Client::publish_aside(const Message& message) {
  if (!std::exchange(state_->aside_open, true)) {
    amqp_channel_open(state_->connection, aside);
    expect("opening a channel");
  }
  send(message, aside, false);
}

void Client::send(const Message& message, int channel, bool mandatory) {
  std::vector<amqp_table_entry_t> entries;
  for (const Header& header : message.headers) entries.push_back(entry_of(header));
  amqp_basic_properties_t properties{};
  properties._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG |
                      AMQP_BASIC_HEADERS_FLAG;
  properties.content_type = amqp_cstring_bytes("application/json");
  properties.content_encoding = amqp_cstring_bytes("utf-8");
  properties.delivery_mode = message.persistent ? 2 : 1;
  properties.headers = {static_cast<int>(entries.size()), entries.data()};
  const auto text = [&](const std::string& value, amqp_flags_t flag, amqp_bytes_t& to) {
    if (value.empty()) return;
    properties._flags |= flag;
    to = bytes(value);
  };
  text(message.correlation_id, AMQP_BASIC_CORRELATION_ID_FLAG, properties.correlation_id);
  text(message.reply_to, AMQP_BASIC_REPLY_TO_FLAG, properties.reply_to);
  text(message.expiration, AMQP_BASIC_EXPIRATION_FLAG, properties.expiration);
  const int status =
      amqp_basic_publish(state_->connection, static_cast<amqp_channel_t>(channel), bytes(message.exchange),
                         bytes(message.key), mandatory, 0, &properties, bytes(message.body));
  if (status != AMQP_STATUS_OK) lost("publishing");
}

std::optional<Event> Client::poll() {
  for (;;) {
    amqp_frame_t frame;
    const timeval at_once{0, 0};
    amqp_maybe_release_buffers(state_->connection);
    const int status = amqp_simple_wait_frame_noblock(state_->connection, &frame, &at_once);
    if (status == AMQP_STATUS_TIMEOUT) return std::nullopt;
    if (status != AMQP_STATUS_OK) lost("waiting");
    if (frame.channel == aside && frame.frame_type == AMQP_FRAME_METHOD &&
        frame.payload.method.id == AMQP_CHANNEL_CLOSE_METHOD) {
      Event event;
      event.type = Event::Type::aside_closed;
      event.text = closing_of(frame.payload.method).text;
      amqp_channel_close_ok_t ok{};
      amqp_send_method(state_->connection, aside, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
      state_->aside_open = false;
      return event;
    }
    if (frame.channel != talk && frame.channel != 0) continue;

    std::optional<Event>& partial = state_->partial;
    if (frame.frame_type == AMQP_FRAME_HEADER && partial && state_->header_due) {
      state_->header_due = false;
      state_->expected = frame.payload.properties.body_size;
      if (state_->expected > max_body) throw Trouble(name_ + " sent a message of more than 8 MiB");
      const auto* properties = static_cast<const amqp_basic_properties_t*>(frame.payload.properties.decoded);
      if (properties && properties->_flags & AMQP_BASIC_CORRELATION_ID_FLAG)
        partial->correlation_id = text_of(properties->correlation_id);
      if (properties && properties->_flags & AMQP_BASIC_HEADERS_FLAG)
        partial->ticket = text_in(&properties->headers, "ticket");
    } else if (frame.frame_type == AMQP_FRAME_BODY && partial && !state_->header_due) {
      partial->body += text_of(frame.payload.body_fragment);
    } else if (frame.frame_type == AMQP_FRAME_METHOD) {
      const amqp_method_t& method = frame.payload.method;
      Event event;
      switch (method.id) {
        case AMQP_BASIC_DELIVER_METHOD:
        case AMQP_BASIC_RETURN_METHOD:
          partial.emplace();
          partial->type = method.id == AMQP_BASIC_DELIVER_METHOD ? Event::Type::delivered : Event::Type::returned;
          if (method.id == AMQP_BASIC_RETURN_METHOD)
            partial->text = text_of(static_cast<const amqp_basic_return_t*>(method.decoded)->reply_text);
          state_->header_due = true;
          continue;
        case AMQP_BASIC_ACK_METHOD: event.type = Event::Type::confirmed; return event;
        case AMQP_BASIC_NACK_METHOD: event.type = Event::Type::rejected; return event;
        case AMQP_BASIC_CANCEL_METHOD: event.type = Event::Type::cancelled; return event;
        case AMQP_CONNECTION_BLOCKED_METHOD:
          event.type = Event::Type::blocked;
          event.text = text_of(static_cast<const amqp_connection_blocked_t*>(method.decoded)->reason);
          return event;
        case AMQP_CONNECTION_UNBLOCKED_METHOD: event.type = Event::Type::unblocked; return event;
        case AMQP_CONNECTION_CLOSE_METHOD:
        case AMQP_CHANNEL_CLOSE_METHOD:
          event.type = Event::Type::closed;
          event.text = closing_of(method).text;
          state_->closed = true;
          return event;
        default: continue;
      }
    } else {
      continue;
    }
    if (partial && !state_->header_due && partial->body.size() >= state_->expected) {
      Event event = std::move(*partial);
      partial.reset();
      return event;
    }
  }
}

void Client::close() {
  if (state_->closed) return;
  state_->closed = true;
  const timeval brief{1, 0};
  amqp_set_rpc_timeout(state_->connection, &brief);
  amqp_connection_close(state_->connection, AMQP_REPLY_SUCCESS);
}

}  // namespace queue::amqp
