# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests: authorities, what they sign, and the files, also those that nobody should have.

    ca = Authority("Ringbolt test root")
    issuing = ca.intermediate("Ringbolt test intermediate")
    server = issuing.issue(["localhost", "127.0.0.1"])
    server.write(folder, "server")          → {"chain": ".../server.pem", "key": ".../server.key"}
"""
import datetime
import functools
import hashlib
import ipaddress
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
FORMATS = {"pkcs8": PrivateFormat.PKCS8, "traditional": PrivateFormat.TraditionalOpenSSL}  # the latter: PKCS#1, SEC1


def key_make(kind):
    if kind == "ecdsa":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "p384":
        return ec.generate_private_key(ec.SECP384R1())
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, int(kind[3:] or 2048))  # rsa, rsa1024 …


@functools.lru_cache(maxsize=None)
def key_shared(kind):
    """One key of a kind for everything that does not care: RSA takes a while."""
    return key_make(kind)


def fingerprint(der):
    return hashlib.sha256(der).hexdigest()


def alternative(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def key_usage(*names):
    known = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: name in names for name in known})


class Pair:
    """A certificate, its private key, and the intermediates that go with it."""

    def __init__(self, certificate, key, intermediates=()):
        self.certificate, self.key, self.intermediates = certificate, key, list(intermediates)
        self.der = certificate.public_bytes(Encoding.DER)
        self.fingerprint = fingerprint(self.der)
        self.id = self.fingerprint[:16]  # as the log names it

    def leaf_pem(self):
        return self.certificate.public_bytes(Encoding.PEM)

    def chain_pem(self):
        return self.leaf_pem() + b"".join(one.public_bytes(Encoding.PEM) for one in self.intermediates)

    def key_pem(self, passphrase=None, form="pkcs8", encoding=Encoding.PEM):
        encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
        return self.key.private_bytes(encoding, FORMATS[form], encryption)

    def pkcs12(self, passphrase):
        return pkcs12.serialize_key_and_certificates(b"test", self.key, self.certificate, self.intermediates,
                                                     BestAvailableEncryption(passphrase.encode()))

    def write(self, folder, name, **options):
        """The files, each whole at once; as an entry of `certificates`."""
        entry = {"chain": os.path.join(folder, f"{name}.pem"), "key": os.path.join(folder, f"{name}.key")}
        write_whole(entry["key"], self.key_pem(**options), 0o600)
        write_whole(entry["chain"], self.chain_pem())
        return entry


def write_whole(path, data, mode=0o644):
    """A file that is there whole or not at all."""
    beside = f"{path}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as f:
        f.write(data)
    os.rename(beside, path)
    return path


class Authority(Pair):
    def __init__(self, name, kind="ecdsa", issuer=None, days=30):
        self.kind = kind
        self.serials = {}
        key = key_make(kind)
        builder = self._builder(name, key.public_key(), (issuer.certificate if issuer else None), -1, days)
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        builder = builder.add_extension(key_usage("key_cert_sign", "crl_sign"), critical=True)
        certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
        super().__init__(certificate, key, [certificate, *issuer.intermediates] if issuer else [])

    @staticmethod
    def _builder(name, public_key, issuer, start_days, end_days):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
        now = datetime.datetime.utcnow().replace(microsecond=0)
        builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer.subject if issuer else subject,
                                          public_key=public_key, serial_number=x509.random_serial_number(),
                                          not_valid_before=now + start_days * DAY, not_valid_after=now + end_days * DAY)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        if issuer:
            identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        return builder

    def intermediate(self, name, **options):
        return Authority(name, issuer=self, **options)

    def issue(self, names=("localhost", "127.0.0.1", "::1"), subject=None, kind="ecdsa", key=None, days=(-1, 7), usage="server",
              key_usages=("digital_signature",)):
        """days: from when until when, counted from now. usage: server, client, or none."""
        key = key or (key_shared(kind) if kind.startswith("rsa") else key_make(kind))
        builder = self._builder(names[0] if subject is None and names else subject, key.public_key(), self.certificate, *days)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        if key_usages:
            builder = builder.add_extension(key_usage(*key_usages), critical=True)
        if usage:
            purpose = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}[usage]
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([alternative(name) for name in names]), critical=False)
        return Pair(builder.sign(self.key, hashes.SHA256()), key, self.intermediates)

    def client(self, name="alice", **options):
        return self.issue(names=(), subject=name, usage="client", **options)

    def crl(self, revoked=(), days=(-1, 7), encoding=Encoding.PEM):
        now = datetime.datetime.utcnow().replace(microsecond=0)
        builder = x509.CertificateRevocationListBuilder(self.certificate.subject, now + days[0] * DAY, now + days[1] * DAY)
        for pair in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder(pair.certificate.serial_number, now - DAY).build())
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(identifier, critical=False).add_extension(x509.CRLNumber(1), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(encoding)


# ---- ways in which others replace files

class InPlace:
    """As `cp` and editors do it: the same files, cut to nothing and written anew, one after the other."""

    def __init__(self, folder, pair):
        self.folder = folder
        self.entry = pair.write(folder, "tls")

    def replace(self, pair, chain=True, key=True):
        if chain:
            with open(self.entry["chain"], "wb") as f:
                f.write(pair.chain_pem())
        if key:
            with open(self.entry["key"], "wb") as f:
                f.write(pair.key_pem())


class Rename:
    """As careful programs do it: each file beside the old one, then renamed over it."""

    def __init__(self, folder, pair):
        self.folder = folder
        self.entry = pair.write(folder, "tls")

    def replace(self, pair, chain=True, key=True):
        if chain:
            write_whole(self.entry["chain"], pair.chain_pem())
        if key:
            write_whole(self.entry["key"], pair.key_pem(), 0o600)


class Certbot:
    """live/NAME/fullchain.pem is a link to ../../archive/NAME/fullchainN.pem; each is removed and made again."""

    def __init__(self, folder, pair):
        self.live, self.archive = os.path.join(folder, "live", "name"), os.path.join(folder, "archive", "name")
        os.makedirs(self.live)
        os.makedirs(self.archive)
        self.version = 0
        self.entry = {"chain": os.path.join(self.live, "fullchain.pem"), "key": os.path.join(self.live, "privkey.pem")}
        self.replace(pair)

    def replace(self, pair, chain=True, key=True):
        self.version += 1
        kinds = [("privkey", pair.key_pem(), 0o600)] if key else []
        kinds += [("fullchain", pair.chain_pem(), 0o644)] if chain else []
        for kind, data, mode in kinds:
            write_whole(os.path.join(self.archive, f"{kind}{self.version}.pem"), data, mode)
        for kind, _, _ in kinds:
            link = os.path.join(self.live, f"{kind}.pem")
            if os.path.lexists(link):
                os.unlink(link)
            os.symlink(f"../../archive/name/{kind}{self.version}.pem", link)


class Secret:
    """A mounted secret or config map, as the kubelet keeps it: NAME is a link to ..data/NAME, and ..data one to a folder with a date,
    which is swapped by rename; the old folder goes."""

    def __init__(self, folder, files, mode=0o600, group=-1):
        self.folder, self.mode, self.group, self.version = folder, mode, group, 0
        os.mkdir(folder)
        self.replace(files)
        for name in files:
            os.symlink(f"..data/{name}", os.path.join(folder, name))

    def replace(self, files):
        self.version += 1
        data, fresh = os.path.join(self.folder, "..data"), f"..2026_11_21_{self.version:06}"
        old = os.readlink(data) if os.path.lexists(data) else None
        os.mkdir(os.path.join(self.folder, fresh))
        for name, content in files.items():
            path = write_whole(os.path.join(self.folder, fresh, name), content, self.mode)
            os.chown(path, -1, self.group)
        os.symlink(fresh, data + "_tmp")
        os.rename(data + "_tmp", data)
        if old:
            for name in os.listdir(os.path.join(self.folder, old)):
                os.unlink(os.path.join(self.folder, old, name))
            os.rmdir(os.path.join(self.folder, old))


class Kubernetes:
    """A secret of the type kubernetes.io/tls."""

    def __init__(self, folder, pair, **options):
        self.folder = os.path.join(folder, "secret")
        self.entry = {"chain": os.path.join(self.folder, "tls.crt"), "key": os.path.join(self.folder, "tls.key")}
        self.files = {"tls.crt": pair.chain_pem(), "tls.key": pair.key_pem()}
        self.secret = Secret(self.folder, self.files, **options)

    def replace(self, pair, chain=True, key=True):
        if chain:
            self.files["tls.crt"] = pair.chain_pem()
        if key:
            self.files["tls.key"] = pair.key_pem()
        self.secret.replace(self.files)


WAYS = {"in_place": InPlace, "rename": Rename, "certbot": Certbot, "kubernetes": Kubernetes}


class Hidden(InPlace):
    """Written through another name in another folder, which no watch on the files' own folder sees: for HUP and `reload`."""

    def __init__(self, folder, pair):
        super().__init__(folder, pair)
        self.names = {}
        for kind, path in self.entry.items():
            self.names[kind] = os.path.join(folder, "elsewhere", kind)
            os.makedirs(os.path.dirname(self.names[kind]), exist_ok=True)
            os.link(path, self.names[kind])

    def replace(self, pair, chain=True, key=True):
        for kind, data in (("chain", pair.chain_pem() if chain else None), ("key", pair.key_pem() if key else None)):
            if data is not None:
                with open(self.names[kind], "wb") as f:
                    f.write(data)
