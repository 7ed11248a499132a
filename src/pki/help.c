// SPDX-License-Identifier: Apache-2.0
// Help texts, a command each.
#include "src/pki/options.h"

#define PASSPHRASE_HELP                                                                                      \
    "SOURCE of a passphrase: env:NAME (an environment variable), file:PATH (its first line) or prompt (the " \
    "terminal).\n"

#define WISH_HELP                                                                                            \
    "      --profile WORD         server (default), client, peer (both), ocsp (signs OCSP responses) or "    \
    "ca\n"                                                                                                   \
    "      --subject NAME         such as \"O=Example, CN=localhost\"; known are DC C ST L street "          \
    "postalCode O OU\n"                                                                                      \
    "                             title GN SN CN UID serialNumber emailAddress\n"                            \
    "      --name NAME            a host's name or address, an email address or a URI; as often as there "   \
    "are names\n"                                                                                            \
    "      --days N               validity (default: 397; an authority 3650, one below another 1825)\n"      \
    "      --not-before, --not-after WHEN\n"                                                                 \
    "                             2027-01-31 or 2027-01-31T12:00:00Z instead\n"                              \
    "      --digest WORD          sha256, sha384 or sha512 (default: as suits the key that signs)\n"         \
    "      --path-length N        of an authority: so many authorities below it, or none (default: any "     \
    "number)\n"                                                                                              \
    "      --key-usage WORD, --extended-key-usage WORD\n"                                                    \
    "                             instead of the profile's; as often as needed\n"                            \
    "      --crl-url, --ocsp-url, --ca-issuers-url URL\n"                                                    \
    "                             where clients find the issuer's CRL, OCSP responder and certificate\n"     \
    "      --must-staple          the server promises to staple an OCSP response\n"

const char help_general[] =
    "A certificate authority for tests and private networks.\n"
    "\n"
    "Usage: ringbolt pki COMMAND …\n"
    "\n"
    "  make         a whole hierarchy from one YAML file: root, intermediates, certificates\n"
    "  key          a private key\n"
    "  csr          a request for a certificate, to be signed by an authority\n"
    "  sign         a certificate for a request\n"
    "  self-signed  a certificate that its own key signs; with --profile ca an authority\n"
    "  renew        the same certificate with new validity\n"
    "  revoke       take a certificate back\n"
    "  crl          the list of what is revoked\n"
    "  pkcs12       key and certificates in one file\n"
    "  show         what is in a file\n"
    "\n"
    "ringbolt pki COMMAND --help says more. Nothing is overwritten without --force.\n"
    "Exit status: 0 success; 1 it failed; 2 wrong usage; 3 the YAML file, or a file that it names, is bad.\n";

const char help_make[] =
    "Usage: ringbolt pki make -c FILE [--out FOLDER] [--force]\n"
    "\n"
    "Makes what the YAML file describes: for each entry NAME.key and NAME.pem, for certificates "
    "NAME-chain.pem (it and\n"
    "its intermediates), for authorities NAME.db (what was issued). What is there and right is kept, so it "
    "can be run\n"
    "again; conf/pki.yaml shows every key of the file.\n"
    "\n"
    "  -c, --config FILE  the YAML file\n"
    "  -o, --out FOLDER   where the files go; it is made if need be (default: the current one)\n"
    "      --force        replace what is there and does not fit the YAML file\n";

const char help_key[] =
    "Usage: ringbolt pki key --out FILE [--type TYPE] [--passphrase SOURCE] [--force]\n"
    "\n"
    "  -o, --out FILE           the new key, PKCS#8 in PEM, with mode 0600\n"
    "      --type TYPE          ec:P-256 (default), ec:P-384, ec:P-521, rsa:2048 to rsa:8192 or ed25519\n"
    "      --passphrase SOURCE  encrypt it\n"
    "      --force              replace FILE if it is there\n"
    "\n" PASSPHRASE_HELP;

const char help_csr[] = "Usage: ringbolt pki csr --key FILE --out FILE [--subject NAME] [--name NAME …] …\n"
                        "\n"
                        "  -o, --out FILE             the new request\n"
                        "      --key FILE             the private key\n"
                        "      --passphrase SOURCE    of the key (default: ask, if it is encrypted)\n"
                        "      --subject NAME         such as \"O=Example, CN=localhost\"\n"
                        "      --name NAME            a host's name or address, an email address or a URI; "
                        "as often as there are names\n"
                        "      --profile WORD         ask for the usages of server, client, peer, ocsp or ca "
                        "(default: for none)\n"
                        "      --key-usage, --extended-key-usage WORD\n"
                        "                             ask for these instead\n"
                        "      --must-staple          ask for the promise to staple\n"
                        "      --digest WORD          sha256, sha384 or sha512\n"
                        "      --force                replace FILE if it is there\n"
                        "\n" PASSPHRASE_HELP;

const char help_sign[] =
    "Usage: ringbolt pki sign --ca FILE --csr FILE --out FILE [--profile WORD] [--copy WHAT] …\n"
    "\n"
    "Takes key and subject of the request; of what else it asks for only what --copy names.\n"
    "\n"
    "      --ca FILE              the authority's certificate\n"
    "      --ca-key FILE          its key (default: NAME.key beside NAME.pem)\n"
    "      --ca-passphrase SOURCE of that key (default: ask, if it is encrypted)\n"
    "      --csr FILE             the request\n"
    "  -o, --out FILE             the new certificate\n"
    "      --chain FILE           it and the authority's file, less any root: what a server sends\n"
    "      --copy WHAT            of the request: names, key-usage, extended-key-usage, must-staple or "
    "all\n" WISH_HELP "      --force                replace files that are there\n"
    "\n" PASSPHRASE_HELP;

const char help_self_signed[] =
    "Usage: ringbolt pki self-signed --key FILE --out FILE [--profile WORD] --subject NAME [--name NAME …] "
    "…\n"
    "\n"
    "  -o, --out FILE             the new certificate\n"
    "      --key FILE             the private key\n"
    "      --passphrase SOURCE    of the key (default: ask, if it is encrypted)\n" WISH_HELP
    "      --force                replace FILE if it is there\n"
    "\n" PASSPHRASE_HELP;

const char help_revoke[] =
    "Usage: ringbolt pki revoke --ca FILE (CERTIFICATE | --serial HEX) [--reason WORD | --release]\n"
    "\n"
    "Writes it into the authority's database (NAME.db beside NAME.pem). Clients learn of it by the next "
    "`ringbolt pki crl`.\n"
    "\n"
    "      --ca FILE      the authority's certificate\n"
    "      --serial HEX   the serial number instead of the certificate's file\n"
    "      --reason WORD  unspecified (default), keyCompromise, CACompromise, affiliationChanged, "
    "superseded,\n"
    "                     cessationOfOperation, certificateHold, privilegeWithdrawn or AACompromise\n"
    "      --release      end a certificateHold\n";

const char help_crl[] =
    "Usage: ringbolt pki crl --ca FILE [--out FILE] [--days N | --next-update WHEN] [--force]\n"
    "\n"
    "      --ca FILE              the authority's certificate\n"
    "      --ca-key FILE          its key (default: NAME.key beside NAME.pem)\n"
    "      --ca-passphrase SOURCE of that key (default: ask, if it is encrypted)\n"
    "  -o, --out FILE             the CRL (default: NAME.crl beside NAME.pem)\n"
    "      --der                  binary, as RFC 5280 wants it behind an http address (default: PEM)\n"
    "      --days N               until the next one has to be there (default: 30)\n"
    "      --next-update WHEN     2027-01-31 or 2027-01-31T12:00:00Z instead\n"
    "      --digest WORD          sha256, sha384 or sha512 (default: as suits the key)\n"
    "      --force                replace the CRL that is there\n"
    "\n" PASSPHRASE_HELP;

const char help_pkcs12[] =
    "Usage: ringbolt pki pkcs12 --cert FILE --key FILE --out FILE [--out-passphrase SOURCE] …\n"
    "\n"
    "      --cert FILE              the certificate, and its chain if the file holds it\n"
    "      --key FILE               its private key\n"
    "      --passphrase SOURCE      of the key (default: ask, if it is encrypted)\n"
    "      --chain FILE             more certificates to put in\n"
    "  -o, --out FILE               the new file, with mode 0600\n"
    "      --out-passphrase SOURCE  of the new file (default: ask)\n"
    "      --friendly-name TEXT     how importers call it\n"
    "      --legacy                 triple DES and SHA-1 instead of AES-256 and SHA-256, for old importers\n"
    "      --force                  replace FILE if it is there\n"
    "\n" PASSPHRASE_HELP;

const char help_show[] =
    "Usage: ringbolt pki show FILE … [--json] [--passphrase SOURCE]\n"
    "\n"
    "Certificates, chains, requests, CRLs and private keys in PEM or DER, and PKCS#12.\n"
    "\n"
    "      --json               an array of objects, for scripts\n"
    "      --passphrase SOURCE  of an encrypted key (default: it is not opened) or PKCS#12 (default: ask)\n"
    "\n" PASSPHRASE_HELP;

const char help_renew[] =
    "Usage: ringbolt pki renew CERTIFICATE --ca FILE (--out FILE | --force) [--new-key] …\n"
    "\n"
    "The same subject, names and extensions, a new serial number, and valid from now for as long as the old "
    "one was. It\n"
    "stays as it is unless --force replaces it, and NAME-chain.pem beside it with it.\n"
    "\n"
    "      --ca FILE              the authority's certificate; not for a self-signed one\n"
    "      --ca-key FILE          its key (default: NAME.key beside NAME.pem)\n"
    "      --ca-passphrase SOURCE of that key (default: ask, if it is encrypted)\n"
    "  -o, --out FILE             the new certificate (default, with --force: in place of the old one)\n"
    "      --chain FILE           also write it with its intermediates\n"
    "      --new-key              make a new key of the same type, written to --key (default: NAME.key)\n"
    "      --type TYPE            of the new key, if it shall be another\n"
    "      --out-passphrase SOURCE\n"
    "                             encrypt the new key\n"
    "      --key FILE             of a self-signed certificate: its key (default: NAME.key beside it)\n"
    "      --passphrase SOURCE    of that key\n"
    "      --days N, --not-before WHEN, --not-after WHEN, --digest WORD\n"
    "                             as for sign\n"
    "      --force                replace files that are there\n"
    "\n" PASSPHRASE_HELP;
