#include "mail/send.hpp"
#include "mail/settings.hpp"

HATCH_PLUGIN_CONFIGURED("mail", "1.0.0", "Does mail leave, and if not, why?", nullptr, mail::profile_schema, mail::Send,
                        mail::Check)
