"""Fixtures for the tests of the loader."""

import pytest

from reverb.config.loader import load

from .loading import CERTIFICATES, PEM


@pytest.fixture(scope="module", autouse=True)
def certificates(tmp_path_factory):
    """Run the tests beside a directory of certificates, so that test ids have no random path."""
    directory = tmp_path_factory.mktemp("configuration")
    (directory / CERTIFICATES).mkdir()
    (directory / CERTIFICATES / "localhost.pem").write_bytes(PEM)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        yield


@pytest.fixture
def from_file(tmp_path, monkeypatch):
    """Return a function that loads a file with the given text, named reverb.toml in messages."""
    monkeypatch.chdir(tmp_path)

    def load_file(text, environ=(), **options):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "reverb.toml").write_bytes(data)
        return load(options=options, environ=dict(environ), config_path="reverb.toml")

    return load_file
