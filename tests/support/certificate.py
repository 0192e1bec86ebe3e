"""A certificate for servers of a test's own, which nobody else trusts."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Certificate:
    """Signed by itself, for 127.0.0.1, and made in ``folder`` by openssl's own program."""

    def __init__(self, folder: Path) -> None:
        self.path, self.key = folder / "certificate.pem", folder / "key.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-keyout", self.key, "-out", self.path, "-days", "2", "-subj", "/CN=127.0.0.1"),
                *("-addext", "subjectAltName=IP:127.0.0.1"),
                *("-addext", "keyUsage=critical,digitalSignature,keyCertSign"),
            ],
            check=True,
            capture_output=True,
            timeout=200,
        )
