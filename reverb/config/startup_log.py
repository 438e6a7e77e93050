"""Logs what the configuration has to say to the operator when the server starts."""

from twisted.application.service import Service
from twisted.logger import Logger

from reverb.config.development import development_banner
from reverb.config.loader import Configuration


class StartupLog(Service):
    """Logs the configuration's warning, and how to connect to the development app.

    Args:
        configuration: The configuration of the server.
    """

    _log = Logger()

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    def startService(self) -> None:
        """Log the warning and the banner, if there are any."""
        super().startService()
        if self._configuration.warning:
            self._log.warn("{warning}", warning=self._configuration.warning)
        if self._configuration.is_development:
            self._log.info("{banner}", banner=development_banner(self._configuration.settings))
