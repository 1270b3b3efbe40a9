"""Certificates for servers in tests."""

import subprocess
from pathlib import Path

__all__ = ["make_certificate"]

_COMMAND = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A new certificate for 127.0.0.1, signed by itself, and its private key: ``cert.pem`` and ``key.pem``."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*_COMMAND.split(), *names], check=True, capture_output=True)
    return certificate, key
