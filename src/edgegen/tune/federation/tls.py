"""Certificates for the server and keys for the sites, made by one function, or given as files.

The server proves who it is by a certificate that an authority of this run signed; a site proves who it is by a key that the
server was told. Made for machines that one operator runs; where there is an authority already, its files are taken.
"""

import datetime as dt
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgegen.core.errors import ConfigError

VALID_DAYS = 365


@dataclass(frozen=True)
class Certificates:
    """Files that a TLS server needs, and the authority that its clients check it by."""

    authority: Path  # goes to every site
    certificate: Path
    key: Path  # stays at the server

    def check(self) -> "Certificates":
        """Return the same if every file is there. **Raises** `ConfigError` that names the one that is not."""
        for name, path in vars(self).items():
            if not path.is_file():
                raise ConfigError(f"there is no file {path} for the {name} of the server", param=name)
        return self


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name: nobody knows what it will mean


def make_certificates(folder: Path, hosts: list[str]) -> Certificates:
    """Write an authority and a server certificate for these names and addresses into `folder`; what is there stays."""
    made = Certificates(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    if all(path.is_file() for path in vars(made).values()):
        return made
    folder.mkdir(parents=True, exist_ok=True)
    authority_key, server_key = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    authority = _certificate("edgegen run authority", authority_key, None, authority_key, [])
    server = _certificate(hosts[0], server_key, authority, authority_key, hosts)
    made.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    made.certificate.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    _write_secret(
        made.key,
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    return made


def make_site_key(folder: Path, site: int) -> tuple[Path, Path]:
    """Return the private and the public key file of a site; a key that is there stays, and with it who the site is."""
    private, public = folder / f"site-{site}.key", folder / f"site-{site}.pub"
    if not (private.is_file() and public.is_file()):
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP384R1())
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        _write_secret(private, secret)
        public.write_bytes(
            key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        )
    return private, public


def _write_secret(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def _certificate(name: str, key, issuer: x509.Certificate | None, signer, hosts: list[str]) -> x509.Certificate:
    """Return a certificate of `key`: an authority that signs itself, or a server's that an authority signs."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))  # clocks of other machines
        .not_valid_after(now + dt.timedelta(days=VALID_DAYS))
        .add_extension(
            x509.BasicConstraints(ca=issuer is None, path_length=0 if issuer is None else None), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(_usage(issuer is None), critical=True)
    )
    if hosts:
        names = x509.SubjectAlternativeName([_host(host) for host in hosts])
        purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(names, critical=False).add_extension(purpose, critical=False)
    return builder.sign(signer, hashes.SHA384())


def _usage(authority: bool) -> x509.KeyUsage:
    rest = (
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=authority, crl_sign=authority, **dict.fromkeys(rest, False)
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
