"""openapi.yaml as a judge: whether a request keeps to it, and what is wrong with a reply.

A reply is judged by everything that the document says of it: that its status is documented where it was sent, each
header that is required and that none stands there which only other replies have, the media type, the body, and that
the error code is one that this status may carry. The judge is asked by `test_openapi.py` for every request that it
makes, and by `test_fuzz.py` for every reply.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types
from referencing import Registry
from referencing.jsonschema import DRAFT202012

OPENAPI_YAML = Path(__file__).parents[1] / "openapi.yaml"
_BASE = "urn:openapi"
_JSON = "application/json"
_TELLING = {"www-authenticate", "allow", "retry-after", "location"}
"""Headers that tell the caller what to do. A reply has those that the document gives it, and no other of these."""


@dataclass(frozen=True, slots=True)
class Told:
    """A reply as it came."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


class Description:
    """openapi.yaml. `document` is the file's text, parsed."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        registry: Registry[Any] = Registry()
        self._registry = registry.with_resource(_BASE, DRAFT202012.create_resource(document))
        self.codes: Mapping[str, Mapping[str, Any]] = {entry["code"]: entry for entry in document["x-error-codes"]}
        self._templates = {_pattern(path): path for path in document["paths"]}
        self.validator = functools.cache(self._validator)

    @classmethod
    def read(cls) -> "Description":
        """Read the file of the checkout."""
        return cls(yaml.safe_load(OPENAPI_YAML.read_text()))

    def _validator(self, pointer: str) -> Draft202012Validator:
        return Draft202012Validator({"$ref": f"{_BASE}#{pointer}"}, registry=self._registry)

    def find(self, *names: str) -> tuple[str, Any]:
        """Return what stands at a path of names, with references followed: its JSON pointer and itself.

        Raises `LookupError`.
        """
        pointer = ""
        value: Any = self.document
        for name in (*names, None):
            if isinstance(value, Mapping) and "$ref" in value:
                pointer = str(value["$ref"]).removeprefix("#")
                _, value = self.find(*map(_unescaped, pointer.split("/")[1:]))
            if name is not None:
                pointer, value = f"{pointer}/{_escaped(name)}", value[name]
        return pointer, value

    def template(self, path: str) -> str | None:
        """Return the documented path that a path is one of."""
        return next((path_ for pattern, path_ in self._templates.items() if pattern.fullmatch(path)), None)

    # --- Requests ----------------------------------------------------------------------------------------------------

    def accepts(self, path: str, dialect: str, body: bytes) -> bool:
        """Whether a body keeps to the schema that an instance of this dialect has on this path."""
        try:
            value = json.loads(body.decode(), parse_int=_number, parse_float=_number)
        except (ValueError, RecursionError):
            return False
        return bool(self.request_validator(path, dialect).is_valid(value))

    def request_validator(self, path: str, dialect: str) -> Draft202012Validator:
        """Return the schema of requests. Where any dialect is documented, it is narrowed as `x-dialects` says."""
        template = self.template(path)
        if template is None:
            raise LookupError("the path is not documented")
        pointer, _ = self.find("paths", template, "post", "requestBody", "content", _JSON, "schema")
        if pointer == "/components/schemas/AnyRequest":
            pointer = self.document["x-dialects"][dialect].removeprefix("#")
        return self.validator(pointer)

    # --- Replies -----------------------------------------------------------------------------------------------------

    def faults(self, method: str, path: str, told: Told) -> list[str]:
        """Return all that is wrong with a reply to this request."""
        try:
            pointer, documented = self._response(method, path, told.status)
        except LookupError:
            return [f"{told.status} is not documented for {method} {self.template(path)}"]
        body = [] if method == "HEAD" else self._faults_of_body(pointer, documented, told)
        return [*self._faults_of_headers(documented, told), *body]

    def _response(self, method: str, path: str, status: int) -> tuple[str, Any]:
        """A method that a path does not have is answered as its operations say: 405, or 404 for an unknown secret."""
        template = self.template(path)
        if template is None:
            if status != 404:
                raise LookupError
            return self.find("components", "responses", "NotFound")
        item = self.document["paths"][template]
        asked = "get" if method == "HEAD" else method.lower()
        if asked not in item or asked == "parameters":
            if status not in {404, 405, 429}:
                raise LookupError
            asked = next(name for name in item if name != "parameters")
        return self.find("paths", template, asked, "responses", str(status))

    def _faults_of_headers(self, documented: Mapping[str, Any], told: Told) -> Iterator[str]:
        headers: dict[str, list[str]] = {}
        for name, value in told.headers:
            headers.setdefault(name.lower(), []).append(value)
        for name, header in documented["headers"].items():
            pointer = f"{header['$ref'].removeprefix('#')}/schema"
            match headers.get(name.lower(), []):
                case [value]:
                    yield from (f"{name}: {error.message}" for error in self.validator(pointer).iter_errors(value))
                case values:
                    yield f"{len(values)} headers {name}"
        known = {name.lower() for name in documented["headers"]}
        yield from (f"{name} is not documented here" for name in headers.keys() & _TELLING - known)
        match headers.get("content-type", []):
            case [value] if value.partition(";")[0] in documented["content"]:
                pass
            case values:
                yield f"the content types are {values}"

    def _faults_of_body(self, pointer: str, documented: Mapping[str, Any], told: Told) -> Iterator[str]:
        if "schema" not in documented["content"].get(_JSON, {}):
            return
        try:
            value = json.loads(told.body.decode(), object_pairs_hook=_object, parse_constant=_refuse)
        except ValueError as error:
            yield f"the body is no JSON: {error}"
            return
        validator = self.validator(f"{pointer}/content/{_escaped(_JSON)}/schema")
        yield from (f"{error.json_path}: {error.message}" for error in validator.iter_errors(value))
        code = value.get("error_code") if isinstance(value, dict) else None
        if code is not None:
            status = self.codes[code]["status"] if code in self.codes else None
            if told.status != status and not (told.status == 402 and status == 200):
                yield f"{code} is a {status}, and came with {told.status}"


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(path)), re.DOTALL)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _unescaped(name: str) -> str:
    return name.replace("~1", "/").replace("~0", "~")


def _number(text: str) -> Decimal:
    """JSON's numbers have no bounds, and Python's do. Where even `Decimal` ends, the sign of the exponent is lost."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal(text.lower().partition("e")[0])


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse(_text: str) -> NoReturn:
    raise ValueError("NaN and infinity are no JSON")
