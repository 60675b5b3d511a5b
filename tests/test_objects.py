"""What the real services answer, and what becomes of it: against a server that answers as it is told."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from operators.store import object_client, objects, retries
from operators.store.bucket import BucketStore
from operators.store.objects import Bucket
from schemas.errors import InputError, SpecError, StoreLost
from tests.support.object_server import S3Server
from tests.support.scripted_server import Answer, ScriptedServer, error, scripted_server

ETAG = {"etag": '"v1"'}
Serve = Callable[..., AbstractContextManager[ScriptedServer]]


@pytest.fixture(autouse=True)
def _without_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("SIGHTREAD_STORE_PATIENCE_S", "2")
    monkeypatch.setattr(retries, "FIRST_S", 0.001)
    monkeypatch.setattr(retries, "LONGEST_S", 0.01)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    from contextlib import contextmanager

    @contextmanager
    def started(*answers: Answer):  # type: ignore[no-untyped-def]
        with scripted_server(*answers) as server:
            for name, value in {
                "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "planted", "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": server.address,
            }.items():  # fmt: skip
                monkeypatch.setenv(name, value)
            yield server

    return started


def listed(*keys: str) -> Answer:
    entries = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f'<ETag>"{key}"</ETag></Contents>'
        for key in keys
    )
    return Answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode())


def test_a_write_that_met_another_is_tried_again(serve: Serve) -> None:
    with serve(error(409, "ConditionalRequestConflict"), Answer(200, headers=ETAG)) as server:
        assert BucketStore("s3://b").put_if_absent("k", b"x")
        assert server.asked == [("PUT", "/b/k")] * 2
    with serve(error(409, "ConditionalRequestConflict"), error(412, "PreconditionFailed")) as server:
        assert not BucketStore("s3://b").replace_if_same("k", b"x", '"v"')
        assert server.headers[0]["if-match"] == '"v"'


def test_a_write_whose_answer_got_lost_is_known_as_ours(serve: Serve) -> None:
    lost, taken = Answer(0), error(412, "PreconditionFailed")
    with serve(lost, taken, Answer(200, b"mine", ETAG)):
        assert BucketStore("s3://b").put_if_absent("k", b"mine")
    with serve(lost, taken, Answer(200, b"other", ETAG)):
        assert not BucketStore("s3://b").put_if_absent("k", b"mine")
    with serve(taken, Answer(200, b"mine", ETAG)) as server:  # nobody's answer got lost
        assert not BucketStore("s3://b").put_if_absent("k", b"mine")
        assert len(server.asked) == 1
    with serve(lost, taken, Answer(200, b"mine", ETAG)):
        assert BucketStore("s3://b").replace_if_same("k", b"mine", '"v"')


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (error(501, "NotImplemented", "A header"), "cannot create a file only where there is none"),
        (error(400, "InvalidArgument", "If-None-Match"), "cannot create a file only where there is none"),
        (Answer(301, headers={"x-amz-bucket-region": "eu-west-1"}), "another region than AWS_REGION says"),
        (error(400, "AuthorizationHeaderMalformed", "expecting 'eu'"), r"AWS_REGION says .*expecting 'eu'"),
        (error(404, "NoSuchBucket"), "^s3://b is not there$"),
        (error(403, "AccessDenied", "no PutObject"), "^s3://b/k: status 403, AccessDenied: no PutObject$"),
        (error(400, "EntityTooLarge", "5 GB"), "^s3://b/k: status 400, EntityTooLarge: 5 GB$"),
    ],
)  # fmt: skip
def test_what_a_store_says_no_to_is_an_os_error_in_a_sentence(serve: Serve, answer: Answer, sentence: str) -> None:
    with serve(answer), pytest.raises(OSError, match=sentence):
        BucketStore("s3://b").put_if_absent("k", b"x")


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"])
def test_who_is_let_in_nowhere_is_not_told_of_one_object(serve: Serve, code: str) -> None:
    """Or a token that expires in mid-run would be a failed row for every input."""
    with serve(error(403, code, "words")) as server:
        bucket = Bucket("s3://b")
        for ask in (lambda: bucket.read("k"), lambda: bucket.put("k", b"x"), lambda: list(bucket.below())):
            with pytest.raises(StoreLost, match=f"status 403, {code}: words"):
                ask()
        assert len(server.asked) == 3
        with pytest.raises(StoreLost, match=code):  # an answer to HEAD has no body
            bucket.stat("k")
    with serve(error(403, "AccessDenied")), pytest.raises(InputError, match="AccessDenied") as refused:
        Bucket("s3://b").stat("k")
    assert refused.value.kind == "permission"


def test_what_is_shorter_than_it_was_has_changed(serve: Serve) -> None:
    with serve(error(416, "InvalidRange")), pytest.raises(InputError, match="shorter than when it was listed"):
        list(Bucket("s3://b").pieces("k", '"v1"', 5, 10))
    with serve(Answer(200, b"", ETAG)) as server:
        assert Bucket("s3://b").read("k") == (b"", '"v1"')
        assert list(Bucket("s3://b").pieces("k", '"v1"', 0, 0)) == []
        assert ["range" in headers for headers in server.headers] == [False]


def test_a_body_that_is_cut_off_goes_on_where_it_was(serve: Serve) -> None:
    body = bytes(range(256)) * 16384
    with serve(Answer(200, body, ETAG, cut=3_000_000), Answer(206, body, ETAG)) as server:
        data, version = Bucket("s3://b").read("k")
    assert (data == body, version) == (True, '"v1"')
    start = int(server.headers[1]["range"].removeprefix("bytes=").split("-")[0])
    assert 0 < start <= 3_000_000
    assert server.headers[1]["if-match"] == '"v1"'


@pytest.mark.parametrize("answer", [error(503, "SlowDown"), error(400, "RequestTimeout"), Answer(0), Answer(500)])
def test_what_may_pass_is_tried_again(serve: Serve, answer: Answer) -> None:
    with serve(answer, answer, Answer(200, b"x", ETAG)):
        assert Bucket("s3://b").read("k")[0] == b"x"


def test_a_listing_goes_on_behind_the_page_that_came(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_PAGE", 2)
    first = (
        listed("a", "b")
        .body.replace(b"false", b"true")
        .replace(b"</List", b"<NextContinuationToken>n</NextContinuationToken></List")
    )
    with serve(Answer(200, first), error(503, "SlowDown"), listed("c")) as server:
        assert [entry.key for entry in Bucket("s3://b").below()] == ["a", "b", "c"]
    assert server.asked[-1] == ("GET", "/b?list-type=2&start-after=b")


def test_a_key_that_nothing_can_be_asked_for_by_is_named(s3: S3Server) -> None:
    bucket = s3.new_bucket()
    for key in ("a/1", "a//b", "b/1"):
        s3.put(f"{bucket}/{key}", b"1")
    with pytest.raises(OSError, match=f"^{bucket}/a cannot be listed: it has the key 'a//b'"):
        list(Bucket(bucket).below("a/"))
    assert BucketStore(bucket).list("b") == ["b/1"]
    with pytest.raises(InputError, match="no object can be asked for by 'a//b'"):
        Bucket(bucket).stat("a//b")


def test_no_credentials_are_a_sentence_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_client, "_METADATA", ("127.0.0.1", 1))
    for address, variable in (
        ("s3://b", "AWS_ACCESS_KEY_ID"), ("gs://b", "GOOGLE_APPLICATION_CREDENTIALS"), ("az://b", "AZURE_STORAGE"),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=f"^{address}: no credentials: set {variable}"):
            Bucket(address)


def test_credentials_that_cannot_be_had_end_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a machine's role: its service says no, or is not there."""
    with scripted_server(Answer(403, b"no role")) as server:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", server.address)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        with pytest.raises(StoreLost, match="status 403"):
            Bucket("s3://b").stat("k")


def test_credentials_of_a_profile(serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    file = tmp_path / "credentials"  # type: ignore[operator]
    file.write_text("[work]\naws_access_key_id = AKIAWORK\naws_secret_access_key = s\n")
    with serve(Answer(200, b"x", ETAG)) as server:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        monkeypatch.setenv("AWS_PROFILE", "work")
        assert Bucket("s3://b").read("k")[0] == b"x"
        assert "Credential=AKIAWORK/" in server.headers[0]["authorization"]
        monkeypatch.setenv("AWS_PROFILE", "none")
        with pytest.raises(SpecError, match=r"s3://b: the profile none: .*could not be found"):
            Bucket("s3://b")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("AWS_ENDPOINT_URL", value)
            for value in ("localhost:9000", "http://", "http://a:99999", "http:///x", "ftp://a")
        ),
        *(("AWS_ENDPOINT_URL", value) for value in ("http://ü.example", "http://a b/", "http://?x")),
        *((name, "planted\n") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")),
        ("AWS_REGION", "planted place"),
    ],
)
def test_a_setting_that_can_stand_in_no_request_is_a_sentence(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with serve():
        monkeypatch.setenv(name, value)
        with pytest.raises(SpecError, match=f"s3://b: {name} ") as caught:
            Bucket("s3://b")
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("name", ["SIGHTREAD_STORE_PATIENCE_S", "SIGHTREAD_STORE_TIMEOUT_S"])
@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "0", "soon"])
def test_a_patience_that_is_no_time_is_a_sentence(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, name: str, seconds: str
) -> None:
    """`nan` would be waited for without an end."""
    with serve():
        monkeypatch.setenv(name, seconds)
        with pytest.raises(SpecError, match=f"{name}: '{seconds}' is no"):
            Bucket("s3://b")


def test_a_signature_is_in_no_message_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [error(403, "AuthenticationFailed", "no"), error(503, "ServerBusy"), error(400, "Odd"), Answer(0)]
    monkeypatch.setenv("SIGHTREAD_STORE_PATIENCE_S", "0.01")
    for answer in answers:
        with scripted_server(answer) as server:
            text = f"BlobEndpoint={server.address}/account;SharedAccessSignature=?sv=2024&sig=PLANTED%3D"
            monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
            for ask in (BucketStore.list, lambda store: store.put_if_absent("k", b"x"), lambda store: store.open("k")):
                try:
                    ask(BucketStore("az://container"))
                    raise AssertionError
                except (OSError, StoreLost):
                    shown = traceback.format_exc()
                assert "PLANTED" not in shown
            assert any("sig=PLANTED%3D" in path for _, path in server.asked)


def test_an_account_by_a_connection_string(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(Answer(200, b"x", ETAG)) as server:
        text = f"DefaultEndpointsProtocol=http;AccountName=me;AccountKey=a2V5;BlobEndpoint={server.address}/me;"
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
        assert Bucket("az://container").read("k")[0] == b"x"
        assert server.asked == [("GET", "/me/container/k")]
        assert server.headers[0]["authorization"].startswith("SharedKey me:")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=me")
    with pytest.raises(SpecError, match="AZURE_STORAGE_CONNECTION_STRING names no account or endpoint, or neither"):
        Bucket("az://container")


def test_google_by_the_usual_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no server of theirs to try it on: what is asked of one."""
    head = ETAG | {"x-goog-generation": "7"}
    with scripted_server(Answer(200, headers=head)) as server:
        key = f'{{"gcs_base_url": "{server.address}", "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}}'  # noqa: E501  fmt: skip
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", key)
        monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
        store = BucketStore("gs://b/out")
        assert store.put_if_absent("k", b"x")
        assert (server.asked[-1], server.headers[-1]["x-goog-if-generation-match"]) == (("PUT", "/b/out%2Fk"), "0")
        assert store.replace_if_same("k", b"x", '"v1"')
        assert server.headers[-1]["x-goog-if-generation-match"] == "7"
        assert not store.replace_if_same("k", b"x", '"v0"')
