"""openapi.yaml as a judge: whether a request keeps to it, what is wrong with a reply, and what was never seen.

A reply is judged by everything that the document says of it: that its status is documented where it was sent, each
header that is required and that there is none besides, the media type, the body, and that the error code is one that
this status may carry. The judge is asked by `test_openapi.py` for every request that it makes, by `test_fuzz.py` for
every reply, and by `test_openapi_tour.py` for both.

The other way round, `promises` lists all that the document says can come back (operations, statuses, headers, media
types, keys and values of bodies, links) and all that it shows (examples), and `facts` what a series of exchanges has
shown. A promise that no fact keeps is a sentence of the document that nobody has ever seen come true.
"""

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_OF_HTTP = {"content-type", "content-length", "connection", "date", "server", "transfer-encoding"}
"""Headers of the transport. Of all others a reply has those that the document gives it, and no more."""
_OF_CHANCE = {"charge_id", "token_id", "authorization_code", "confirmation_number"}
"""Keys of a reply whose values no example can foretell. All others it must quote."""


@dataclass(frozen=True, slots=True)
class Told:
    """A reply as it came."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its reply. `credential` is the security scheme by which the caller got in, or `none`."""

    method: str
    path: str
    credential: str
    media_type: str
    body: bytes
    told: Told


Places = dict[str, set[str]]
"""Where something can stand in JSON (`/parameters/status`), and the values that are named for it, as JSON."""


class Description:
    """openapi.yaml. `document` is the file's text, parsed."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        registry: Registry[Any] = Registry()
        self._registry = registry.with_resource(_BASE, DRAFT202012.create_resource(document))
        self.codes: Mapping[str, Mapping[str, Any]] = {entry["code"]: entry for entry in document["x-error-codes"]}
        self._templates = {_pattern(path): path for path in document["paths"]}
        self.validator = functools.cache(self._validator)
        self._places_by_reference: dict[str, Places] = {}

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
        asked, is_its_own = self._operation(template, method)
        if not is_its_own and status not in {404, 405, 429}:
            raise LookupError
        return self.find("paths", template, asked, "responses", str(status))

    def _operation(self, template: str, method: str) -> tuple[str, bool]:
        """Return the operation that says what a method gets on a path, and whether it is the method's own."""
        operations = [name for name in self.document["paths"][template] if name != "parameters"]
        asked = "get" if method == "HEAD" else method.lower()
        return (asked, True) if asked in operations else (operations[0], False)

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
        yield from (f"{name} is not documented here" for name in sorted(headers.keys() - _OF_HTTP - known))
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

    # --- Promises ----------------------------------------------------------------------------------------------------

    def promises(self) -> dict[str, set[str]]:
        """Return all that the document says is asked and answered: each by a name, with the facts that would keep it.

        One of them is enough: what is shown beside a reply that several operations share need come from one of them.
        """
        found: dict[str, set[str]] = {}
        for path, item in self.document["paths"].items():
            shared = item.get("parameters", [])
            for method, operation in item.items():
                if method == "parameters":
                    continue
                for name, fact in (
                    *self._promised_of_requests(f"{method.upper()} {path}", operation, shared),
                    *self._promised_of_replies(f"{method.upper()} {path}", path, method),
                ):
                    found.setdefault(name, set()).add(fact)
        return found

    def _promised_of_requests(
        self, label: str, operation: Mapping[str, Any], parameters: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[str, str]]:
        schemes = operation.get("security", self.document["security"])
        for scheme in [name for each in schemes for name in each] or ["none"]:
            yield (fact := f"{label} lets in by {scheme}"), fact
        for parameter in parameters:
            if "example" in parameter:
                yield (fact := f"{label} asked with {parameter['name']} {_canonical(parameter['example'])}"), fact
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            yield (fact := f"{label} reads {media_type}"), fact
            for name, value in self.examples(content):
                yield f"{label} request example {name}", f"{label} asked {_canonical(value)}"

    def _promised_of_replies(self, label: str, path: str, method: str) -> Iterator[tuple[str, str]]:
        for status in self.document["paths"][path][method]["responses"]:
            pointer, reply = self.find("paths", path, method, "responses", status)
            here = f"{label} {status}"
            yield here, here
            for header in reply.get("headers", {}):
                yield (fact := f"{here} {header.lower()}"), fact
            for name, link in reply.get("links", {}).items():
                with_ = _canonical([link["requestBody"], link.get("parameters", {})])
                yield f"{here} link {name}", f"{here} again: {link['operationId']} with {with_}"
            for media_type, content in reply["content"].items():
                yield (fact := f"{here} {media_type}"), fact
                for place, values in self._places(content.get("schema", {})).items():
                    yield (fact := f"{here} {place or '/'}"), fact
                    yield from ((fact, fact) for fact in (f"{here} {place}: {value}" for value in values))
                for name, value in self.examples(content):
                    yield f"{pointer} example {name}", f"{here} shows {_canonical(without_chance(value))}"

    def examples(self, content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield the examples beside a schema by name. A single one has no name of its own."""
        for name, example in content.get("examples", {}).items():
            yield name, (self.find(*example["$ref"].split("/")[1:])[1] if "$ref" in example else example)["value"]
        if "example" in content:
            yield "example", content["example"]

    def _places(self, schema: Mapping[str, Any]) -> Places:
        """Return what JSON of this schema can have, and which values the schema names."""
        reference = schema.get("$ref")
        if reference is not None:
            if reference not in self._places_by_reference:
                _, target = self.find(*map(_unescaped, reference.split("/")[1:]))
                self._places_by_reference[reference] = self._places(target)
            return dict(self._places_by_reference[reference])
        named = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else ())]
        found: Places = {"": set(map(_canonical, named))}
        for name, inner in (*schema.get("properties", {}).items(), ("*", schema.get("additionalProperties"))):
            if isinstance(inner, Mapping):
                found |= {f"/{name}{place}": values for place, values in self._places(inner).items()}
        for part in schema.get("allOf", ()):
            found = _both(found, self._places(part))
        for alternatives in (schema.get("oneOf", ()), schema.get("anyOf", ())):
            either: Places = {}
            for each in map(self._places, alternatives):
                either = {place: either.get(place, set()) | each.get(place, set()) for place in (*either, *each)}
            found = _both(found, either)
        for part in (schema, *schema.get("allOf", ())):
            found[""] = found[""] - {_canonical(value) for value in part.get("not", {}).get("enum", ())}
            names = part.get("propertyNames", {}).get("enum")
            if names is not None:
                found = {place: values for place, values in found.items() if not place or place.split("/")[1] in names}
        return found

    def facts(self, exchanges: Iterable[Exchange]) -> set[str]:
        """Return what these exchanges, in their order, have shown."""
        found: set[str] = set()
        known: dict[tuple[str, str, bytes], Told] = {}
        for exchange in exchanges:
            template = self.template(exchange.path)
            if template is not None:
                label = f"{self._operation(template, exchange.method)[0].upper()} {template}"
                found.update(self._shown(label, template, exchange, known.get((label, exchange.path, exchange.body))))
                known[label, exchange.path, exchange.body] = exchange.told
        return found

    def _shown(self, label: str, template: str, exchange: Exchange, before: Told | None) -> Iterator[str]:
        told = exchange.told
        here = f"{label} {told.status}"
        yield here
        yield from (f"{here} {name.lower()}" for name, _ in told.headers)
        yield from (f"{here} {value}" for name, value in told.headers if name.lower() == "content-type")
        asked, body = _json_of(exchange.body), _json_of(told.body)
        if told.status in {200, 402}:
            yield f"{label} lets in by {exchange.credential}"
            yield f"{label} reads {exchange.media_type}"
            yield f"{label} asked {_canonical(asked)}"
        if "{secret}" in template:
            yield f"{label} asked with secret {_canonical(exchange.path.rpartition('/')[2])}"
        if before is not None and (before.status, before.body) == (told.status, told.body):
            operation = self.document["paths"][template].get(exchange.method.lower(), {})
            same = ["$request.body", {"secret": "$request.path.secret"} if "{secret}" in template else {}]
            yield f"{here} again: {operation.get('operationId')} with {_canonical(same)}"
        yield f"{here} shows {_canonical(without_chance(body))}"
        for place, value in _everything_in(body):
            yield f"{here} {place or '/'}"
            yield f"{here} {place}: {value}"


def _both(one: Places, other: Places) -> Places:
    """What fits two schemas. One that names no values leaves them to the other."""
    return {
        place: (one[place] & other[place] or one[place] | other[place])
        if place in one and place in other
        else one.get(place, set()) | other.get(place, set())
        for place in (*one, *other)
    }


def _everything_in(value: Any, place: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 - JSON
    """Yield each place of a JSON document with its value. `*` stands for any key of an object."""
    yield place, _canonical(value)
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _everything_in(inner, f"{place}/{name}")
            yield from _everything_in(inner, f"{place}/*")


def without_chance(value: Any) -> Any:  # noqa: ANN401 - JSON
    """A reply with what differs from one to the next reduced to whether it is there."""
    if not isinstance(value, Mapping):
        return value
    return {name: inner is not None if name in _OF_CHANCE else without_chance(inner) for name, inner in value.items()}


def _canonical(value: Any) -> str:  # noqa: ANN401 - JSON
    return json.dumps(value, sort_keys=True)


def _json_of(body: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(body)
    except ValueError:
        return None


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
