#include "common/tls.hpp"
#include "mail/reply.hpp"
#include "mail/send.hpp"
#include "mail/settings.hpp"

namespace {

void prepare() {
  common::prepare_tls();
  mail::prepare_replies();
}

}  // namespace

HATCH_PLUGIN_PREPARED("mail", "1.0.0", "Does mail leave, and if not, why?", nullptr, mail::profile_schema, prepare,
                      mail::Send, mail::Check)
