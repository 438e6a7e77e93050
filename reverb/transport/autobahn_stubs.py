"""Stateless objects that replace the objects that Autobahn makes for each connection."""


class PassThroughInflater:
    """Replaces Autobahn's inflater of a connection, and returns the data unchanged.

    :func:`reverb.transport.deflate.inflate` inflates each message when the message is complete. As
    this class has no state, all connections share one instance.
    """

    EXTENSION_NAME = "permessage-deflate"

    def start_decompress_message(self) -> None:
        """Do nothing: there is no state."""

    def decompress_message_data(self, data: bytes, max_output_len: int | None = None) -> bytes:
        """Return the data unchanged.

        Autobahn limits the size of a compressed frame in the same way as the size of other frames.
        """
        return data

    def end_decompress_message(self) -> None:
        """Do nothing: there is no state."""


PASS_THROUGH = PassThroughInflater()


class NullDeferred:
    """Replaces the Deferreds that Autobahn fires, and to which this server adds no callbacks."""

    def callback(self, result: object) -> None:
        """Do nothing."""
