"""Secrets are hidden in whatever is printed or written, and nothing else is changed."""

import pytest

from flowerti.artifacts.masking import holds_credentials, masked

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    "text",
    [
        f"s3://AKIAIOSFODNN7:{SECRET}@bucket/run",
        f"run directory 's3://AKIAIOSFODNN7:{SECRET}@bucket/run?scheme=http' cannot be opened",
        f'"uri": "hdfs://user:{SECRET}@host:9000/x", "b": 1',
        f"gs://{SECRET.replace('/', '')}@bucket/run",
        f"https://host/x?a=1&X-Amz-Signature={SECRET}&b=2",
        f"https://host/x?secret_key={SECRET}",
        f"abfs://container@account.net/x?sig={SECRET}",
        f"http://user:pass{SECRET}@[::1]:80/x and http://a:{SECRET}@b/y",
    ],
)
def test_a_secret_is_hidden_and_the_rest_stays(text: str):
    found = masked(text)
    assert SECRET not in found and SECRET.replace("/", "") not in found
    assert SECRET[-12:] not in found and SECRET[:8] not in found
    assert "***" in found
    assert masked(found) == found
    assert holds_credentials(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/runs/a?endpoint_override=host:9000&scheme=http",
        "s3://bucket/run/concepts/@all/shared_lora.json",
        "file:///tmp/a b/c@d",
        "/data/me@work/run",
        "data.root: /x: 3 of 4: a@b",
        "abfs://container@account.dfs.core.windows.net/run",
        "https://arxiv.org/abs/2208.01618?page=1",
        "127.0.0.1:6379",
        "a photo of a {} @ noon",
    ],
)
def test_other_texts_come_back_as_they_are(text: str):
    assert masked(text) == text


def test_what_secret_variables_hold_is_hidden(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "test")
    assert masked(f"the key {SECRET} of a test") == "the key *** of a test"
