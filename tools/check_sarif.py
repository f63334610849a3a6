#!/usr/bin/env python3
"""Checks the SARIF of `qwenplan check` against the classes that Microsoft makes from its schema.

    tools/check_sarif.py BINARY FILE... [--gpu NAME]

Needs the package sarif-om (PyPI; python3-sarif-python-om in Debian). No property may be unknown, none
that is required may be missing, and words and numbers have to be of those that the schema allows.
Prints how many results were checked. Exits with 1 at the first that the schema refuses.
"""
import argparse
import json
import subprocess
import sys

import attr
import sarif_om

CLASSES = {"runs": "Run", "tool": "Tool", "driver": "ToolComponent", "rules": "ReportingDescriptor",
           "shortDescription": "MultiformatMessageString", "fullDescription": "MultiformatMessageString",
           "help": "MultiformatMessageString", "defaultConfiguration": "ReportingConfiguration",
           "results": "Result", "message": "Message", "locations": "Location",
           "physicalLocation": "PhysicalLocation", "artifactLocation": "ArtifactLocation", "region": "Region",
           "suppressions": "Suppression"}
ALLOWED = {"level": {"none", "note", "warning", "error"}, "columnKind": {"utf16CodeUnits", "unicodeCodePoints"},
           "kind": {"inSource", "external"}, "version": {"2.1.0"}}
LEAST = {"startLine": 1, "startColumn": 1, "ruleIndex": -1}


def check(thing, name):
    fields = {f.metadata.get("schema_property_name", f.name): f for f in attr.fields(getattr(sarif_om, name))}
    for key, value in thing.items():
        if key not in fields:
            raise ValueError(f"{name} has no property {key}")
        if key in ALLOWED and value not in ALLOWED[key]:
            raise ValueError(f"{name}.{key} is {value!r}")
        if key in LEAST and not (isinstance(value, int) and value >= LEAST[key]):
            raise ValueError(f"{name}.{key} is {value!r}")
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                check(each, CLASSES[key])
    for key, field in fields.items():
        if field.default is attr.NOTHING and key not in thing:
            raise ValueError(f"{name} lacks {key}")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("binary")
    options.add_argument("files", nargs="+")
    options.add_argument("--gpu", default="rtx3060")
    given = options.parse_args()
    report = subprocess.run([given.binary, "check", *given.files, "--gpu", given.gpu, "--format", "sarif"],
                            stdout=subprocess.PIPE, check=False).stdout
    log = json.loads(report)
    try:
        check(log, "SarifLog")
    except ValueError as refused:
        sys.exit(f"refused: {refused}")
    print(f"{len(log['runs'][0]['results'])} results are as the schema wants them")


if __name__ == "__main__":
    main()
