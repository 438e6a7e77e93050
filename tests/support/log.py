"""What the code under test logs."""

import pytest
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

_SEVERE = (LogLevel.error, LogLevel.critical)


class Log:
    """A log observer that keeps all events."""

    def __init__(self):
        self.events = []

    def __call__(self, event):
        self.events.append(event)

    def problems(self):
        """Take the failures and errors; return the text and the failure of each."""
        severe = [e for e in self.events if "log_failure" in e or e["log_level"] in _SEVERE]
        self.events = [e for e in self.events if e not in severe]
        return [(formatEvent(e), e.get("log_failure")) for e in severe]

    def lines(self, prefix):
        """Return the logged lines that begin with a prefix."""
        return [text for e in self.events if (text := formatEvent(e)).startswith(prefix)]


@pytest.fixture
def log():
    """Observe the log. A logged failure fails the test, unless the test takes it."""
    log = Log()
    globalLogPublisher.addObserver(log)
    yield log
    globalLogPublisher.removeObserver(log)
    assert log.problems() == []
