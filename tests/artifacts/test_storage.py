"""Run directories on object stores: a real S3 server for what is stored, and every way in which a store can refuse."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from object_store import Store, start_store

from flowerti.artifacts.locked_protocol import count_openings, open_test, read_protocol, state_intent
from flowerti.artifacts.records import Timing
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.storage import open_storage
from flowerti.artifacts.sweep import SweepIntent

ROOT = Path(__file__).parents[2]
TIMING = Timing(stage="invert", seconds=1.5, gpu_seconds=0.0)
PATIENCE_S = 25.0
"""An error must come sooner than this, on a busy machine."""


@pytest.fixture(scope="module")
def keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith(("AWS_", "GOOGLE_"))]:
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="module")
def store(keys: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    pytest.importorskip("moto", reason="the S3 server is in the dependency group dev")
    store, server = start_store(tmp_path_factory.mktemp("store") / "log")
    yield store
    server.terminate()
    server.wait()


@pytest.fixture
def run(store: Store, request: pytest.FixtureRequest) -> RunDirectory:
    return RunDirectory(store.uri(f"runs/{request.node.name}"))


def test_what_was_written_is_read_and_lies_where_the_address_says(run: RunDirectory, store: Store):
    content = bytes(range(256)) * 1000
    run.write_bytes("concepts/rose/learned_embeds.safetensors", content)
    assert run.read_bytes("concepts/rose/learned_embeds.safetensors") == content
    key = f"runs/{run.uri.split('/')[4].partition('?')[0]}/concepts/rose/learned_embeds.safetensors"
    assert store.client("s3").get_object(Bucket="flowers", Key=key)["Body"].read() == content


def test_a_locked_protocol_on_a_store_holds_and_leaves_siblings_uncounted(run: RunDirectory):
    plan = SweepIntent(
        primary_contrast="", arms=[], ratios=[1.0], replication={"num_seeds": 1}, run_seed=0, weak_classes=[], rule="",
        alpha=0.05, max_rest_drop=0.0, num_trials_validation=0, settings={}, data_fingerprint="f",
    )  # fmt: skip
    for seeds in (1, 1, 2):
        state_intent(run, replace(plan, replication={"num_seeds": seeds}))
        for _ in range(2):
            open_test(run, "scores/test.json", f"key {seeds}", "f", is_made=True)
    counted = count_openings(run)
    assert (counted.own, counted.siblings, counted.before_intent) == (2, None, 1)
    assert [change.changed for change in read_protocol(run).plan_changes] == [["replication.num_seeds"]]
    run.delete(run.names("sweep/intent")[0])
    with pytest.raises(ValueError, match="append-only"):
        count_openings(run)


def test_names_exists_and_delete_are_as_on_a_disk(run: RunDirectory, tmp_path: Path):
    disk = RunDirectory(str(tmp_path))
    for name in ("synthetic/b.parquet", "synthetic/a.parquet", "synthetic/rose/z", "scores/s.json", "config.json"):
        for place in (run, disk):
            place.write_bytes(name, b"x")
    for place in (run, disk):
        place.delete("scores/s.json")
        place.delete("never/there")
    for folder in ("", "synthetic", "scores", "nothing", "nothing/below"):
        assert run.names(folder) == disk.names(folder)
    for name in ("synthetic", "synthetic/a.parquet", "scores/s.json", "config.json"):
        assert run.exists(name) == disk.exists(name)
    with pytest.raises(FileNotFoundError):
        run.read_bytes("nothing")


def test_small_files_take_few_requests(run: RunDirectory, store: Store):
    def asked(do: Callable[[], object]) -> int:
        before = store.control("requests", "GET")
        do()
        return store.control("requests", "GET") - before

    assert run.names("") == []  # the bucket is looked for when it is first opened
    assert asked(lambda: run.save("timings/a.json", TIMING, "k")) == 1
    assert asked(lambda: run.load("timings/a.json", Timing, "k")) == 2
    assert asked(lambda: run.load("timings/b.json", Timing, "k")) <= 2
    for number in range(5):
        run.write_bytes(f"deep/{number}/file", b"x")
    assert asked(lambda: run.names("deep")) == 1, "folders are not listed one by one"


def test_an_artifact_comes_back_under_its_key_only(run: RunDirectory):
    assert run.load("t.json", Timing, "k") is None
    run.save("t.json", TIMING, "k")
    assert run.load("t.json", Timing, "k") == TIMING
    assert run.load("t.json", Timing, "other") is None


def test_a_path_with_odd_letters_stays_in_its_bucket(store: Store):
    run = RunDirectory(store.uri("runs/a%20b/é"))
    run.write_bytes("x", b"1")
    assert run.read_bytes("x") == b"1"
    for name in ("../x", "a/../../x", "/x", "a\nb", "x" * 300):
        with pytest.raises(ValueError, match=r"is not a name inside|is longer than"):
            run.write_bytes(name, b"2")


def test_the_endpoint_may_come_from_the_environment(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{store.endpoint}")
    RunDirectory("s3://flowers/by-environment").write_bytes("x", b"1")
    assert RunDirectory(store.uri("by-environment")).read_bytes("x") == b"1"


_WRITER = """
import sys
from flowerti.artifacts.run_directory import RunDirectory
RunDirectory(sys.argv[1]).write_bytes("big", b"x" * 40_000_000)
"""


def test_a_writer_that_dies_leaves_nothing(keys: None, tmp_path: Path):
    pytest.importorskip("moto", reason="the S3 server is in the dependency group dev")
    store, server = start_store(tmp_path / "log")
    run = RunDirectory(store.uri("run"))
    try:
        run.write_bytes("small", b"1")
        store.control("stall")
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, run.uri], cwd=ROOT)
        deadline = time.monotonic() + 60
        while store.control("parts", "GET") < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert writer.poll() is None, "the writer was to be killed midway"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        uploads = store.client("s3").list_multipart_uploads(Bucket="flowers").get("Uploads", [])
        assert [upload["Key"] for upload in uploads] == ["run/big"], "it had begun"
        assert not run.exists("big")
        assert run.names("") == ["small"]
        run.write_bytes("big", b"second attempt")
        assert run.read_bytes("big") == b"second attempt"
    finally:
        server.kill()
        server.wait()


def test_a_hiccup_of_the_store_is_survived_and_an_outage_is_told(run: RunDirectory, store: Store):
    run.write_bytes("x", b"1")
    store.control("fail/2")
    run.write_bytes("x", b"2")
    assert store.control("fail/2") == 2
    assert run.read_bytes("x") == b"2"
    store.control("fail/1000")
    begun = time.monotonic()
    with pytest.raises(OSError, match="x cannot be written"):
        run.write_bytes("x", b"3")
    assert time.monotonic() - begun < PATIENCE_S
    store.control("fail/0")
    assert run.read_bytes("x") == b"2"


def refusal(uri: str) -> str:
    begun = time.monotonic()
    with pytest.raises(ValueError, match="cannot be opened") as caught:
        RunDirectory(uri).exists("config.json")
    assert time.monotonic() - begun < PATIENCE_S
    return str(caught.value)


def test_a_wrong_bucket_is_named(store: Store):
    assert "there is no bucket 'flowres': create it" in refusal(store.uri("run", bucket="flowres"))


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/run?endpoint_override=127.0.0.1:9&scheme=http",
        "s3://bucket/run?endpoint_override=nowhere.invalid:9",
        "gs://bucket/run?endpoint_override=127.0.0.1:9&scheme=http&anonymous=true",
    ],
)
def test_a_store_out_of_reach_is_told_within_seconds(uri: str):
    assert "cannot be reached: check network, endpoint" in refusal(uri)


def test_an_endpoint_in_the_environment_must_be_an_address(keys: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    assert "AWS_ENDPOINT_URL: 'localhost:9000' must read http://host:port" in refusal("s3://bucket/of-environment")


def test_gcs_without_credentials_says_which_to_set(keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GCE_METADATA_ROOT", "127.0.0.1:9")
    assert "GOOGLE_APPLICATION_CREDENTIALS" in refusal("gs://bucket/run?endpoint_override=127.0.0.1:9")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://key:secret@bucket/run", "credentials do not belong in an address"),
        ("gs://token@bucket/run", "credentials do not belong in an address"),
        ("s3:///run", "must read s3://bucket/path"),
        ("s3://bucket/run?access_key=1", "unknown option access_key: choose among endpoint_override, region, scheme"),
        ("s3://bucket/run?region", "bad query field"),
        ("s3://bucket/run#1", "must read s3://bucket/path"),
    ],
)
def test_a_malformed_address_is_refused_without_asking_anyone(uri: str, said: str):
    assert said in refusal(uri)


@pytest.mark.parametrize("uri", ["a\0b", "/tmp/a\nb", "s3://bucket/a\x7fb"])
def test_control_characters_are_no_part_of_an_address(uri: str):
    with pytest.raises(ValueError, match="control character"):
        open_storage(uri)


def reader(store: Store) -> dict[str, str]:
    """Keys of someone who may look and not touch."""
    iam = store.client("iam")
    iam.create_user(UserName="reader")
    rule = {"Effect": "Allow", "Action": ["s3:List*", "s3:Get*", "s3:Head*"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    iam.put_user_policy(UserName="reader", PolicyName="look", PolicyDocument=policy)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def test_missing_permission_is_told(keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("moto", reason="the S3 server is in the dependency group dev")
    store, server = start_store(tmp_path / "log")
    try:
        RunDirectory(store.uri("run")).write_bytes("x", b"1")
        given = reader(store)
        request = urllib.request.Request(f"http://{store.endpoint}/moto-api/reset-auth", data=b"0", method="POST")
        request.add_header("Content-Type", "text/plain")
        with urllib.request.urlopen(request, timeout=20):
            pass
        assert "permission denied: check AWS_ACCESS_KEY_ID" in refusal(store.uri("stranger"))
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        # another spelling of the address, so that it is opened with the reader's keys
        run = RunDirectory(store.uri("run/"))
        assert run.read_bytes("x") == b"1"
        with pytest.raises(ValueError, match="x cannot be written: permission denied"):
            run.write_bytes("x", b"2")
        assert run.read_bytes("x") == b"1"
    finally:
        server.kill()
        server.wait()
