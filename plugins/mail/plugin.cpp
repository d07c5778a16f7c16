#include "common/tls.hpp"
#include "mail/send.hpp"
#include "mail/settings.hpp"

HATCH_PLUGIN_PREPARED("mail", "1.0.0", "Does mail leave, and if not, why?", nullptr, mail::profile_schema,
                      common::prepare_tls, mail::Send, mail::Check)
