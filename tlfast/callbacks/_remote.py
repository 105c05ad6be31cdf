"""The logs of every epoch sent to a server."""

import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlfast.callbacks._base import Callback

_SECONDS = 10  # a server that hangs does not hold up the training for longer


class RemoteMonitor(Callback):
    """Sends the logs of every epoch to a server by HTTP POST.

    A server that cannot be reached or refuses is a warning; the training goes on.

    Args:
        root: address of the server, http or https.
        path: path on the server.
        field: name of the form's field with the JSON text; not used with `send_as_json`.
        headers: further HTTP headers.
        send_as_json: send the JSON text itself instead of a form.

    Raises:
        ValueError: `root` is no address of the web.
    """

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: Mapping[str, str] | None = None,
        send_as_json: bool = False,
    ) -> None:
        super().__init__()
        if not root.startswith(("http://", "https://")):
            raise ValueError(
                f"RemoteMonitor(root={root!r}): expected an address that begins with http:// or "
                "https://, such as 'http://localhost:9000'."
            )
        self.root = root
        self.path = path
        self.field = field
        self.headers = headers
        self.send_as_json = send_as_json

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Send the epoch's number and logs."""
        import http.client
        import urllib.parse
        import urllib.request

        values = {key: _plain(value) for key, value in (logs or {}).items()}
        text = json.dumps({"epoch": epoch, **values})
        kind = "application/json"
        if not self.send_as_json:
            text = urllib.parse.urlencode({self.field: text})
            kind = "application/x-www-form-urlencoded"
        headers = {"Content-Type": kind, **(self.headers or {})}
        request = urllib.request.Request(self.root + self.path, text.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS):
                pass
        except (OSError, http.client.HTTPException) as error:  # those of urllib are OSErrors
            warnings.warn(
                f"Could not reach RemoteMonitor root server at {self.root} ({error})", stacklevel=2
            )


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
