#!/usr/bin/python3
"""Checks that docs/openapi.yaml is sound in itself. Needs python3-yaml and python3-jsonschema (Debian).

    tools/check_openapi.py [FILE]
    tools/check_openapi.py --self-test   break a copy in every way it knows and see each one caught

Each problem is one line that names the place; exit 1 if there is any.
"""

import copy
import os
import re
import sys

import jsonschema
import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULT = os.path.join(HERE, "..", "docs", "openapi.yaml")
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
FORMATS = jsonschema.FormatChecker()


class StrictLoader(yaml.SafeLoader):
    """A key written twice is a mistake, not a choice."""


def _mapping(loader, node):
    keys = [loader.construct_object(k) for k, _ in node.value if k.tag != "tag:yaml.org,2002:merge"]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.YAMLError("key %r twice, line %d" % (key, node.start_mark.line + 1))
    loader.flatten_mapping(node)
    return {loader.construct_object(k, deep=True): loader.construct_object(v, deep=True)
            for k, v in node.value}


StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


class Checker:
    def __init__(self, document):
        self.document = document
        self.problems = []
        self.used = set()

    def problem(self, where, text):
        line = "%s: %s" % (where, text)
        if line not in self.problems:
            self.problems.append(line)

    def lookup(self, ref):
        node = self.document
        if not ref.startswith("#/"):
            raise KeyError(ref)
        for part in ref[2:].split("/"):
            node = node[part.replace("~1", "/").replace("~0", "~")]
        return node

    def resolve(self, node, where):
        """Follows $ref; None (and a problem) when it leads nowhere."""
        seen = set()
        while isinstance(node, dict) and "$ref" in node:
            ref = node["$ref"]
            if ref in seen:
                self.problem(where, "$ref in a circle: %s" % ref)
                return None
            seen.add(ref)
            self.used.add(ref)
            try:
                node = self.lookup(ref)
            except (KeyError, TypeError, AttributeError):
                self.problem(where, "$ref does not resolve: %s" % ref)
                return None
        return node

    def inline(self, node, where, depth=0):
        """A schema without $ref, as JSON Schema draft 4 understands it."""
        if depth > 50:
            self.problem(where, "schema nests without end")
            return {}
        if isinstance(node, list):
            return [self.inline(n, where, depth + 1) for n in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return self.inline(self.resolve(node, where) or {}, where, depth + 1)
        out = {k: self.inline(v, where, depth + 1) for k, v in node.items()}
        if out.pop("nullable", False) is True and isinstance(out.get("type"), str):
            out["type"] = [out["type"], "null"]
        return out

    def schema(self, node, where):
        schema = self.inline(node, where)
        try:
            jsonschema.Draft4Validator.check_schema(schema)
        except jsonschema.SchemaError as error:
            self.problem(where, "not a valid schema: %s" % error.message)
            return None
        self.usable(schema, where)
        return schema

    def usable(self, schema, where):
        """What JSON Schema allows, and readers or code generators come to grief over."""
        if not isinstance(schema, dict):
            return
        if schema.get("type") == "boolean" and "enum" in schema:
            self.problem(where, "boolean with an enum: some generators make code of it that does not compile")
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            self.problem(where, "object without additionalProperties: false")
        properties = schema.get("properties", {})
        for name in schema.get("required", []):
            if name not in properties:
                self.problem(where, "required member '%s' is not among the properties" % name)
        for name, child in properties.items():
            self.usable(child, "%s/%s" % (where, name))
        self.usable(schema.get("items"), where + "/items")

    def example(self, value, schema, where):
        if schema is None:
            return
        validator = jsonschema.Draft4Validator(schema, format_checker=FORMATS)
        for error in validator.iter_errors(value):
            self.problem(where, "example does not fit its schema: %s" % error.message)

    def holder(self, node, where):
        """Whatever carries a schema with its examples: media type, parameter, header."""
        if "schema" not in node:
            self.problem(where, "no schema")
            return
        schema = self.schema(node["schema"], where + "/schema")
        if "example" in node:
            self.example(node["example"], schema, where + "/example")
        for name, item in node.get("examples", {}).items():
            at = "%s/examples/%s" % (where, name)
            item = self.resolve(item, at)
            if item is not None and "value" not in item:
                self.problem(at, "no value")
            elif item is not None:
                self.example(item["value"], schema, at)

    def content(self, node, where, status=None):
        for media, item in node.items():
            at = "%s/%s" % (where, media)
            self.holder(item, at)
            if status is not None and "example" not in item and "examples" not in item:
                self.problem(at, "no example")
            if media == "application/problem+json":
                self.problem_status(item, status, at)

    def problem_status(self, item, status, where):
        for name, ref in item.get("examples", {}).items():
            value = (self.resolve(ref, where) or {}).get("value", {})
            if status is not None and str(value.get("status")) != status:
                self.problem("%s/examples/%s" % (where, name), "status in the body is not %s" % status)

    def response(self, status, node, where):
        node = self.resolve(node, where)
        if node is None:
            return
        if not re.match(r"^([1-5]\d\d|default)$", status):
            self.problem(where, "not a status")
        if not node.get("description"):
            self.problem(where, "no description")
        headers = node.get("headers", {})
        for name, header in headers.items():
            header = self.resolve(header, "%s/%s" % (where, name))
            if header is not None:
                self.holder(header, "%s/%s" % (where, name))
        self.content(node.get("content", {}), where, status)
        if status in ("423", "429", "503") and "Retry-After" not in headers:
            self.problem(where, "no Retry-After")
        if "x-trace-id" not in headers:
            self.problem(where, "no x-trace-id")

    def parameters(self, nodes, path, where):
        named = set()
        for i, node in enumerate(nodes):
            at = "%s/parameters/%d" % (where, i)
            node = self.resolve(node, at)
            if node is None:
                continue
            self.holder(node, at)
            if node["in"] == "path":
                named.add(node["name"])
                if node.get("required") is not True:
                    self.problem(at, "a path parameter is required")
        if named != set(re.findall(r"\{(\w+)\}", path)):
            self.problem(where, "path parameters are not those of the path")

    def security(self, requirements, where):
        known = self.document.get("components", {}).get("securitySchemes", {})
        for requirement in requirements:
            for name in requirement:
                self.used.add("#/components/securitySchemes/" + name)
                if name not in known:
                    self.problem(where, "no security scheme '%s'" % name)

    def operation(self, path, method, node):
        where = "%s %s" % (method.upper(), path)
        if "operationId" not in node:
            self.problem(where, "no operationId")
        if not node.get("responses"):
            self.problem(where, "no responses")
        if "security" not in node:
            self.problem(where, "security is not stated")
        self.security(node.get("security", []), where)
        self.parameters(node.get("parameters", []), path, where)
        if "requestBody" in node:
            self.content(node["requestBody"].get("content", {}), where + " body")
        for status, response in (node.get("responses") or {}).items():
            if not isinstance(status, str):
                self.problem(where, "status %s is not quoted" % status)
            self.response(str(status), response, "%s %s" % (where, status))

    def references(self, node, where):
        if isinstance(node, list):
            for i, child in enumerate(node):
                self.references(child, "%s/%d" % (where, i))
        elif isinstance(node, dict):
            if "$ref" in node:
                self.resolve(node, where)
                if len(node) > 1:
                    self.problem(where, "members beside $ref are ignored by readers")
            for key, child in node.items():
                self.references(child, "%s/%s" % (where, key))

    def run(self):
        document = self.document
        if not re.match(r"^3\.0\.\d+$", str(document.get("openapi"))):
            self.problem("openapi", "not 3.0")
        for key in ("title", "version"):
            if not document.get("info", {}).get(key):
                self.problem("info", "no %s" % key)
        self.references(document, "#")
        seen = {}
        for path, item in document.get("paths", {}).items():
            methods = [m for m in item if m in METHODS]
            if not methods:
                self.problem(path, "no operation")
            for method in methods:
                self.operation(path, method, item[method])
                name = item[method].get("operationId")
                if name in seen:
                    self.problem(path, "operationId %s is that of %s" % (name, seen[name]))
                seen[name] = path
        for name, node in document.get("components", {}).get("schemas", {}).items():
            self.schema(node, "#/components/schemas/" + name)
        for kind, items in document.get("components", {}).items():
            for name in items:
                if "#/components/%s/%s" % (kind, name) not in self.used:
                    self.problem("#/components/%s/%s" % (kind, name), "used nowhere")
        return self.problems


def breakages():
    """(name, how to break the document, part of the problem it must cause)"""
    def login(d):
        return d["paths"]["/api/auth/login"]["post"]

    def schemas(d):
        return d["components"]["schemas"]

    return [
        ("dangling", lambda d: login(d)["responses"]["429"].update({"$ref": "#/components/responses/None"}), "does not resolve"),
        ("dangling example", lambda d: d["components"]["examples"].pop("rate_limited"), "does not resolve"),
        ("bad schema", lambda d: schemas(d)["Ok"].update(type="thing"), "not a valid schema"),
        ("bad example", lambda d: d["components"]["examples"]["rate_limited"]["value"].pop("error"), "does not fit"),
        ("extra member", lambda d: d["components"]["examples"]["rate_limited"]["value"].update(x=1), "does not fit"),
        ("bad request example", lambda d: login(d)["requestBody"]["content"]["application/json"]["examples"]["cookie"]["value"].update(delivery="post"), "does not fit"),
        ("bad header example", lambda d: d["components"]["headers"]["RetryAfter"].update(example=0), "does not fit"),
        ("wrong status", lambda d: d["components"]["examples"]["rate_limited"]["value"].update(status=428), "status in the body"),
        ("same id", lambda d: login(d).update(operationId="register"), "operationId register"),
        ("no id", lambda d: login(d).pop("operationId"), "no operationId"),
        ("no responses", lambda d: login(d).update(responses={}), "no responses"),
        ("no operation", lambda d: d["paths"].update({"/x": {}}), "no operation"),
        ("open object", lambda d: schemas(d)["Ok"].pop("additionalProperties"), "additionalProperties"),
        ("boolean enum", lambda d: schemas(d)["Ok"]["properties"]["ok"].update(enum=[True]), "boolean with an enum"),
        ("required", lambda d: schemas(d)["Ok"].update(required=["okay"]), "not among the properties"),
        ("no retry", lambda d: d["components"]["responses"]["RateLimited"]["headers"].pop("Retry-After"), "no Retry-After"),
        ("no trace", lambda d: d["components"]["responses"]["RateLimited"]["headers"].pop("x-trace-id"), "no x-trace-id"),
        ("scheme", lambda d: login(d).update(security=[{"magic": []}]), "no security scheme"),
        ("unstated", lambda d: login(d).pop("security"), "security is not stated"),
        ("unused", lambda d: schemas(d).update(Spare={"type": "string"}), "used nowhere"),
        ("path parameter", lambda d: d["paths"].update({"/y/{id}": {"get": login(d)}}), "not those of the path"),
        ("circle", lambda d: schemas(d).update(Ok={"$ref": "#/components/schemas/Ok"}), "in a circle"),
    ]


def self_test(document):
    failed = 0
    for name, spoil, expected in breakages():
        broken = copy.deepcopy(document)
        spoil(broken)
        problems = Checker(broken).run()
        if not any(expected in p for p in problems):
            failed += 1
            print("self-test: '%s' was not caught; got %s" % (name, problems))
    try:
        yaml.load("a: 1\na: 2\n", StrictLoader)
        failed += 1
        print("self-test: a key written twice was not caught")
    except yaml.YAMLError:
        pass
    if not failed:
        print("openapi: self-test caught %d breakages" % (len(breakages()) + 1))
    return 1 if failed else 0


def main(arguments):
    testing = arguments[:1] == ["--self-test"]
    path = arguments[0] if arguments and not testing else DEFAULT
    try:
        with open(path, encoding="utf-8") as f:
            document = yaml.load(f, StrictLoader)
    except (OSError, yaml.YAMLError) as error:
        print("%s: %s" % (path, error))
        return 1
    problems = Checker(document).run()
    for problem in problems:
        print(problem)
    if problems:
        print("openapi: %d problems" % len(problems))
        return 1
    if testing:
        return self_test(document)
    operations = sum(m in METHODS for item in document["paths"].values() for m in item)
    print("openapi: %d operations, no problems" % operations)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
