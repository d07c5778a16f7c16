// AUTH: the mechanisms (RFC 4954, 4616, 5802, 7677).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mail/reply.hpp"
#include "mail/settings.hpp"

namespace mail {

// One authentication. Texts are without base64; what a challenge is answered with is secret.
class Mechanism {
 public:
  virtual ~Mechanism() = default;
  virtual std::string name() const = 0;
  // Sent with the AUTH command itself; false: the mechanism waits for a challenge.
  virtual bool initial(std::string& response) = 0;
  // False: the challenge is not what it should be, `response` says why.
  virtual bool answer(std::string_view challenge, std::string& response) = 0;
  // After success: did the server prove what it should have proved?
  virtual bool complete() const { return true; }
};

std::unique_ptr<Mechanism> plain(const Server& server);
std::unique_ptr<Mechanism> login(const Server& server);
std::unique_ptr<Mechanism> xoauth2(const Server& server);
// `nonce` is chosen by the client; a parameter so that it can be tested against the RFC's example.
std::unique_ptr<Mechanism> scram_sha_256(const Server& server, std::string nonce);

// The one that the settings name, or the best of those offered; nullptr when there is none, and `why` says so.
std::unique_ptr<Mechanism> choose_mechanism(const Server& server, const std::vector<std::string>& offered,
                                            std::string& why);

}  // namespace mail
