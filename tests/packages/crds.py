"""Resources of operators, checked against schemas derived from the operators' own CustomResourceDefinitions.

Run `python -m tests.packages.crds CRD.yaml KIND OUTPUT.json MANIFEST.yaml...` to derive one. Descriptions are left out,
and all below the fields that no manifest sets: the definitions of an operator have half a megabyte.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import yaml

FOLDER = Path(__file__).parent / "crd_schemas"
_KEPT = (
    *("type", "enum", "pattern", "format", "required", "minimum", "maximum", "minLength", "maxLength", "minItems"),
    *("maxItems", "anyOf", "oneOf", "not", "minProperties", "maxProperties"),
)
#: The names of fields are known everywhere; Kubernetes itself drops those that are not, or refuses them.
_OPEN = "x-kubernetes-preserve-unknown-fields"


def read_schemas() -> dict[tuple[str, str], dict[str, Any]]:
    """All schemas by `apiVersion` and kind."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]
    return {(each["apiVersion"], each["kind"]): each["schema"] for each in files}


def validate(document: dict[str, Any]) -> None:
    """Check a resource of an operator; a kind without a schema is an error."""
    schema = read_schemas()[document["apiVersion"], document["kind"]]
    jsonschema.validate(document, schema, format_checker=jsonschema.FormatChecker())


def derive_schema(schema: dict[str, Any], examples: list[Any], *, whole: bool = False) -> dict[str, Any]:
    """Reduce a structural schema to what decides about the examples and resources that are like them."""
    derived = {key: schema[key] for key in _KEPT if key in schema}
    if "pattern" in derived:
        # Go permits a flag anywhere, Python at the start alone.
        derived["pattern"] = derived["pattern"].replace("^(?i)", "(?i)^")
    properties = schema.get("properties", {})
    if properties:
        derived["properties"] = {
            name: derive_schema(each, _find_values(examples, name), whole=whole)
            if whole or _find_values(examples, name)
            else {key: each[key] for key in _KEPT if key in each and key != "required"}
            for name, each in properties.items()
        }
        if not schema.get(_OPEN):
            derived["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        values = [value for each in examples if isinstance(each, dict) for value in each.values()]
        derived["additionalProperties"] = derive_schema(schema["additionalProperties"], values, whole=whole)
    if "items" in schema:
        items = [value for each in examples if isinstance(each, list) for value in each]
        derived["items"] = derive_schema(schema["items"], items, whole=whole)
    return derived


def _find_values(examples: list[Any], name: str) -> list[Any]:
    return [each[name] for each in examples if isinstance(each, dict) and name in each]


def main(arguments: list[str]) -> None:
    """Derive the schema of a kind and write it."""
    definitions, kind, output, *manifests = arguments
    (definition,) = (
        each
        for each in yaml.safe_load_all(Path(definitions).read_text(encoding="utf-8"))
        if each and each["spec"]["names"]["kind"] == kind
    )
    found = [each for path in manifests for each in yaml.safe_load_all(Path(path).read_text(encoding="utf-8"))]
    examples = [each for each in found if each["kind"] == kind]
    group = definition["spec"]["group"]
    wanted = {each["apiVersion"].partition("/")[2] for each in examples} or {"v1"}
    (version,) = (each for each in definition["spec"]["versions"] if each["name"] in wanted)
    schema = derive_schema(version["schema"]["openAPIV3Schema"], examples, whole=not examples)
    written = {"apiVersion": f"{group}/{version['name']}", "kind": kind, "schema": schema}
    Path(output).write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
