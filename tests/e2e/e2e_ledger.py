"""The books that a client keeps of what it is told."""

from typing import Any


class Subscription:
    """What a client knows of a channel that it is subscribed to.

    Attributes:
        members: The user ids; empty but on presence channels.
        count: What it was told last of the number of subscriptions; not on presence channels.
        story: What it was told of them, for who looks into a failure.
    """

    def __init__(self, members: set[str]) -> None:
        self.members = members
        self.count: int | None = None
        self.story = [f"={','.join(sorted(members))}"]

    def take(self, event: str, data: Any) -> str | None:
        """Take a count or a change of the members; tell what is wrong with it."""
        if event == "pusher_internal:subscription_count":
            self.count = data["subscription_count"]
            return None
        return self.change("+" if event.endswith("added") else "-", data["user_id"])

    def change(self, sign: str, user_id: str) -> str | None:
        """Take a change of the members; tell what is wrong with it."""
        self.story.append(sign + user_id)
        if (user_id in self.members) == (sign == "+"):
            return f"{sign}{user_id} after {self.story[-40:]}"
        (self.members.add if sign == "+" else self.members.remove)(user_id)
        return None


class Watched:
    """What a client knows of the users whom it watches.

    Attributes:
        online: Whether each of them is, as it was told last.
    """

    def __init__(self) -> None:
        self.online: dict[str, bool] = {}

    def take(self, events: list[dict[str, Any]]) -> str | None:
        """Take the events of one message; tell what is wrong with them."""
        wrong = None
        for event in events:
            is_online = event["name"] == "online"
            for user_id in event["user_ids"]:
                if self.online.get(user_id) is is_online:
                    wrong = f"twice that {user_id} is {event['name']}"
                self.online[user_id] = is_online
        return wrong
