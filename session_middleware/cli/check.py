"""``check``: how the store is, and what to do about it."""

import click

from session_middleware.cli.ends import DONE, NOT_DONE, end
from session_middleware.cli.target import the_manager
from session_middleware.cli.terminal import json_option, print_json, say, size, table
from session_middleware.stores.base import Health


@click.command("check")
@click.option("--strict", is_flag=True, help="End with 1 for a warning, too.")
@json_option
def command(strict: bool, as_json: bool) -> None:
    """Ask the store how it is, and say what to do about what is found.

    Ends with 1 if there is an error among that, as when the store does not answer.
    """
    health = the_manager().check()
    if as_json:
        findings = [finding._asdict() for finding in health.findings]
        print_json(health._asdict() | {"ok": health.ok, "findings": findings})
    else:
        table(("what", "found"), _facts(health))
        for finding in health.findings:
            say(f"{finding.severity}: {finding.what} {finding.to_do}", finding.severity)
        if not health.findings:
            say("ok: nothing was found.", "ok")
    is_bad = not health.ok or (strict and any(finding.severity == "warning" for finding in health.findings))
    end(NOT_DONE if is_bad else DONE)


def _facts(health: Health) -> list[tuple[str, str]]:
    facts = {
        "store": health.kind,
        "version": health.version,
        "latency": None if health.latency is None else f"{health.latency * 1000:.2f} ms",
        "role": health.role,
        "eviction": health.eviction,
        "encrypted": {None: None, True: "yes", False: "no"}[health.tls],
        "tables": health.schema,
        "clock": None if health.clock_difference is None else f"{health.clock_difference:+.1f} s",
        "free": None if health.free_space is None else f"{size(health.free_space)} of {size(health.space or 0)}",
        "records": None if health.records is None else f"about {health.records:,}",
    }
    return [(name, text) for name, text in facts.items() if text is not None]
