"""Downloading one file whole or not at all: lock, temporary file, hash, rename.

Environment: `TLFAST_OFFLINE=1` forbids every download. Proxies come from `https_proxy`,
`http_proxy` and `no_proxy`; certificates from `SSL_CERT_FILE`, `SSL_CERT_DIR`,
`REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE`.
"""

import contextlib
import errno
import fcntl
import hashlib
import http.client
import os
import ssl
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from tlfast._shown import shown
from tlfast.saving.atomic import default_mode, sync_folder

TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 3
MAX_BYTES = 4 << 30
# Below this average over STALL_SECONDS the server counts as stuck (it sends, but drops by drop).
STALL_BYTES_PER_SECOND = 1000
STALL_SECONDS = 60.0
_BLOCK = 1 << 18


class DownloadError(OSError):
    """A file could not be downloaded; the message names the address and what to do.

    Args:
        message: the text; what a server said in it is escaped and cut.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shown(message, 2000))


def offline() -> bool:
    """Return whether TLFAST_OFFLINE forbids downloads."""
    return os.environ.get("TLFAST_OFFLINE", "") not in ("", "0")


def download(
    url: str,
    target: str | os.PathLike[str],
    digest: str | None = None,
    *,
    timeout: float = TIMEOUT,
    progress: bool = True,
    replace: bool = False,
) -> str:
    """Download a file to `target` unless a good one is there.

    Only one process downloads a target at a time; others wait and take its result. The file
    appears under its name only when it is complete, has the hash, and is on the disk.

    Args:
        url: http or https address.
        target: path of the file to make; its folder is made when missing.
        digest: expected sha256 or md5 in hex; None when it is not known.
        timeout: seconds without any data after which an attempt fails.
        progress: print the address and a progress line.
        replace: download also when a file without known hash is there.

    Returns:
        The path as text.

    Raises:
        DownloadError: offline, not found, server or network errors after three attempts,
            a truncated body, or a wrong hash.
        OSError: the folder cannot be written or the disk is full.
    """
    path = Path(target)
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in ("http", "https"):
        raise ValueError(f"{url!r} is not an http or https address")
    if offline():
        raise DownloadError(
            f"TLFAST_OFFLINE is set, so {url} is not downloaded; put the file at {path} or unset "
            "TLFAST_OFFLINE"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path, progress):
        if path.is_file() and not replace and (digest is None or file_digest(path, digest)):
            return str(path)
        _remove_leftovers(path)
        _download_locked(url, path, digest, timeout, progress)
    return str(path)


def file_digest(path: str | os.PathLike[str], expected: str) -> bool:
    """Return whether a file has the expected sha256 (64 digits) or md5 (32 digits)."""
    digest = _hasher(expected)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == expected.lower()


def _hasher(expected: str) -> "hashlib._Hash":
    if len(expected) == 64:
        return hashlib.sha256()
    if len(expected) == 32:
        return hashlib.md5(usedforsecurity=False)
    raise ValueError(
        f"a hash of {len(expected)} digits; expected 64 (sha256) or 32 (md5) hex digits"
    )


@contextlib.contextmanager
def _locked(path: Path, progress: bool) -> Iterator[None]:
    """Hold an advisory lock beside the target; the kernel drops it if this process dies."""
    lock = path.with_name(f".{path.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        said = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if progress and not said:
                    print(f"Waiting for another process that downloads {path.name}", flush=True)
                said = True
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _remove_leftovers(path: Path) -> None:
    """Remove parts of killed downloads; the lock says that nobody writes them."""
    for part in path.parent.glob(f".{path.name}.*.part"):
        part.unlink(missing_ok=True)


def _download_locked(
    url: str, path: Path, digest: str | None, timeout: float, progress: bool
) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        if progress:
            print(f"Downloading data from {url}", flush=True)
        try:
            _attempt(url, path, digest, timeout, progress)
            return
        except DownloadError:
            raise
        except OSError as exc:
            # URLError, timeouts and resets are OSErrors; a full disk and the like are not ours.
            if not _is_network_error(exc):
                raise OSError(
                    exc.errno, f"cannot write {path.name}: {exc.strerror or exc}", str(path)
                ) from exc
            reason = _reason(exc)
            if isinstance(exc, urllib.error.HTTPError):
                exc.msg = shown(exc.msg)  # the server's words, also in a traceback
                exc.close()
            if attempt == ATTEMPTS or not _is_passing(exc):
                raise DownloadError(
                    f"{url} could not be downloaded: {reason} (attempt {attempt} of {ATTEMPTS}); "
                    f"check the network and proxy, or put the file at {path}"
                ) from exc
        except http.client.HTTPException as exc:
            if attempt == ATTEMPTS:
                raise DownloadError(
                    f"{url} could not be downloaded: {exc!r} (attempt {attempt} of {ATTEMPTS}); "
                    f"put the file at {path}"
                ) from exc
        time.sleep(0.2 * 4**attempt if _is_public(url) else 0.05)


def _attempt(url: str, path: Path, digest: str | None, timeout: float, progress: bool) -> None:
    descriptor, name = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            found = _fetch(url, file, digest, timeout, progress)
            file.flush()
            os.fsync(file.fileno())
        if digest is not None and found != digest.lower():
            raise DownloadError(
                f"{url}: the downloaded file has the hash {found}, but {digest} is expected; it "
                "was discarded. The server or a proxy sent something else: try again later, or "
                f"put the right file at {path}"
            )
        os.chmod(name, default_mode())
        os.replace(name, path)
        sync_folder(path.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _fetch(url: str, file: IO[bytes], digest: str | None, timeout: float, progress: bool) -> str:
    """Copy the body of an address into a file; return its hash in the kind of `digest`."""
    hasher = _hasher(digest or "0" * 64)
    request = urllib.request.Request(url, headers={"User-Agent": "tlfast"})
    with _opener().open(request, timeout=timeout) as answer:
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        if total is not None and total > MAX_BYTES:
            raise DownloadError(f"{url}: {total} bytes, more than the {MAX_BYTES} allowed")
        show = _progress_line(total) if progress else lambda done, end: None
        done = 0
        start = window = time.monotonic()
        window_bytes = 0
        while block := answer.read1(_BLOCK):
            file.write(block)
            hasher.update(block)
            done += len(block)
            if done > MAX_BYTES:
                raise DownloadError(f"{url}: more than the {MAX_BYTES} bytes allowed")
            now = time.monotonic()
            window_bytes += len(block)
            if now - window > STALL_SECONDS:
                if window_bytes < STALL_BYTES_PER_SECOND * (now - window):
                    raise TimeoutError(f"only {done} bytes in {now - start:.0f} s")
                window, window_bytes = now, 0
            show(done, False)
        show(done, True)
    if total is not None and done != total:
        raise ConnectionResetError(errno.ECONNRESET, f"{done} of {total} bytes arrived")
    if done == 0:
        raise DownloadError(f"{url}: the server sent an empty file")
    return hasher.hexdigest()


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to anything else."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme != "https" and (req.type == "https" or scheme != "http"):
            fp.close()
            raise DownloadError(f"{req.full_url} redirects to {newurl}, which is not safe; refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    bundle = None
    if not os.environ.get("SSL_CERT_FILE"):
        names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        bundle = next((os.environ[n] for n in names if os.environ.get(n)), None)
    if bundle is not None and os.path.isdir(bundle):
        context = ssl.create_default_context(capath=bundle)
    else:
        context = ssl.create_default_context(cafile=bundle)
    https = urllib.request.HTTPSHandler(context=context)
    return urllib.request.build_opener(_SafeRedirects(), https)


def is_authentic(url: str, digest: str | None) -> bool:
    """Return whether nobody on the way can exchange the file: a hash, https, or no way."""
    return digest is not None or url.startswith("https:") or not _is_public(url)


def _is_public(url: str) -> bool:
    return urllib.parse.urlsplit(url).hostname not in ("127.0.0.1", "::1", "localhost")


def _is_network_error(exc: OSError) -> bool:
    kinds = (urllib.error.URLError, TimeoutError, ConnectionError, ssl.SSLError)
    return isinstance(exc, kinds)


def _is_passing(exc: OSError) -> bool:
    """Whether the same request may work a moment later."""
    if isinstance(exc, urllib.error.HTTPError):
        return exc.code >= 500 or exc.code in (408, 429)
    cause = exc.reason if isinstance(exc, urllib.error.URLError) else exc
    return not isinstance(cause, ssl.SSLCertVerificationError)


def _reason(exc: OSError) -> str:
    if isinstance(exc, urllib.error.HTTPError):
        return f"the server answered {exc.code} {exc.reason}"
    cause = exc.reason if isinstance(exc, urllib.error.URLError) else exc
    if isinstance(cause, TimeoutError):
        return f"no data in time ({cause or 'timed out'})"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"{cause} (SSL_CERT_FILE or REQUESTS_CA_BUNDLE names your certificates)"
    return str(cause)


def _progress_line(total: int | None) -> Callable[[int, bool], None]:
    """Return a function that shows the bytes done: a line that moves, or one at the end."""
    terminal = sys.stdout.isatty()
    last = time.monotonic() - 1

    def show(done: int, end: bool) -> None:
        nonlocal last
        now = time.monotonic()
        if not end and (not terminal or now - last < 0.1):
            return
        last = now
        share = f" of {total / 1e6:.1f} MB, {100 * done // max(total, 1)} %" if total else " MB"
        text = f"{done / 1e6:.1f}{share}"
        print(f"\r{text}" if terminal else text, end="\n" if end else "", flush=True)

    return show
