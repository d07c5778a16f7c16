#include "common/http.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "common/url.hpp"
#include "hatch/hatch.hpp"

namespace common {
namespace {

constexpr std::size_t max_body = std::size_t{1} << 20;

std::size_t take_body(char* bytes, std::size_t size, std::size_t count, void* into) {
  auto& response = *static_cast<HttpResponse*>(into);
  const std::size_t room = max_body - response.body.size();
  response.body.append(bytes, std::min(size * count, room));
  response.cut = response.cut || size * count > room;
  return size * count;  // the rest is read and forgotten: the app is not to see a broken connection
}

int watch(void* cancelled, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return (*static_cast<const std::function<bool()>*>(cancelled))() ? 1 : 0;
}

struct Freed {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

}  // namespace

HttpResponse send(const HttpRequest& request, std::chrono::milliseconds limit, const std::function<bool()>& cancelled) {
  const std::unique_ptr<CURL, Freed> curl{curl_easy_init()};
  if (!curl) throw std::runtime_error("libcurl could not be started");
  curl_slist* lines = nullptr;
  const auto add = [&](const std::string& line) { lines = curl_slist_append(lines, line.c_str()); };
  add("Expect:");  // no question before the body: it is small
  if (!request.type.empty()) add("Content-Type: " + request.type);
  for (const std::string& header : request.headers) add(header);
  const std::unique_ptr<curl_slist, Freed> headers{lines};

  HttpResponse response;
  char problem[CURL_ERROR_SIZE] = {};
  CURL* c = curl.get();
  curl_easy_setopt(c, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);  // a redirection is an answer, and leads where nobody configured
  curl_easy_setopt(c, CURLOPT_PROXY, "");           // whatever the environment says
  curl_easy_setopt(c, CURLOPT_USERAGENT, "hatchd");
  curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  if (request.method == "HEAD") curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
  if (!request.type.empty() || request.method == "POST") {
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, request.body.c_str());
  }
  curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(c, CURLOPT_ERRORBUFFER, problem);
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
  curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, static_cast<long>(limit.count()));
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, &response);
  curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, watch);
  curl_easy_setopt(c, CURLOPT_XFERINFODATA, &cancelled);
  const CURLcode done = curl_easy_perform(c);
  if (done == CURLE_ABORTED_BY_CALLBACK) throw hatch::Cancelled{};
  if (done != CURLE_OK)
    throw hatch::Failure(request.method + " " + shown_url(request.url) + ": " +
                         (*problem ? problem : curl_easy_strerror(done)));
  curl_off_t total_us = 0;
  const char* type = nullptr;
  curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &response.status);
  curl_easy_getinfo(c, CURLINFO_TOTAL_TIME_T, &total_us);
  curl_easy_getinfo(c, CURLINFO_CONTENT_TYPE, &type);
  response.ms = static_cast<double>(total_us) / 1000.0;
  response.type = type ? type : "";
  return response;
}

}  // namespace common
