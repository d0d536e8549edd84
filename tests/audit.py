"""Known vulnerabilities in the pinned dependencies: pip-audit asks osv.dev about every line of constraints.txt.

Fails when one is found. When the service cannot be asked it says NOT RUN, loudly, and passes: somebody else's outage
is no fault of this code. `AUDIT_URL` names another service of the same protocol.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "constraints.txt"
OSV = "https://api.osv.dev/v1/query"
ACCEPTED: dict[str, str] = {}
"""Id of a vulnerability that does not concern Voice: why it does not."""

# What pip-audit's output says when it could not ask; anything else it cannot do is a fault of ours.
_AWAY = ("requests.exceptions.", "ServiceError", "Could not connect")


def main(pins: Path = PINS) -> int:
    """The exit code: 0 when nothing is known against the pins, or nobody could be asked."""
    url = os.environ.get("AUDIT_URL", OSV)
    options = [
        "--no-deps",
        "--disable-pip",
        "--progress-spinner",
        "off",
        "--timeout",
        "10",
        "--format",
        "json",
    ]
    command = [sys.executable, "-m", "pip_audit", "-r", str(pins), "-s", "osv", "--osv-url", url, *options]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(ran.stdout)["dependencies"]
    except ValueError:
        if any(word in ran.stderr for word in _AWAY):
            reason = ran.stderr.strip().splitlines()[-1][:300]
            print(f"{'!' * 72}\nNOT RUN: dependency audit. {url} could not be asked.\n{reason}\n{'!' * 72}")
            return 0
        print(ran.stderr, file=sys.stderr)
        return 1
    vulnerable = [(one["name"], one["version"], vuln) for one in found for vuln in one.get("vulns", ())]
    for name, version, vuln in vulnerable:
        fixed = ", ".join(vuln["fix_versions"]) or "nothing yet"
        known = {vuln["id"], *vuln["aliases"]} & set(ACCEPTED)
        verdict = f"accepted: {ACCEPTED[min(known)]}" if known else "VULNERABLE"
        print(f"{name} {version}: {vuln['id']}, fixed by {fixed}: {verdict}")
    skipped = [one["name"] for one in found if "skip_reason" in one]
    if skipped:
        print(f"NOT AUDITED: {', '.join(skipped)}")
    print(f"{len(found) - len(skipped)} packages audited, {len(vulnerable)} vulnerabilities known")
    open_ones = [vuln for _, _, vuln in vulnerable if not {vuln["id"], *vuln["aliases"]} & set(ACCEPTED)]
    return 1 if open_ones else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
