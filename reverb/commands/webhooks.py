"""``reverb webhooks``: list, replay and test webhook deliveries."""

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
from reverb.webhooks.events import TEST_CHANNEL

_TEST_TIMEOUT = 15
"""Seconds that ``test`` waits for a delivery's first attempt, which takes 10 s at most."""
_POLL_INTERVAL = 0.1
"""Seconds between two requests for the state of a delivery."""


def add_command(
    commands: "argparse._SubParsersAction[Any]", common: argparse.ArgumentParser
) -> None:
    """Add ``webhooks`` and its actions to the parser.

    Args:
        commands: The parsers of the commands of ``reverb``, to which the parser of ``webhooks`` is
            added.
        common: A parser with the options that all commands have.
    """
    webhooks = commands.add_parser("webhooks", help="list, replay and test webhook deliveries")
    actions = webhooks.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", parents=[common], help="list deliveries, newest first")
    listing.add_argument("--state", choices=get_args(State), help="list only this state")
    listing.add_argument(
        "--limit", type=int, default=50, help="maximum number of deliveries (default: %(default)s)"
    )
    listing.add_argument("--after", metavar="ID", help="list only deliveries older than this one")
    replay = actions.add_parser(
        "replay", parents=[common], help="send deliveries again that were delivered or given up"
    )
    selection = replay.add_mutually_exclusive_group(required=True)
    # Without this default, argparse would count missing ids as given.
    selection.add_argument("id", nargs="*", default=[], metavar="ID", help="ids of deliveries")
    selection.add_argument("--all", action="store_true", help="replay all dead letters of the app")
    test = actions.add_parser("test", parents=[common], help="send a test event")
    test.add_argument(
        "--endpoint", metavar="URL", help="send it to this endpoint (default: to all endpoints)"
    )
    test.add_argument(
        "--event",
        choices=EVENT_NAMES,
        help="name of the event (default: the first that the endpoint subscribes to)",
    )
    test.add_argument("--channel", help=f"channel in the event (default: {TEST_CHANNEL})")


def run(client: Client, args: argparse.Namespace) -> int:
    """Run the action that the arguments select, and return the exit code."""
    actions = {"list": _list, "replay": _replay, "test": _test}
    return actions[args.action](client, args)


def _list(client: Client, args: argparse.Namespace) -> int:
    parameters = {"limit": str(args.limit)}
    parameters |= {name: getattr(args, name) for name in ("state", "after") if getattr(args, name)}
    page = client.request("GET", "/webhooks/deliveries", parameters)
    if args.json:
        _write_json(page)
        return 0
    for delivery in page["deliveries"]:
        _write(_format_delivery(delivery))
    if not page["deliveries"]:
        _write("no deliveries")
    return 0


def _replay(client: Client, args: argparse.Namespace) -> int:
    if args.all:
        result = client.request("POST", "/webhooks/dead_letters/replay")
    else:
        for delivery_id in args.id:
            client.request("POST", f"/webhooks/deliveries/{quote(delivery_id, safe='')}/replay")
        result = {"replayed": len(args.id), "left": 0}
    if args.json:
        _write_json(result)
    else:
        _write(f"{result['replayed']} replayed, {result['left']} skipped")
    return 1 if result["left"] else 0


def _test(client: Client, args: argparse.Namespace) -> int:
    options = {"url": args.endpoint, "event": args.event, "channel": args.channel}
    content = {name: value for name, value in options.items() if value is not None}
    sent = client.request("POST", "/webhooks/test", content=content)["deliveries"]
    attempted = [_wait_for_attempt(client, delivery["id"]) for delivery in sent]
    if args.json:
        _write_json({"deliveries": attempted})
    else:
        for delivery in attempted:
            _write(_format_delivery(delivery))
    return 0 if all(delivery["state"] == "delivered" for delivery in attempted) else 1


def _wait_for_attempt(client: Client, delivery_id: str) -> Mapping[str, Any]:
    """Wait until a delivery's first attempt or the timeout has ended, then return the delivery."""
    deadline = time.monotonic() + _TEST_TIMEOUT
    while True:
        delivery: Mapping[str, Any] = client.request("GET", f"/webhooks/deliveries/{delivery_id}")
        if delivery["attempts"] or time.monotonic() > deadline:
            return delivery
        time.sleep(_POLL_INTERVAL)


def _format_delivery(delivery: Mapping[str, Any]) -> str:
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
