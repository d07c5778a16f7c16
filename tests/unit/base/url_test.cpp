#include "base/url.hpp"

#include "catch.hpp"

using namespace hatchd;

TEST_CASE("an address of a request says what is wrong with it") {
  for (const char* good : {"http://h", "https://h:1/x?q=1:2", "http://[::1]:65535/", "http://[::1]/",
                           "http://me:pass@h:80/", "http://h:/x", "http://me:p/w@h:80/"}) {
    CAPTURE(good);
    CHECK(wrong_http_url(good).empty());
  }
  const auto begins = [](const char* url, std::string_view text) {
    CAPTURE(url);
    CHECK(wrong_http_url(url).starts_with(text));
  };
  begins("", "must begin with http://");
  begins("ftp://h/", "must begin with http://");
  begins("http:///x", "names no host");
  begins("http://?x", "names no host");
  begins("http://h/a b", "holds a blank");
  begins("http://h/#x", "has a fragment");
  for (const char* bad : {"http://h:65536/", "http://h:0", "http://h:x/", "http://[::1]:99999", "http://h:-1/?q"})
    begins(bad, "must have a port from 1 to 65535");
}
