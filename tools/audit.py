"""Ask whether what m25 installs has known vulnerabilities: `python tools/audit.py`.

Run it where m25 with its extras, and pip-audit, are installed. A package that could not be checked
is named and is no failure: the advisories do not cover it, or could not be reached.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

EXTRAS = ("binary", "cli", "embedded")


def installed_for(requirement: Requirement, seen: set[str]) -> Iterator[metadata.Distribution]:
    """The packages that a requirement brings, its own included, each once."""
    if requirement.name in seen:
        return
    seen.add(requirement.name)
    distribution = metadata.distribution(requirement.name)
    yield distribution
    for line in distribution.requires or ():
        needed = Requirement(line)
        extras = {"", *requirement.extras}
        if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
            yield from installed_for(needed, seen)


def advisories(requirements: list[str]) -> list[dict[str, Any]] | str:
    """The known vulnerabilities of each requirement; or why they cannot be looked up."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(requirements))
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--format", "json"]
        command += ["--progress-spinner", "off", "--timeout", "15"]
        command += ["--no-deps", "--disable-pip", "--requirement", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        dependencies: list[dict[str, Any]] = json.loads(said.stdout)["dependencies"]
    except ValueError:
        return (said.stderr.strip().splitlines() or ["no reason given"])[-1]
    return dependencies


def main() -> None:
    brought = installed_for(Requirement(f"m25[{','.join(EXTRAS)}]"), set())
    requirements = [
        f"{each.metadata['Name']}=={each.version}"
        for each in brought
        if each.metadata["Name"] != "m25"
    ]
    found = advisories(requirements)
    if isinstance(found, str):
        print(f"{len(requirements)} dependencies could not be audited: {found}")
        return
    is_vulnerable = False
    for each in found:
        if "skip_reason" in each:
            print(f"{each['name']} could not be audited: {each['skip_reason']}")
            continue
        known = [
            f"{v['id']}, fixed in {', '.join(v['fix_versions']) or '-'}" for v in each["vulns"]
        ]
        is_vulnerable = is_vulnerable or bool(known)
        print(f"{each['name']} {each['version']}: {'; '.join(known) or 'nothing known'}")
    sys.exit(is_vulnerable)


if __name__ == "__main__":
    main()
