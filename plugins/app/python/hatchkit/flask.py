# SPDX-License-Identifier: MIT
"""`hatchkit.flask.open_hatches(app)` brings raise-error, dump-settings, log-level, threads, gc and tracemalloc, and
send-mail where Flask-Mail is set up."""
import flask

from .logging import log_level
from .masking import masked
from .problem import Problem
from .registry import hatch
from .runtime import gc, threads, tracemalloc
from .values import safe_repr

__all__ = ["gc", "log_level", "open_hatches", "threads", "tracemalloc"]
PATH = "/hatchkit/raise-error"


class HatchError(Exception):
    """Raised on purpose, to see that errors are reported."""


class _Door:
    """Around the view functions: our request is told by what stands in its WSGI environment, which no client can put
    there, so that the path stays the app's own for everybody else."""

    def __init__(self, app):
        self.app = app

    def raise_it(self):
        message = flask.request.environ.get("hatchkit.message")
        if message is not None:
            raise HatchError(message)


def open_hatches(app):
    """Call it once the app is made, before its first request. Returns the app."""
    door = _Door(app)
    app.before_request_funcs.setdefault(None, []).append(door.raise_it)  # last: the app's own come before

    @hatch(name="raise-error", effect="act", mark="msg")
    def raise_error(msg: str = "Something bad happened! (on purpose)"):
        """Raise an exception inside a request, to see that errors are reported

        The request goes through the app's whole WSGI stack, so that whatever reports errors (app.logger, Sentry) sees
        it as it sees any other.

        :param msg: text of the exception
        """
        import werkzeug.test

        environ = werkzeug.test.EnvironBuilder(path=PATH, method="GET").get_environ()
        environ["hatchkit.message"] = msg
        raised = None
        try:
            iterable, status, _ = werkzeug.test.run_wsgi_app(app.wsgi_app, environ, buffered=True)
            code = int(status.split(" ", 1)[0])
            if hasattr(iterable, "close"):
                iterable.close()
        except HatchError as error:  # TESTING, PROPAGATE_EXCEPTIONS: it is the server's to report
            raised, code = type(error).__name__, 500
        return {"status": code, "propagated": raised, "debug": bool(app.debug),
                "verdict": "The app answered %d to a request that raises." % code}  # fmt: skip

    @hatch(name="dump-settings", effect="observe", role="operator")
    def dump_settings(match: str = ""):
        """Show the configuration of the app as this process has it

        Secrets are masked by their names, and passwords in URLs.

        :param match: only names that contain this, upper or lower case
        """
        chosen = {k: masked(v, k) for k, v in sorted(app.config.items()) if match.lower() in str(k).lower()}
        return {"app": app.import_name, "settings": chosen}

    @hatch(name="send-mail", effect="act")
    def send_mail(to: str, subject: str = "A test from the maintenance hatch", msg: str = "Sent on purpose."):
        """Send a mail through the app's own mailer (Flask-Mail)

        :param to: whom to
        :param subject: its subject
        :param msg: its text
        """
        mailer = app.extensions.get("mail")
        if mailer is None:
            raise Problem("hatch-failed", "the app has no Flask-Mail")
        from flask_mail import Message

        with app.app_context():
            mailer.send(Message(subject, recipients=[to], body=msg))
        return {"to": [to], "mailer": safe_repr(mailer, 200), "verdict": "The mailer took the message."}

    return app
