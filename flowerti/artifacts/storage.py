"""Opens the file system of a run directory: a local disk, S3 or GCS, all through pyarrow.

An object store is validated when a process first opens it, so that a wrong bucket name, a missing permission or an
unreachable endpoint fails within seconds and with a single-sentence error. Credentials are read from the environment,
never from the address, which is logged and written to files. This module does not know what is stored.
"""

import datetime
import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from flowerti.artifacts.masking import holds_credentials, masked

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class _Retries:
    """Retry limits for a store that does not respond."""

    s3_num_attempts: int
    gcs_limit_s: int


_AT_START_UP = _Retries(s3_num_attempts=3, gcs_limit_s=4)
"""Short, because the user is waiting for the run to start."""
_DURING_A_RUN = _Retries(s3_num_attempts=6, gcs_limit_s=60)
"""A short outage of the store must not end a run."""
_OPTIONS = {"s3": {"endpoint_override", "scheme", "region"}, "gs": {"endpoint_override", "scheme", "anonymous"}}
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's role",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or the machine's service account",
}


def open_storage(uri: str) -> "tuple[FileSystem, str]":
    """Resolve a path or address to a file system and a path in it; checks that the bucket of an object store exists.

    Args:
        uri: a local path, file://..., s3://bucket/path or gs://bucket/path. Object stores accept `endpoint_override`,
            `scheme` and, on S3, `region` as options: s3://bucket/path?endpoint_override=host:port&scheme=http.

    Raises:
        ValueError: the address is malformed, or its bucket is missing, not readable or unreachable.
    """
    from pyarrow import fs

    if any(ord(character) < 32 or ord(character) == 127 for character in uri):
        raise ValueError(f"run directory {masked(uri)!r} holds a control character: choose another name")
    if "://" in uri:
        return _open_address(uri)
    path = os.path.abspath(uri)
    if any("\ud800" <= character <= "\udfff" for character in path):
        raise ValueError(f"run directory {path!a} holds bytes that are no UTF-8: choose another name")
    return fs.LocalFileSystem(), path


@functools.lru_cache(maxsize=16)
def _open_address(uri: str) -> "tuple[FileSystem, str]":
    from pyarrow import fs

    scheme = uri.partition("://")[0]
    try:
        if scheme not in _OPTIONS:
            if holds_credentials(uri):
                raise ValueError("credentials do not belong in an address: set them in the environment")
            return fs.FileSystem.from_uri(uri)
        parts = urlsplit(uri)
        bucket, options = _bucket_of(parts), _options_of(parts)
        open_with = functools.partial(_open_s3, bucket) if scheme == "s3" else _open_gcs
        is_there = open_with(options, _AT_START_UP).get_file_info(bucket).type != fs.FileType.NotFound
        filesystem = open_with(options, _DURING_A_RUN)
    except (ValueError, OSError) as error:
        told = f"run directory {masked(uri)!r} cannot be opened: {masked(reason_of(scheme, error))}"
        # the error of another scheme's library may hold the address, and a traceback would show it
        raise ValueError(told) from (None if holds_credentials(uri) else error)
    if not is_there:
        told = f"run directory {masked(uri)!r} cannot be opened: there is no bucket {bucket!r}: create it first"
        raise ValueError(told)
    return filesystem, f"{bucket}/{unquote(parts.path).strip('/')}".rstrip("/")


def _bucket_of(parts: SplitResult) -> str:
    # a secret with a slash, as Amazon makes them, ends the part before the path: the whole address is looked at
    if "@" in parts.netloc or ":" in parts.netloc or holds_credentials(parts.geturl().partition("?")[0]):
        raise ValueError(f"credentials do not belong in an address: set {_CREDENTIALS[parts.scheme]}")
    if not parts.netloc or parts.fragment:
        raise ValueError(f"it must read {parts.scheme}://bucket/path")
    return parts.netloc


def _options_of(parts: SplitResult) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    unknown = set(options) - _OPTIONS[parts.scheme]
    if unknown:
        known = ", ".join(sorted(_OPTIONS[parts.scheme]))
        raise ValueError(f"unknown option {', '.join(sorted(unknown))}: choose among {known}")
    return options


def _open_s3(bucket: str, options: dict[str, str], retries: _Retries) -> "FileSystem":
    from pyarrow import fs

    endpoint = _endpoint_of_environment() | options
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    is_amazon = "endpoint_override" not in endpoint
    return fs.S3FileSystem(
        region=region or (fs.resolve_s3_region(bucket) if is_amazon else "us-east-1"),
        endpoint_override=endpoint.get("endpoint_override"),
        scheme=endpoint.get("scheme"),
        connect_timeout=_TIMEOUT_S / 2,
        request_timeout=_TIMEOUT_S,
        # a small file is one request in place of three
        allow_delayed_open=True,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=retries.s3_num_attempts),
    )


def _endpoint_of_environment() -> dict[str, str]:
    # standard variables of the AWS SDKs, which pyarrow does not read
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return {}
    scheme, mark, host = url.partition("://")
    if not mark or not host:
        raise ValueError(f"AWS_ENDPOINT_URL: {url!r} must read http://host:port or https://host:port")
    return {"scheme": scheme, "endpoint_override": host.rstrip("/")}


def _open_gcs(options: dict[str, str], retries: _Retries) -> "FileSystem":
    from pyarrow import fs

    return fs.GcsFileSystem(
        anonymous=options.get("anonymous") == "true",
        endpoint_override=options.get("endpoint_override"),
        scheme=options.get("scheme"),
        # the client's default is 15 minutes
        retry_time_limit=datetime.timedelta(seconds=retries.gcs_limit_s),
    )


_DENIED = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "HTTP status 403", "PERMISSION_DENIED")
_UNREACHABLE = ("NETWORK_CONNECTION", "CURL error", "curlCode")
_NO_TOKEN = ("Could not create a OAuth2 access token", "UNAUTHENTICATED")


def is_denied(error: Exception) -> bool:
    """Whether an object store rejected a request because of missing permissions."""
    return any(word in str(error) for word in _DENIED)


def reason_of(scheme: str, error: Exception) -> str:
    """Format an object store's error as one sentence: the problem, a remedy, and the original message."""
    text = " ".join(str(error).split())
    where = _CREDENTIALS.get(scheme, "")
    if is_denied(error):
        return f"permission denied: check {where}, and what they may read and write ({text})"
    if any(word in text for word in _NO_TOKEN):
        return f"no valid credentials: set {where} ({text})"
    if "NO_SUCH_BUCKET" in text or ("Bucket" in text and "not found" in text):
        return f"there is no such bucket: create it first ({text})"
    if any(word in text for word in _UNREACHABLE):
        return f"the store cannot be reached: check network, endpoint and region ({text})"
    return text
