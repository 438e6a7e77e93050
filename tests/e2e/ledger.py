"""Ledgers that record a client's view of channels and watchlists, message by message."""

from typing import Any


class SubscriptionLedger:
    """A client's view of one channel that it is subscribed to.

    Attributes:
        members: The user ids of a presence channel's members; empty for other channels.
        count: The last ``subscription_count``, or None before the first; presence channels
            have none.
        history: All changes of the members, for the analysis of a failure.
    """

    def __init__(self, members: set[str]) -> None:
        self.members = members
        self.count: int | None = None
        self.history = [f"={','.join(sorted(members))}"]

    def record(self, event: str, data: Any) -> str | None:
        """Record a count or a change of the members; return an inconsistency, or None."""
        if event == "pusher_internal:subscription_count":
            self.count = data["subscription_count"]
            return None
        return self.record_member("+" if event.endswith("added") else "-", data["user_id"])

    def record_member(self, sign: str, user_id: str) -> str | None:
        """Record that a member joined (+) or left (-); return an inconsistency, or None."""
        self.history.append(sign + user_id)
        if (user_id in self.members) == (sign == "+"):
            return f"{sign}{user_id} after {self.history[-40:]}"
        (self.members.add if sign == "+" else self.members.remove)(user_id)
        return None


class WatchlistLedger:
    """A client's view of the users on its watchlist.

    Attributes:
        online: Whether each user is online, according to the last event.
    """

    def __init__(self) -> None:
        self.online: dict[str, bool] = {}

    def record(self, events: list[dict[str, Any]]) -> str | None:
        """Record the events of one message; return an inconsistency, or None."""
        violation = None
        for event in events:
            is_online = event["name"] == "online"
            for user_id in event["user_ids"]:
                if self.online.get(user_id) is is_online:
                    violation = f"twice that {user_id} is {event['name']}"
                self.online[user_id] = is_online
        return violation
