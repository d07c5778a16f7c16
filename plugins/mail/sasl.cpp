#include "mail/sasl.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include "mail/text.hpp"

namespace mail {
namespace {

constexpr int max_iterations = 1'000'000;  // PBKDF2 of a hostile server must not take minutes

class Plain final : public Mechanism {
 public:
  explicit Plain(const Server& server) : text_('\0' + server.user + '\0' + server.password) {}
  std::string name() const override { return "PLAIN"; }
  bool initial(std::string& response) override { return response = text_, true; }
  bool answer(std::string_view, std::string& response) override { return response = text_, true; }

 private:
  std::string text_;
};

class Login final : public Mechanism {
 public:
  explicit Login(const Server& server) : user_(server.user), password_(server.password) {}
  std::string name() const override { return "LOGIN"; }
  bool initial(std::string&) override { return false; }
  bool answer(std::string_view, std::string& response) override {
    if (asked_ == 2) return response = "it asks more than a user and a password", false;
    response = asked_++ == 0 ? user_ : password_;
    return true;
  }

 private:
  std::string user_, password_;
  int asked_ = 0;
};

class Xoauth2 final : public Mechanism {
 public:
  explicit Xoauth2(const Server& server) : text_("user=" + server.user + "\1auth=Bearer " + server.token + "\1\1") {}
  std::string name() const override { return "XOAUTH2"; }
  bool initial(std::string& response) override { return response = text_, true; }
  // A challenge holds the error as JSON; an empty answer asks for the refusal itself.
  bool answer(std::string_view, std::string& response) override { return response.clear(), true; }

 private:
  std::string text_;
};

using Digest = std::array<unsigned char, 32>;

std::string_view view(const Digest& digest) { return {reinterpret_cast<const char*>(digest.data()), digest.size()}; }

Digest hmac(std::string_view key, std::string_view text) {
  Digest out{};
  unsigned size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
       text.size(), out.data(), &size);
  return out;
}

Digest sha256(std::string_view text) {
  Digest out{};
  unsigned size = 0;
  EVP_Digest(text.data(), text.size(), out.data(), &size, EVP_sha256(), nullptr);
  return out;
}

// "r=…,s=…,i=…"
std::map<char, std::string> attributes(std::string_view text) {
  std::map<char, std::string> all;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    const std::string_view one = text.substr(0, end);
    if (one.size() >= 2 && one[1] == '=') all.try_emplace(one[0], one.substr(2));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return all;
}

// RFC 5802 with SHA-256 (RFC 7677), without channel binding. The password is used as it is: SASLprep leaves ASCII alone.
class Scram final : public Mechanism {
 public:
  Scram(const Server& server, std::string nonce) : password_(server.password), nonce_(std::move(nonce)) {
    for (const char c : server.user) bare_ += c == '=' ? "=3D" : c == ',' ? "=2C" : std::string(1, c);
    bare_ = "n=" + bare_ + ",r=" + nonce_;
  }
  std::string name() const override { return "SCRAM-SHA-256"; }
  bool initial(std::string& response) override { return response = "n,," + bare_, true; }

  bool answer(std::string_view challenge, std::string& response) override {
    return step_++ == 0 ? first(challenge, response) : last(challenge, response);
  }
  bool complete() const override { return proved_; }

 private:
  bool first(std::string_view challenge, std::string& response) {
    auto said = attributes(challenge);
    bool ok = false;
    const std::string salt = from_base64(said['s'], ok);
    const std::string& count = said['i'];
    int iterations = 0;
    const auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), iterations);
    if (!ok || salt.empty() || error != std::errc{} || end != count.data() + count.size() || iterations < 1)
      return response = "its first message is none of SCRAM", false;
    if (iterations > max_iterations)
      return response = "it asks for more than " + std::to_string(max_iterations) + " rounds of hashing", false;
    if (!said['r'].starts_with(nonce_) || said['r'].size() == nonce_.size())
      return response = "its nonce does not begin with ours", false;

    Digest salted{};
    PKCS5_PBKDF2_HMAC(password_.data(), static_cast<int>(password_.size()),
                      reinterpret_cast<const unsigned char*>(salt.data()), static_cast<int>(salt.size()), iterations,
                      EVP_sha256(), static_cast<int>(salted.size()), salted.data());
    const std::string without_proof = "c=biws,r=" + said['r'];
    const std::string message = bare_ + ',' + std::string(challenge) + ',' + without_proof;
    const Digest client_key = hmac(view(salted), "Client Key");
    Digest proof = hmac(view(sha256(view(client_key))), message);
    for (std::size_t i = 0; i < proof.size(); ++i) proof[i] ^= client_key[i];
    expected_ = hmac(view(hmac(view(salted), "Server Key")), message);
    response = without_proof + ",p=" + base64(view(proof));
    return true;
  }

  // The server proves that it knows the password too.
  bool last(std::string_view challenge, std::string& response) {
    auto said = attributes(challenge);
    bool ok = false;
    const std::string signature = from_base64(said['v'], ok);
    proved_ = ok && signature.size() == expected_.size() &&
              CRYPTO_memcmp(signature.data(), expected_.data(), expected_.size()) == 0;
    if (!proved_) return response = "it does not prove that it knows the password", false;
    return response.clear(), true;
  }

  std::string password_, nonce_, bare_;
  Digest expected_{};
  int step_ = 0;
  bool proved_ = false;
};

std::string fresh_nonce() {
  unsigned char bytes[18];
  if (RAND_bytes(bytes, sizeof bytes) != 1) throw std::runtime_error("no random bytes");
  return base64({reinterpret_cast<const char*>(bytes), sizeof bytes});
}

}  // namespace

std::unique_ptr<Mechanism> plain(const Server& server) { return std::make_unique<Plain>(server); }
std::unique_ptr<Mechanism> login(const Server& server) { return std::make_unique<Login>(server); }
std::unique_ptr<Mechanism> xoauth2(const Server& server) { return std::make_unique<Xoauth2>(server); }
std::unique_ptr<Mechanism> scram_sha_256(const Server& server, std::string nonce) {
  return std::make_unique<Scram>(server, std::move(nonce));
}

std::unique_ptr<Mechanism> choose_mechanism(const Server& server, const std::vector<std::string>& offered,
                                            std::string& why) {
  const auto is_offered = [&](std::string_view name) {
    return std::any_of(offered.begin(), offered.end(),
                       [&](const std::string& one) { return same_ignoring_case(one, name); });
  };
  std::string list;
  for (const std::string& one : offered) (list += list.empty() ? "" : ", ") += one;
  const auto wanted = [&](std::string_view name) {
    return server.auth == "auto" ? is_offered(name) : same_ignoring_case(server.auth, name);
  };
  if (server.auth != "auto" && !is_offered(server.auth)) {
    why = "the server does not offer the mechanism " + server.auth + (list.empty() ? "" : "; it offers " + list);
    return nullptr;
  }
  if (wanted("XOAUTH2") && !server.token.empty()) return xoauth2(server);
  if (!server.password.empty()) {
    if (wanted("SCRAM-SHA-256")) return scram_sha_256(server, fresh_nonce());
    if (wanted("PLAIN")) return plain(server);
    if (wanted("LOGIN")) return login(server);
  }
  why = list.empty() ? "the server offers no authentication here"
                     : "the server offers " + list + ", of which none fits the credentials that there are";
  return nullptr;
}

}  // namespace mail
