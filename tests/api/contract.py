"""The OpenAPI document as a judge: is this answer one that the contract promises?"""

import re
from functools import cache
from typing import Any

import jsonschema_rs
from httpx import Response

METHODS = ("get", "post", "put", "patch", "delete")


class Contract:
    """One OpenAPI document, its operations by method and path."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.operations = {
            (method.upper(), path): operation
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
            if method in METHODS
        }
        self._patterns = [
            (method, re.compile(re.sub(r"{\w+}", "[^/]+", path)), operation)
            for (method, path), operation in self.operations.items()
        ]
        self._validators: dict[str, jsonschema_rs.Validator] = {}

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """The operation that answers this request; literal paths win over parameters."""
        found = [
            operation for m, pattern, operation in self._patterns if m == method and pattern.fullmatch(path)
        ]
        return min(found, key=lambda operation: len(operation.get("parameters", ()))) if found else None

    def faults(self, response: Response) -> list[str]:
        """What is wrong with an answer; nothing for routes outside the contract."""
        operation = self.operation(response.request.method, response.request.url.path)
        if operation is None:
            return []
        where = f"{operation['operationId']} {response.status_code}"
        answer = operation["responses"].get(str(response.status_code))
        if answer is None:
            return [f"{where}: status is not declared"]
        if "content" not in answer:
            return []
        media_type = response.headers.get("content-type", "").partition(";")[0]
        if media_type not in answer["content"]:
            return [f"{where}: {media_type!r} is not among {sorted(answer['content'])}"]
        if media_type not in ("application/json", "application/problem+json"):
            return []
        errors = self._validator(answer["content"][media_type]["schema"]).iter_errors(response.json())
        return [f"{where}: {'/'.join(map(str, e.instance_path))}: {e.message}" for e in errors]

    def _validator(self, schema: dict[str, Any]) -> jsonschema_rs.Validator:
        key = repr(schema)
        if key not in self._validators:
            whole = {**schema, "components": self.document["components"]}
            self._validators[key] = jsonschema_rs.validator_for(whole)
        return self._validators[key]


@cache
def contract() -> Contract:
    """The contract of the application as it is."""
    from api.app import create_app
    from voice.config import Settings
    from voice.runtime import Runtime

    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    return Contract(create_app(runtime=Runtime(settings)).openapi())
