"""A parser for the metrics page, shared by the tests."""

from prometheus_client.parser import text_string_to_metric_families

from tests.support.metrics import fetch_metrics


class Scrape:
    """The values of all metrics at one time.

    Args:
        server: The server to scrape.
    """

    def __init__(self, server):
        text = fetch_metrics(server).body.decode()
        self.families = list(text_string_to_metric_families(text))
        self.samples = {
            (s.name, frozenset(s.labels.items())): s.value for f in self.families for s in f.samples
        }

    def __call__(self, name, **labels):
        """Return the value of one series.

        Args:
            name: The name without the prefix ``reverb_``.
            labels: The series' labels. The app is ``app-id`` by default; an empty value
                removes a label.
        """
        labels = {key: value for key, value in ({"app": "app-id"} | labels).items() if value}
        return self.samples[f"reverb_{name}", frozenset(labels.items())]

    def nonzero(self, name, label, app="app-id"):
        """Return the nonzero values of an app's series, by the value of one label."""
        return {
            dict(labels)[label]: value
            for (key, labels), value in self.samples.items()
            if key == f"reverb_{name}" and dict(labels).get("app") == app and value
        }
