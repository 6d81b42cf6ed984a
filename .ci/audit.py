"""Says what pip-audit's report, on standard input as JSON, means for CI. It asks no service itself.

A package with a known vulnerability is a failure. Packages that could not be looked up, since the service that knows them is
out of reach, are a warning.
"""

import json
import sys


def main(report: str) -> int:
    packages = json.loads(report)["dependencies"] if report.strip() else []
    audited = [package for package in packages if "vulns" in package]
    vulnerable = [package for package in audited if package["vulns"]]
    for package in vulnerable:
        for found in package["vulns"]:
            mended = ", ".join(found["fix_versions"]) or "no version"
            print(f"{package['name']} {package['version']}: {found['id']}, mended in {mended}")
    if not packages or len(audited) < len(packages):
        print(f"warning: {len(packages) - len(audited) or 'all'} packages could not be looked up", file=sys.stderr)
    print(f"{len(audited) - len(vulnerable)} packages without and {len(vulnerable)} with a known vulnerability")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read()))
