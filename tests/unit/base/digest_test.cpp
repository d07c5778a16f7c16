#include "base/digest.hpp"

#include <string>

#include "catch.hpp"

using namespace hatchd;

// FIPS 180-2, appendix B.
TEST_CASE("SHA-256 of what the standard gives as examples, whole and piece by piece") {
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  Sha256 digest;
  for (int i = 0; i < 1000; ++i) digest.add(std::string(1000, 'a'));
  CHECK(digest.hex() == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  CHECK(digest.hex() == sha256(""));
}

TEST_CASE("secrets are the same to the last byte, and of one length") {
  CHECK(same_secret("", ""));
  CHECK(same_secret("hatchd_abc", "hatchd_abc"));
  CHECK_FALSE(same_secret("hatchd_abc", "hatchd_abd"));
  CHECK_FALSE(same_secret("hatchd_abc", "hatchd_ab"));
  CHECK_FALSE(same_secret("hatchd_abc", ""));
}
