"""No text that an object becomes shows a secret."""

import pickle
import traceback

import msgspec
import pytest

import reverb
from reverb import redaction
from reverb.brokers.url import UrlParts, split_url
from reverb.commands.client import Client
from reverb.config.environment import read_environment
from reverb.config.loader import Configuration, load
from reverb.config.sources import read_file
from reverb.nats.link import NatsLink
from reverb.nats.url import NatsUrl, parse_nats_url
from reverb.redaction import HIDDEN, RedactedStruct, hide
from reverb.redis.handshake import describe_refusal
from reverb.redis.resp import RedisReplyError
from reverb.redis.url import RedisUrl, parse_redis_url
from reverb.service import ReverbService
from reverb.static_apps import StaticApps
from reverb.tap import Options
from reverb.testing import MemoryServer
from reverb.workers.worker_config import WorkerConfig

SECRET = "s3cr3t-t0k3n"
REDIS = f"redis://:{SECRET}@127.0.0.1"
NATS = f"nats://ann:{SECRET}@127.0.0.1"
ENVIRON = {"REVERB_APP_ID": "1", "REVERB_APP_KEY": "k", "REVERB_APP_SECRET": SECRET}
TOML = f"""
redis = "{REDIS}"
[[apps]]
id = "1"
key = "k"
secret = "{SECRET}"
[[apps.webhooks]]
url = "https://example.com/"
headers = {{ Authorization = "Bearer {SECRET}" }}
"""


def make_app():
    headers = {"Authorization": f"Bearer {SECRET}"}
    hook = reverb.Webhook(url="https://example.com/", headers=headers)
    return reverb.App(id="1", key="k", secret=SECRET, webhooks=(hook,))


def make_settings():
    return reverb.Settings(apps=(make_app(),), redis=REDIS, broker=NATS)


def make_options():
    options = Options()
    options.parseOptions(["--app-secret", SECRET, "--redis", REDIS])
    return options


def make_configuration(tmp_path):
    path = tmp_path / "reverb.toml"
    path.write_text(TOML)
    return load(options={}, environ={}, config_path=str(path))


def make_file_values(tmp_path):
    path = tmp_path / "reverb.toml"
    path.write_text(TOML)
    return read_file(str(path))


SENTINELS = f"redis+sentinel://a:{SECRET}@h/m?sentinel_user=u&sentinel_password={SECRET}"
MAKERS = {
    "App": lambda _: make_app(),
    "Webhook": lambda _: make_app().webhooks[0],
    "Settings": lambda _: make_settings(),
    "Configuration": make_configuration,
    "WorkerConfig": lambda _: WorkerConfig(reactor="r", settings=make_settings()),
    "FileValues": make_file_values,
    "Overrides": lambda _: read_environment(ENVIRON),
    "Options": lambda _: make_options(),
    "RedisUrl": lambda _: parse_redis_url(REDIS),
    "RedisUrl with sentinels": lambda _: parse_redis_url(SENTINELS),
    "NatsUrl": lambda _: parse_nats_url(NATS),
    "NatsUrl with a token": lambda _: parse_nats_url(f"nats://{SECRET}@127.0.0.1"),
    "UrlParts": lambda _: split_url(
        SENTINELS, service="Redis", known={"redis+sentinel": ("sentinel_user", "sentinel_password")}
    ),
    "Client": lambda _: Client("http://127.0.0.1/", make_app()),
    "StaticApps": lambda _: StaticApps([make_app()]),
    "NatsLink": lambda _: NatsLink(parse_nats_url(NATS), reactor=None, node="n"),
    "ReverbService": lambda _: ReverbService(reverb.Settings(apps=(make_app(),))),
    "MemoryServer": lambda _: MemoryServer(make_app()),
}


@pytest.mark.parametrize("name", MAKERS)
def test_no_text_shows_a_secret(name, tmp_path):
    made = MAKERS[name](tmp_path)
    texts = [repr(made), str(made), f"{made}", repr([made]), repr({"a": made}), ascii(made)]
    if isinstance(made, msgspec.Struct):
        texts.append(repr(list(made.__rich_repr__())))
    for text in texts:
        assert SECRET not in text


@pytest.mark.parametrize("name", MAKERS)
def test_no_traceback_with_variables_shows_a_secret(name, tmp_path):
    made = MAKERS[name](tmp_path)

    def fail(made):
        raise ValueError(made)

    try:
        fail(made)
    except ValueError as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert SECRET not in "".join(shown.format())


@pytest.mark.parametrize("name", ["App", "Settings", "WorkerConfig"])
def test_copies_and_encodings_are_complete(name, tmp_path):
    made = MAKERS[name](tmp_path)
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own data
    assert msgspec.json.decode(msgspec.json.encode(made), type=type(made)) == made


def test_every_struct_with_a_secret_hides_it():
    """A field with the name of a secret is in a struct that hides it."""
    suspicious = ("secret", "password", "token", "credentials", "headers", "redis", "broker")
    structs = [reverb.App, reverb.Webhook, reverb.Settings, Configuration, WorkerConfig]
    structs += [RedisUrl, NatsUrl, UrlParts]
    for struct in structs:
        for field in msgspec.structs.fields(struct):
            if any(word in field.name for word in suspicious) and field.name != "redis_lease":
                assert issubclass(struct, RedactedStruct), struct
                assert field.name in redaction._hidden_names(struct), field.name


def test_an_empty_secret_is_shown_as_empty():
    assert "password=''" in repr(parse_redis_url("redis://h"))
    assert f"password={HIDDEN}" in repr(parse_redis_url(REDIS))


@pytest.mark.parametrize(
    "arguments",
    [
        {"secret": [SECRET]},
        {"secret": SECRET.encode()},
        {"webhooks": [{"secret": SECRET}]},
        {"webhooks": ({"url": "https://example.com/", "headers": {"A": SECRET}},)},
    ],
)
def test_no_error_about_an_argument_shows_a_secret(arguments):
    with pytest.raises(reverb.InvalidArgumentError) as caught:
        reverb.App(**{"id": "1", "key": "k", "secret": "s"} | arguments)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("field", ["redis", "broker"])
def test_no_error_about_a_url_shows_it(field):
    with pytest.raises(reverb.InvalidArgumentError) as caught:
        reverb.Settings(**{field: [REDIS]})
    assert SECRET not in str(caught.value)


def test_a_webhook_with_a_password_in_its_url():
    with pytest.raises(reverb.InvalidArgumentError) as caught:
        reverb.Webhook(url=f"https://ann:{SECRET}@example.com/")
    assert SECRET not in str(caught.value)


def test_redis_may_repeat_the_password():
    error = RedisReplyError(f"ERR unknown command 'AUTH', with args beginning with: '{SECRET}' ")
    assert describe_refusal(error, parse_redis_url(REDIS)) == (
        f"ERR unknown command 'AUTH', with args beginning with: '{HIDDEN}' "
    )


def test_hide():
    assert hide("a b a", ["a", ""]) == f"{HIDDEN} b {HIDDEN}"
