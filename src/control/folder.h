// SPDX-License-Identifier: Apache-2.0
// Certificate folders (certificate_dir): which files in them are pairs. By their names alone; no file is opened.
//
//     DIR/NAME.pem, NAME.crt or NAME.cer    the certificate and its chain. Its key stands in, whatever is there first, NAME.pem.key (NAME.crt.key,
//                                           NAME.cer.key), NAME.key, or the same file
//     DIR/NAME/fullchain.pem, privkey.pem   as certbot lays them out; cert.pem and chain.pem beside them are nothing
//     DIR/NAME/tls.crt, tls.key             as Kubernetes does; ca.crt beside them is nothing
//     NAME.ocsp, or NAME.pem.ocsp           beside the certificate: an OCSP response to staple
//
// DIR may itself be a folder of the second or third kind. Skipped are: what begins with "." or "#" (also Kubernetes' ..data), ends in "~" or in
// anything else than the above, and all that lies deeper.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct folder_pair {
    char *name;  // of the certificate's file, below DIR: "www.pem", "www/fullchain.pem"
    char *chain; // absolute
    char *key;   // absolute; the same as chain when no file is named like one for it
    char *ocsp;  // absolute; NULL: none
};

struct folder_list {
    struct folder_pair *pairs; // by name
    size_t pair_count;
    char **folders; // names of folders below DIR, sorted
    size_t folder_count;
};

// Lists DIR, or with `below` one of its folders (whose own folders are nothing then). 0 and *ret (folder_list_finish() it) or -errno.
int folder_list(const char *dir, const char *below, struct folder_list *ret);
void folder_list_finish(struct folder_list *list);
