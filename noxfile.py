"""Runs the quick tests on each Python, with the lowest and the latest allowed dependencies.

``make matrix`` runs this. A Python that is not installed is skipped.
"""

import nox

nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
RESOLUTIONS = [
    nox.param("lowest-direct", id="lowest", tags=["lowest"]),
    nox.param("highest", id="latest", tags=["latest"]),
]
# The quick tests start no Redis and no NATS, so these test the libraries that talk to them.
OTHER_PROGRAMS = ["tests/contracts", "tests/redis", "tests/test_asyncio_reactor.py"]


@nox.session(python=PYTHONS)
@nox.parametrize("resolution", RESOLUTIONS)
def test(session: nox.Session, resolution: str) -> None:
    """Run the quick tests and those of Redis and NATS, or pytest with the given arguments."""
    session.install("--resolution", resolution, "--editable", ".[redis,nats]")
    # These keep the versions that the first step has installed.
    session.install("--editable", ".[test,bench]")
    session.run("uv", "pip", "list", silent=False)
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    session.run("pytest", "--quick", "-n", "2")
    session.run("pytest", "-n", "3", *OTHER_PROGRAMS)
