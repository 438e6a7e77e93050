"""What the tests of the metrics share: readers of the page."""

from prometheus_client.parser import text_string_to_metric_families

from support import ask_for_metrics


class Scrape:
    """All values of a moment."""

    def __init__(self, server):
        text = ask_for_metrics(server).body.decode()
        self.families = list(text_string_to_metric_families(text))
        self.samples = {
            (s.name, frozenset(s.labels.items())): s.value for f in self.families for s in f.samples
        }

    def __call__(self, name, **labels):
        """Get one value, by the name without its prefix; of the app ``app-id`` if not told."""
        labels = {key: value for key, value in ({"app": "app-id"} | labels).items() if value}
        return self.samples[f"reverb_{name}", frozenset(labels.items())]

    def those(self, name, label, app="app-id"):
        """Get the values that are not 0, by one of their labels."""
        return {
            dict(labels)[label]: value
            for (key, labels), value in self.samples.items()
            if key == f"reverb_{name}" and dict(labels).get("app") == app and value
        }
