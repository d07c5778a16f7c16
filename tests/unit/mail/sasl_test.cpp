#include "mail/sasl.hpp"

#include "catch.hpp"

using namespace mail;

namespace {
Server shop() {
  Server server;
  server.user = "user";
  server.password = "pencil";
  return server;
}
}  // namespace

TEST_CASE("SCRAM-SHA-256 as in the example of RFC 7677") {
  const auto scram = scram_sha_256(shop(), "rOprNGfwEbeRWgbNEkqO");
  std::string text;
  REQUIRE(scram->initial(text));
  CHECK(text == "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
  REQUIRE(
      scram->answer("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", text));
  CHECK(text ==
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
  CHECK_FALSE(scram->complete());
  REQUIRE(scram->answer("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", text));
  CHECK(text.empty());
  CHECK(scram->complete());
}

TEST_CASE("SCRAM refuses a server that does not play by the rules") {
  std::string text;
  for (const char* first :
       {"", "x", "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "r=nonce,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "r=nonceX,s=!!,i=4096", "r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
        "r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2000000000", "r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999999999"}) {
    const auto scram = scram_sha_256(shop(), "nonce");
    scram->initial(text);
    CHECK_FALSE(scram->answer(first, text));
    CHECK(text != "");
  }
  const auto scram = scram_sha_256(shop(), "nonce");
  scram->initial(text);
  REQUIRE(scram->answer("r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1", text));
  CHECK_FALSE(scram->answer("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", text));
  CHECK_FALSE(scram->complete());
}

TEST_CASE("PLAIN, LOGIN, XOAUTH2") {
  std::string text;
  Server server = shop();
  REQUIRE(plain(server)->initial(text));
  CHECK(text == std::string("\0user\0pencil", 12));
  const auto two_steps = login(server);
  CHECK_FALSE(two_steps->initial(text));
  REQUIRE(two_steps->answer("Username:", text));
  CHECK(text == "user");
  REQUIRE(two_steps->answer("Password:", text));
  CHECK(text == "pencil");
  CHECK_FALSE(two_steps->answer("Mother's maiden name:", text));
  server.token = "ya29.x";
  REQUIRE(xoauth2(server)->initial(text));
  CHECK(text == "user=user\1auth=Bearer ya29.x\1\1");
}

TEST_CASE("the best of what is offered, or the one that the settings name") {
  std::string why;
  Server server = shop();
  CHECK(choose_mechanism(server, {"LOGIN", "PLAIN", "SCRAM-SHA-256"}, why)->name() == "SCRAM-SHA-256");
  CHECK(choose_mechanism(server, {"LOGIN", "PLAIN"}, why)->name() == "PLAIN");
  CHECK(choose_mechanism(server, {"LOGIN"}, why)->name() == "LOGIN");
  CHECK_FALSE(choose_mechanism(server, {"GSSAPI", "NTLM"}, why));
  CHECK(why.find("GSSAPI") != std::string::npos);
  CHECK_FALSE(choose_mechanism(server, {}, why));
  server.auth = "login";
  CHECK(choose_mechanism(server, {"LOGIN", "PLAIN"}, why)->name() == "LOGIN");
  server.auth = "scram-sha-256";
  CHECK_FALSE(choose_mechanism(server, {"LOGIN", "PLAIN"}, why));
  CHECK(why.find("scram-sha-256") != std::string::npos);
}
