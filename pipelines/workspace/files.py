"""Bytes in and out, for local paths and `s3://` (boto3) and `gs://` (google-cloud-storage) addresses alike (docs/adr/0014)."""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from pipelines.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from google.cloud import storage


class NoSuchFileError(PermanentError):
    """There is no object at the address."""


def read_bytes(uri: str) -> bytes:
    """The whole object.

    Raises:
        PermanentError: there is none.
        TransientError: the store did not answer.
    """
    if uri.startswith("s3://"):
        bucket, key = _split(uri)
        with _s3_errors(uri):
            return bytes(_s3().get_object(Bucket=bucket, Key=key)["Body"].read())
    if uri.startswith("gs://"):
        with _gs_errors(uri):
            return bytes(_gs_blob(uri).download_as_bytes())
    with _local_errors(uri):
        return Path(_local(uri)).read_bytes()


def open_stream(uri: str) -> BufferedReader:
    """The object as a file that can be read from the start again: a remote one is copied to this machine first.

    Raises:
        PermanentError: there is none.
        TransientError: the store did not answer.
    """
    if uri.startswith(("s3://", "gs://")):
        return _downloaded(uri)
    with _local_errors(uri):
        return Path(_local(uri)).open("rb")


def _downloaded(uri: str) -> BufferedReader:
    copy = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
    try:
        if uri.startswith("s3://"):
            with _s3_errors(uri):
                _s3().download_fileobj(*_split(uri), copy)
        else:
            with _gs_errors(uri):
                _gs_blob(uri).download_to_file(copy)
    except BaseException:
        copy.close()
        raise
    copy.seek(0)
    return cast(BufferedReader, copy)


def digest_of(stream: BufferedReader) -> str:
    """SHA-256 of what a file holds from its start; it stands at the start again."""
    found = hashlib.file_digest(stream, "sha256").hexdigest()
    stream.seek(0)
    return found


@contextmanager
def writing(uri: str) -> Iterator[Path]:
    """A path of this machine to write to; in the end it is the object."""
    if not uri.startswith(("s3://", "gs://")):
        path = Path(_local(uri))
        with _local_errors(uri):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "object")
        if uri.startswith("s3://"):
            with _s3_errors(uri):
                _s3().upload_file(f"{folder}/object", *_split(uri))
        else:
            with _gs_errors(uri):
                _gs_blob(uri).upload_from_filename(f"{folder}/object")


def write_bytes(uri: str, data: bytes) -> None:
    """Write the whole object, so that a reader sees all of it or nothing."""
    if uri.startswith("s3://"):
        bucket, key = _split(uri)
        with _s3_errors(uri):
            _s3().put_object(Bucket=bucket, Key=key, Body=data)
    elif uri.startswith("gs://"):
        with _gs_errors(uri):
            _gs_blob(uri).upload_from_string(data)
    else:
        _replace(Path(_local(uri)), data)


def remove_file(uri: str) -> None:
    """Remove the object.

    Raises:
        PermanentError: there is none; S3 does not tell.
    """
    if uri.startswith("s3://"):
        bucket, key = _split(uri)
        with _s3_errors(uri):
            _s3().delete_object(Bucket=bucket, Key=key)
    elif uri.startswith("gs://"):
        with _gs_errors(uri):
            _gs_blob(uri).delete()
    else:
        with _local_errors(uri):
            Path(_local(uri)).unlink()


def file_exists(uri: str) -> bool:
    """Whether there is such an object; a folder is none."""
    return stamp_of(uri) is not None


def stamp_of(uri: str) -> str | None:
    """What changes when the object is written again, as a listing has it; None where there is none."""
    if uri.startswith("s3://"):
        bucket, key = _split(uri)
        with _s3_errors(uri):
            found = _s3().list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents", [])
            return str(found[0]["ETag"]) if found and found[0]["Key"] == key else None
    if uri.startswith("gs://"):
        bucket, key = _split(uri)
        with _gs_errors(uri):
            blob = _gs().bucket(bucket).get_blob(key)
            return blob and str(blob.etag)
    path = Path(_local(uri))
    return _stamp(path) if path.is_file() else None


class Listed(NamedTuple):
    """An object of a listing; another stamp says that it was written again."""

    uri: str
    stamp: str


def list_files(folder: str) -> list[Listed]:
    """Every object below `folder`, sorted."""
    if folder.startswith("s3://"):
        bucket, prefix = _split(folder.rstrip("/") + "/")
        with _s3_errors(folder):
            pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return sorted(Listed(f"s3://{bucket}/{o['Key']}", o["ETag"]) for page in pages for o in page.get("Contents", []))
    if folder.startswith("gs://"):
        bucket, prefix = _split(folder.rstrip("/") + "/")
        with _gs_errors(folder):
            return sorted(Listed(f"gs://{bucket}/{b.name}", str(b.etag)) for b in _gs().list_blobs(bucket, prefix=prefix))
    with _local_errors(folder):
        return sorted(Listed(str(f), _stamp(f)) for f in Path(_local(folder)).rglob("*") if f.is_file())


def _stamp(file: Path) -> str:
    found = file.stat()
    return f"{found.st_size}-{found.st_mtime_ns}"


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise TransientError(f"{path}: could not be written ({error}); free space or mend the disk, then run again") from error


@contextmanager
def _local_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NoSuchFileError(f"{uri}: no such file") from None
    except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise PermanentError(f"{uri}: {error.strerror or error}; mend what is in the way, then run again") from error
    except OSError as error:
        raise TransientError(f"{uri}: {error}; free space or mend the disk, then run again") from error


def _local(uri: str) -> str:
    return uri.removeprefix("file://")


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.split("://", 1)[1].partition("/")
    return bucket, key


@cache
def _s3() -> BaseClient:
    import boto3

    return boto3.client("s3")


@contextmanager
def _s3_errors(uri: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("NoSuchKey", "NoSuchBucket", "404"):
            raise NoSuchFileError(f"{uri}: no such {'bucket' if code == 'NoSuchBucket' else 'object'}") from None
        raise TransientError(f"{uri}: {error}") from error
    except BotoCoreError as error:
        raise TransientError(f"{uri}: {error}") from error


@contextmanager
def _gs_errors(uri: str) -> Iterator[None]:
    from google.api_core.exceptions import GoogleAPIError, NotFound

    try:
        yield
    except NotFound:
        raise NoSuchFileError(f"{uri}: no such object or bucket") from None
    except GoogleAPIError as error:
        raise TransientError(f"{uri}: {error}") from error


@cache
def _gs() -> storage.Client:
    from google.cloud import storage

    return storage.Client()


def _gs_blob(uri: str) -> storage.Blob:
    bucket, key = _split(uri)
    return _gs().bucket(bucket).blob(key)
