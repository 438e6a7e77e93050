"""A TCP proxy that can delay, block or lose data, without closing any connection.

It runs in its own thread, so that tests may block.
"""

import asyncio
import threading
from collections.abc import Callable

TO_REDIS, TO_NODE = "to Redis", "to the node"
BOUND = 20


class _Pipe:
    """One connection of a node, and the matching connection to Redis."""

    def __init__(self, proxy: "Proxy", node: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.node = node
        self.redis: asyncio.StreamWriter | None = None
        self.loses = set(proxy.loses)

    async def forward(
        self, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(65_536):
                await self.proxy.open.wait()
                if direction in self.loses:
                    continue
                if self.proxy.delay:
                    loop.call_later(self.proxy.delay, self._write, writer, data)
                else:
                    self._write(writer, data)
        except ConnectionError:
            pass
        finally:
            self.end()

    @staticmethod
    def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
        if not writer.is_closing():
            writer.write(data)

    def end(self) -> None:
        for writer in (self.node, self.redis):
            if writer is not None:
                writer.transport.abort()


class Proxy:
    """Listens on its own port, and forwards all data to another port and back.

    Args:
        port: The port to forward to, such as Redis's.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.delay = 0.0
        """Seconds by which all data is delayed, in each direction."""
        self.loses: set[str] = set()
        """The directions in which new connections lose all data."""
        self._pipes: list[_Pipe] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.open, self._server = self._run_in_thread(self._listen)
        self.port = self._server.sockets[0].getsockname()[1]

    def _run_in_thread(self, function: Callable):
        """Run a coroutine function in the proxy's thread; return its result."""
        return asyncio.run_coroutine_threadsafe(function(), self._loop).result(BOUND)

    async def _listen(self):
        is_open = asyncio.Event()
        is_open.set()
        return is_open, await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = _Pipe(self, writer)
        self._pipes.append(pipe)
        try:
            from_redis, pipe.redis = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            pipe.end()
            return
        await asyncio.gather(
            pipe.forward(TO_REDIS, reader, pipe.redis), pipe.forward(TO_NODE, from_redis, writer)
        )
        self._pipes.remove(pipe)

    def url(self, prefix: str = "reverb") -> str:
        return f"redis://127.0.0.1:{self.port}/0?prefix={prefix}"

    def block(self) -> None:
        """Hold back all data, in both directions, also on new connections."""

        async def block() -> None:
            self.open.clear()

        self._run_in_thread(block)

    def restore(self) -> None:
        """Forward the data that was held back, and stop losing data on new connections."""

        async def restore() -> None:
            self.loses.clear()
            self.open.set()

        self._run_in_thread(restore)

    def lose(self, *directions: str, connection: int | None = None) -> None:
        """Lose all data on one connection, or on all and on new ones; none is closed.

        Args:
            directions: ``TO_REDIS``, ``TO_NODE``, or both.
            connection: The index of the only connection that loses data; None for all.
        """

        async def lose() -> None:
            pipes = self._pipes if connection is None else [self._pipes[connection]]
            for pipe in pipes:
                pipe.loses |= set(directions)
            if connection is None:
                self.loses |= set(directions)

        self._run_in_thread(lose)

    def stop(self) -> None:
        async def stop() -> None:
            self._server.close()
            self.open.set()
            for pipe in self._pipes:
                pipe.end()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.wait(others, timeout=BOUND) if others else None

        self._run_in_thread(stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND)
        self._loop.close()
