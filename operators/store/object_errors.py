"""What a bucket's no means, of the three services that obstore speaks to, in our own errors. Imports no obstore.

The texts of its errors are all that it gives, and hold whole requests, whose addresses may be signed: a message of ours
takes the status, code and sentence of the service, and nothing else.
"""

from __future__ import annotations

import re
from typing import Any

from operators.store.retries import MayPass, NoCredentials, Refused
from schemas.errors import InputError, StoreLost

_STATUS = re.compile(r"status code: (\d{3})[^:\n]*(?::\s*(.*))?", re.DOTALL)
_CODE = re.compile(r"<Code>([^<]{1,100})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})")
_ODD_KEY = re.compile(r'Path "(.*)"(?: contained empty path segment|: Encountered illegal)', re.DOTALL)
_CREDENTIALS = re.compile(
    r"/latest/api/token|/latest/meta-data|/computeMetadata/|/metadata/identity|[Tt]oken request|token file|"
    r"service account file|credential provider|Account must be specified"
)
NO_SUCH_RANGE = 416
_PASSING = frozenset((408, 409, 425, 429, *range(500, 600))) - {501, 505}
_PASSING_CODES = frozenset(("RequestTimeout", "IncompleteBody"))
"""Of S3, with status 400."""
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_BUSY = ("ConditionalRequestConflict", "OperationAborted", "ContainerBeingDeleted", "ContainerBeingCreated")
"""Codes of 409: another writer was at it, and nobody can say yet who came first. obstore takes it for "is there"."""
_WRONG_REGION = ("BareRedirect", "redirect without LOCATION", "AuthorizationHeaderMalformed", "PermanentRedirect")
_DEFINITE = (
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"),
    *("RequestTimeTooSkewed", "AccountProblem", "AllAccessDisabled", "AuthenticationFailed", "InvalidSecurity"),
)
"""Codes that are about who asks, not about what is asked for, and that no waiting changes."""


class NoBucket(OSError):
    """The bucket is not there."""


class OddKey(OSError):
    """A listing came to a key that no object can be asked for by."""


def translated(error: Exception, bucket: str, key: str, kinds: Any) -> Exception:
    """What to raise for an error of obstore; another error as it is. bucket: its address. kinds: obstore's module of
    exceptions."""
    place, text = f"{bucket}/{key}", str(error)
    if not isinstance(error, (kinds.BaseError, OSError)):
        return error
    code, sentence = status_of(error), sentence_of(error)
    if any(name in text for name in _NO_BUCKET):
        return NoBucket(f"{bucket} is not there")
    if isinstance(error, kinds.InvalidPathError):
        odd = _ODD_KEY.search(text)
        named = f"has the key {odd[1]!r}" if odd else sentence
        return OddKey(
            f"{place.rstrip('/')} cannot be listed: it {named}, and a key with an empty name, `.`, `..` or a control "
            "character cannot be asked for; name a folder without such keys, or a table of addresses"
        )
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"{place} is not there")
    if any(name in text for name in _WRONG_REGION):
        return OSError(f"{bucket} lies in another region than AWS_REGION says ({sentence})")
    if _CODE.search(text) is None and _CREDENTIALS.search(text.partition("\n\nDebug source:")[0]):
        return NoCredentials(f"{bucket}: no credentials: {sentence}; docs/buckets.md lists the variables")
    if any(f"<Code>{name}<" in text for name in _DEFINITE):
        return StoreLost(f"{bucket} lets nobody in with these credentials: {sentence}")
    if isinstance(error, (kinds.PermissionDeniedError, kinds.UnauthenticatedError)) or code in (401, 403):
        return Refused(f"{place}: {sentence}")
    if isinstance(error, kinds.AlreadyExistsError) and is_busy(error):
        return MayPass(sentence)
    if isinstance(error, kinds.PreconditionError):
        return InputError("changed", f"{place} was changed after it was listed")
    if code == NO_SUCH_RANGE:
        return InputError("changed", f"{place} is shorter than when it was listed")
    its_code = _CODE.search(text)
    if isinstance(error, kinds.GenericError) and (
        code is None or code in _PASSING or (its_code is not None and its_code[1] in _PASSING_CODES)
    ):
        return MayPass(sentence)
    return OSError(f"{place}: {sentence}")


def is_busy(error: Exception) -> bool:
    return any(name in str(error) for name in _BUSY)


def knows_no_conditions(error: Exception, kinds: Any) -> bool:
    """Of a put with a condition: a store that does not know them says so by 501, and older ones by 400."""
    code = _CODE.search(str(error))
    unknown = code is not None and code[1] in ("NotImplemented", "InvalidArgument")
    status = status_of(error)
    return status == 501 or (status == 400 and unknown) or isinstance(error, kinds.NotSupportedError)


def may_be_done(error: Exception) -> bool:
    """Whether a write that ended so may have been done: the answer of a store that says no is an answer."""
    status = status_of(error)
    return status is None or (status >= 500 and status != 503)


def status_of(error: Exception) -> int | None:
    status = _STATUS.search(str(error))
    return int(status[1]) if status else None


def sentence_of(error: Exception) -> str:
    """Without addresses, and without what obstore prints for debugging."""
    text = str(error).split("\n\nDebug source:")[0]
    if status := _STATUS.search(text):
        code, message = _CODE.search(text), _MESSAGE.search(text)
        words = ": ".join(" ".join(part[1].split()) for part in (code, message) if part)
        return f"status {status[1]}" + (f", {words}" if words else "")
    return re.sub(r"https?://\S+", "…", " ".join(text.split()))[:300]
