# SPDX-License-Identifier: MIT
"""Which hatches there are: a function's signature is its parameters, its docstring the documentation."""
import collections
import collections.abc
import enum
import inspect
import json
import logging
import re
import threading
import typing

from .problem import Problem
from .values import clean, safe_repr

try:
    import annotationlib  # Python 3.14 and later: annotations are evaluated when they are looked at (PEP 649)
except ImportError:
    annotationlib = None

log = logging.getLogger("hatchkit")

EFFECTS = ("observe", "act", "disrupt")
ROLES = ("viewer", "operator", "admin")
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
MAX_HATCHES = 256
DEFAULT_TIMEOUT = 30.0
UNDOCUMENTED = "%s: the function has no docstring, which would say here what it does."

# A parameter that is masked wherever it is stored, logged or sent.
Secret = typing.NewType("Secret", str)

_hatches = collections.OrderedDict()
_lock = threading.Lock()
_missing = object()


def hatch(function=None, *, name=None, effect="act", timeout=DEFAULT_TIMEOUT, mark=None, role=None, title=None):
    """Makes a function a hatch, and opens the socket of this process.

    effect   "observe" looks; "act" leaves traces; "disrupt" may slow, stop or lay open the app
    timeout  seconds until the caller is told that it has not ended
    mark     the string parameter to which hatchd adds a unique mark that it then looks for in the log
    role     the least role in hatchd that may run it, where the effect's own is too low: "operator", "admin"

    The function itself is returned unchanged. A hatch that cannot be described is logged and left out: a maintenance
    door is no reason for an app not to start.
    """

    def make(function):
        try:
            _add(Hatch(function, name, effect, timeout, mark, role, title))
            from . import server

            server.start()
        except Exception as error:
            log.warning("hatch %s is left out: %s", getattr(function, "__name__", function), error)
        return function

    return make if function is None else make(function)


def hatches():
    """All hatches by name."""
    with _lock:
        return collections.OrderedDict(_hatches)


def reset_lock():
    """In the child of a fork, where another thread may have held it."""
    global _lock
    _lock = threading.Lock()


def _add(entry):
    with _lock:
        if entry.name not in _hatches and len(_hatches) >= MAX_HATCHES:
            raise ValueError("there are %d hatches already" % MAX_HATCHES)
        _hatches[entry.name] = entry  # the last one counts, as with functions


class Hatch:
    def __init__(self, function, name, effect, timeout, mark, role, title):
        if not callable(function):
            raise TypeError("it is not a function")
        if inspect.iscoroutinefunction(function):
            raise TypeError("it is a coroutine; call it through asyncio.run() or run_coroutine_threadsafe()")
        self.name = name or getattr(function, "__name__", "").strip("_").lower().replace("_", "-")
        if not NAME.fullmatch(self.name) or len(self.name) > 60:
            raise ValueError("%s is no name for a hatch (lower case, digits, '-')" % safe_repr(self.name, 80))
        if effect not in EFFECTS:
            raise ValueError("effect must be one of %s" % ", ".join(EFFECTS))
        if role is not None and role not in ROLES:
            raise ValueError("role must be one of %s" % ", ".join(ROLES))
        self.function, self.effect, self.mark, self.role = function, effect, mark, role
        self.timeout = min(max(float(timeout), 0.1), 3600.0)
        text = inspect.cleandoc(function.__doc__ or "")
        helps, self.documentation = _split_help(text)
        first, _, rest = self.documentation.partition("\n")
        self.title = clean(title or first.strip().rstrip(".") or self.name.replace("-", " ").capitalize(), 200)
        self.parameters = _parameters(function, helps)
        if mark is not None and not any(p.name == mark and p.schema.get("type") == "string" for p in self.parameters):
            raise ValueError("mark names no string parameter: %s" % mark)

    def describe(self):
        """As GET /hatches shows it."""
        properties = {}
        for parameter in self.parameters:
            properties[parameter.name] = parameter.schema
        schema = {"type": "object", "properties": properties, "additionalProperties": False}
        required = [p.name for p in self.parameters if p.required]
        if required:
            schema["required"] = required
        entry = {
            "name": self.name,
            "title": self.title,
            "documentation": clean(self.documentation or UNDOCUMENTED % self.title, 20000),
            "effect": self.effect,
            "parameters": schema,
            "timeout_ms": int(self.timeout * 1000),
        }
        if self.mark:
            entry["mark"] = self.mark
        if self.role:
            entry["role"] = self.role
        return entry

    def arguments(self, params):
        """Keyword arguments of the call; Problem params-invalid with every failure."""
        errors, arguments = [], {}
        known = {p.name: p for p in self.parameters}
        for name in params:
            if name not in known:
                errors.append({"pointer": "/" + clean(name, 100), "detail": "unknown; there are: " + ", ".join(known)})
        for parameter in self.parameters:
            if parameter.name not in params:
                if parameter.required:
                    errors.append({"pointer": "/" + parameter.name, "detail": "is required"})
                continue
            try:
                arguments[parameter.name] = parameter.kind.read(params[parameter.name])
            except ValueError as error:
                errors.append({"pointer": "/" + parameter.name, "detail": clean(str(error), 300)})
        if errors:
            raise Problem("params-invalid", "%s: %s" % (errors[0]["pointer"], errors[0]["detail"]), errors=errors)
        return arguments


class Parameter:
    def __init__(self, name, kind, default, help_text):
        self.name, self.kind = name, kind
        self.schema = dict(kind.schema)
        if help_text:
            self.schema["description"] = clean(help_text, 1000)
        self.required = default is _missing
        if not self.required and default is not None:
            default = default.value if isinstance(default, enum.Enum) else default
            try:
                kind.read(default)
                json.dumps(default, allow_nan=False)
                self.schema["default"] = default
            except (TypeError, ValueError):
                pass  # the function knows its default; it just cannot be shown


# ---- types ----------------------------------------------------------------------------------------------------------


class Kind:
    """The JSON Schema of a type, and how its JSON becomes the argument."""

    def __init__(self, schema, read):
        self.schema, self.read = schema, read


def _of_type(name, types, schema_type):
    def read(value):
        if isinstance(value, bool) and bool not in types or not isinstance(value, types):
            raise ValueError("must be %s" % name)
        return value

    return Kind({"type": schema_type}, read)


def _float(value):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("must be a number")
    return float(value)


def _int(value):
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be an integer")
    return value


SIMPLE = {
    str: _of_type("a string", (str,), "string"),
    bool: _of_type("true or false", (bool,), "boolean"),
    int: Kind({"type": "integer"}, _int),
    float: Kind({"type": "number"}, _float),
    dict: _of_type("an object", (dict,), "object"),
    list: _of_type("a list", (list,), "array"),
}


def _kind(annotation):
    if annotation is Secret:
        return Kind({"type": "string", "secret": True}, SIMPLE[str].read)
    if annotation in (inspect.Parameter.empty, typing.Any) or isinstance(annotation, typing.ForwardRef):
        return SIMPLE[str]
    try:
        if annotation in SIMPLE:
            return SIMPLE[annotation]
    except TypeError:
        pass  # not hashable
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _choice([member.value for member in annotation], annotation)
    if origin is typing.Literal:
        return _choice(list(arguments), lambda value: value)
    if origin in (list, collections.abc.Sequence):
        item = _kind(arguments[0]) if arguments and not isinstance(arguments[0], typing.TypeVar) else None
        schema = {"type": "array"}
        if item:
            schema["items"] = item.schema

        def read_list(value):
            if not isinstance(value, list):
                raise ValueError("must be a list")
            return [item.read(element) for element in value] if item else value

        return Kind(schema, read_list)
    if origin in (dict, collections.abc.Mapping):
        return SIMPLE[dict]
    rest = [argument for argument in arguments if argument is not type(None)]
    if len(rest) == 1 and len(rest) < len(arguments):  # Optional[T], T | None
        return _kind(rest[0])
    raise TypeError("parameters may be str, bool, int, float, list, dict, Literal, Enum or Secret, not %s" % (annotation,))


def _choice(values, make):
    if not values or not (all(type(v) is str for v in values) or all(type(v) is int for v in values)):
        raise TypeError("choices must be all strings or all integers")

    def read(value):
        if isinstance(value, bool) or value not in values:
            raise ValueError("must be one of %s" % ", ".join(map(str, values)))
        return make(value)

    return Kind({"type": "string" if type(values[0]) is str else "integer", "enum": values}, read)


def _signature(function):
    """The signature, whatever becomes of its annotations: they may name what is not there at run time."""
    if annotationlib is None:
        return inspect.signature(function)
    try:
        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    except Exception:  # one that raises something of its own
        return inspect.signature(function, annotation_format=annotationlib.Format.STRING)


def _evaluated(annotation, function):
    """What is written as text, as get_type_hints() would read it, but each for itself; empty where it cannot be had."""
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, getattr(inspect.unwrap(function), "__globals__", {}))
        except Exception:
            return inspect.Parameter.empty
    return inspect.Parameter.empty if isinstance(annotation, (str, typing.ForwardRef)) else annotation


def _parameters(function, helps):
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # an annotation that names what is not there at run time
        hints = {}
    result = []
    for name, parameter in _signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError("parameter %s has no name to give it by" % name)
        default = _missing if parameter.default is parameter.empty else parameter.default
        annotation = hints[name] if name in hints else _evaluated(parameter.annotation, function)
        if annotation is inspect.Parameter.empty and type(default) in SIMPLE:
            annotation = type(default)
        result.append(Parameter(name, _kind(annotation), default, helps.get(name)))
    return result


# ---- docstrings -----------------------------------------------------------------------------------------------------

_SPHINX = re.compile(r":param\s+(?:[\w\[\], ]+\s+)?(\w+):\s*(.*)")
_SECTION = re.compile(r"(Args|Arguments|Parameters):\s*")
_ENTRY = re.compile(r"\s+(\w+)(?:\s*\([^)]*\))?:\s*(.*)")


def _split_help(text):
    """What the docstring says of each parameter (":param x:" or an "Args:" section), and the rest."""
    helps, kept, in_section, last = {}, [], False, None
    for line in text.splitlines():
        sphinx = _SPHINX.match(line)
        entry = _ENTRY.match(line) if in_section else None
        if sphinx:
            last = sphinx.group(1)
            helps[last] = sphinx.group(2)
        elif _SECTION.fullmatch(line):
            in_section, last = True, None
        elif entry:
            last = entry.group(1)
            helps[last] = entry.group(2)
        elif last and line.startswith(" ") and line.strip():
            helps[last] += " " + line.strip()
        else:
            in_section, last = in_section and not line.strip(), None
            kept.append(line)
    return helps, "\n".join(kept).strip()
