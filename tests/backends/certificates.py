"""Certificates for servers on this machine. It starts none."""

import shutil
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def certify(directory: Path, *, owner: str | None = None) -> tuple[Path, Path]:
    """Make a certificate for ``localhost`` and 127.0.0.1, which is its own authority, and its key; return both files.

    They are ``authority.pem`` and ``key.pem`` in *directory*; only the *owner*, a system user, may read the key.
    """
    authority, secret = directory / "authority.pem", directory / "key.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    places = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(places), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    authority.write_bytes(certificate.public_bytes(encoding))
    secret.touch(0o600)
    secret.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    if owner is not None:
        shutil.chown(secret, owner)
    return authority, secret
