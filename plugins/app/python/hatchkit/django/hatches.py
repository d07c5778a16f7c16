# SPDX-License-Identifier: MIT
"""The hatches of a Django project."""
import io
import sys

from django.conf import settings
from django.core import mail
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest

from ..masking import masked
from ..problem import Problem
from ..registry import hatch
from ..values import clean

_handler = None


class HatchError(Exception):
    """Raised on purpose, to see that errors are reported."""


class HatchRequest(WSGIRequest):
    urlconf = "hatchkit.django.urls"  # instead of ROOT_URLCONF: BaseHandler.resolve_request()


def _host():
    """A host that ALLOWED_HOSTS lets in: the request must get as far as the view."""
    for host in settings.ALLOWED_HOSTS:
        if host not in ("*", "") and not host.startswith("."):
            return host
        if host.startswith("."):
            return host[1:]
    return "localhost"


@hatch(name="raise-error", effect="act", mark="msg")
def raise_error(msg: str = "Something bad happened! (on purpose)"):
    """Raise an exception inside a request, to see that errors are reported

    The request goes through the project's own handler with all of its middleware, so that whatever reports errors (the
    log django.request, mails to ADMINS, Sentry) sees it as it sees any other. Nobody's browser is involved.

    :param msg: text of the exception
    """
    global _handler
    if _handler is None:
        handler = WSGIHandler()
        handler.request_class = HatchRequest
        _handler = handler
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/hatchkit/raise-error",
        "QUERY_STRING": "",
        "SERVER_NAME": _host(),
        "SERVER_PORT": "443",
        "HTTP_HOST": _host(),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_USER_AGENT": "hatchkit",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "hatchkit.message": msg,
    }
    answered = []

    def start_response(status, headers, exc_info=None):
        answered.append(status)

    raised = None
    try:
        response = _handler(environ, start_response)
        try:
            for _ in response:
                pass
        finally:
            response.close()
    except HatchError as error:  # DEBUG_PROPAGATE_EXCEPTIONS: it is the server's to report
        raised = type(error).__name__
    status = int(answered[0].split(" ", 1)[0]) if answered else 500
    verdict = "The project answered %d to a request that raises." % status
    if status != 500:
        verdict += " A middleware answered before the view was reached, or made another answer of the error."
    return {"status": status, "verdict": verdict, "propagated": raised, "host": _host(), "debug": settings.DEBUG}


@hatch(name="send-mail", effect="act")
def send_mail(to: str = "", subject: str = "A test from the maintenance hatch", msg: str = "This mail was sent on purpose."):
    """Send a mail through the project's own mailer

    Uses EMAIL_BACKEND and what belongs to it, so it fails as the project's mails fail.

    :param to: whom to; without it the ADMINS
    :param subject: its subject
    :param msg: its text
    """
    recipients = [to] if to else [address for _, address in settings.ADMINS]
    if not recipients:
        raise Problem("params-invalid", "name a recipient: the project has no ADMINS",
                      errors=[{"pointer": "/to", "detail": "is required: ADMINS is empty"}])  # fmt: skip
    connection = mail.get_connection()
    sent = mail.EmailMessage(subject, msg, None, recipients, connection=connection).send()
    return {
        "sent": sent,
        "backend": settings.EMAIL_BACKEND,
        "host": "%s:%s" % (settings.EMAIL_HOST, settings.EMAIL_PORT),
        "from": settings.DEFAULT_FROM_EMAIL,
        "to": recipients,
        "verdict": "The mailer took %d message(s); what became of them the mail server knows." % (sent or 0),
    }


@hatch(name="dump-settings", effect="observe", role="operator")
def dump_settings(match: str = "", defaults: bool = False):
    """Show the settings of the project as this process has them

    Secrets are masked by their names, and passwords in URLs.

    :param match: only names that contain this, upper or lower case
    :param defaults: also those that the project leaves at Django's defaults
    """
    chosen = {}
    for name in sorted(dir(settings)):
        if not name.isupper() or match.lower() not in name.lower():
            continue
        if not defaults and not settings.is_overridden(name):
            continue
        try:
            chosen[name] = masked(getattr(settings, name), name)
        except Exception as error:  # a setting that raises when it is read
            chosen[name] = clean("<%s: %s>" % (type(error).__name__, error), 300)
    return {"module": settings.SETTINGS_MODULE if hasattr(settings, "SETTINGS_MODULE") else None, "settings": chosen}
