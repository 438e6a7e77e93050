"""``reverb webhooks``: what was delivered and what was not, once more, and a test."""

import argparse
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args
from urllib.parse import quote

import msgspec

from reverb.apps import EVENT_NAMES
from reverb.commands.client import Client
from reverb.webhooks.delivery import State

_TEST_SECONDS = 15
"""How long a test waits for the first attempt, which takes 10 s at most."""


def add_commands(
    subjects: "argparse._SubParsersAction[Any]", common: argparse.ArgumentParser
) -> None:
    """Add the commands to the parser."""
    subject = subjects.add_parser("webhooks", help="deliveries of webhooks")
    commands = subject.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", parents=[common], help="list deliveries, newest first")
    listing.add_argument("--state", choices=get_args(State), help="only those in this state")
    listing.add_argument("--limit", type=int, default=50, help="default: %(default)s")
    listing.add_argument("--after", metavar="ID", help="those before this one")
    replay = commands.add_parser(
        "replay", parents=[common], help="deliver once more what was delivered or given up"
    )
    which = replay.add_mutually_exclusive_group(required=True)
    # Without a default it would count as given.
    which.add_argument("id", nargs="*", default=[], metavar="ID", help="ids of deliveries")
    which.add_argument("--all", action="store_true", help="all dead letters")
    test = commands.add_parser("test", parents=[common], help="send an event that did not happen")
    test.add_argument("--endpoint", metavar="URL", help="to this one; default: to all")
    test.add_argument("--event", choices=EVENT_NAMES, help="default: the first that it gets")
    test.add_argument("--channel", help="the channel that it names")


def run(client: Client, given: argparse.Namespace) -> int:
    """Carry out a command; returns the exit code."""
    commands = {"list": _list, "replay": _replay, "test": _test}
    return commands[given.command](client, given)


def _list(client: Client, given: argparse.Namespace) -> int:
    parameters = {"limit": str(given.limit)}
    parameters |= {
        name: getattr(given, name) for name in ("state", "after") if getattr(given, name)
    }
    answer = client.ask("GET", "/webhooks/deliveries", parameters)
    if given.json:
        _write_json(answer)
        return 0
    for delivery in answer["deliveries"]:
        _write(_line(delivery))
    if not answer["deliveries"]:
        _write("no deliveries")
    return 0


def _replay(client: Client, given: argparse.Namespace) -> int:
    if given.all:
        answer = client.ask("POST", "/webhooks/dead_letters/replay")
    else:
        for delivery_id in given.id:
            client.ask("POST", f"/webhooks/deliveries/{quote(delivery_id, safe='')}/replay")
        answer = {"replayed": len(given.id), "left": 0}
    if given.json:
        _write_json(answer)
    else:
        _write(f"{answer['replayed']} on their way, {answer['left']} left")
    return 1 if answer["left"] else 0


def _test(client: Client, given: argparse.Namespace) -> int:
    chosen = {"url": given.endpoint, "event": given.event, "channel": given.channel}
    content = {name: value for name, value in chosen.items() if value is not None}
    sent = client.ask("POST", "/webhooks/test", content=content)["deliveries"]
    results = [_result(client, delivery["id"]) for delivery in sent]
    if given.json:
        _write_json({"deliveries": results})
    else:
        for delivery in results:
            _write(_line(delivery))
    return 0 if all(delivery["state"] == "delivered" for delivery in results) else 1


def _result(client: Client, delivery_id: str) -> Mapping[str, Any]:
    """Wait for the first attempt, and tell what came of it."""
    end = time.monotonic() + _TEST_SECONDS
    while True:
        delivery: Mapping[str, Any] = client.ask("GET", f"/webhooks/deliveries/{delivery_id}")
        if delivery["attempts"] or time.monotonic() > end:
            return delivery
        time.sleep(0.1)


def _line(delivery: Mapping[str, Any]) -> str:
    created = datetime.fromtimestamp(delivery["created_at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    attempts = f"{delivery['attempts']} attempt{'' if delivery['attempts'] == 1 else 's'}"
    outcome = delivery["error"] or delivery["status"] or "not tried yet"
    names = ",".join(sorted({event["name"] for event in delivery["events"]}))
    return (
        f"{delivery['id']}  {created}  {delivery['state']:<9}  {attempts}  {outcome}  "
        f"{delivery['url']}  {len(delivery['events'])} {names}"
    )


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")


def _write_json(value: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")
