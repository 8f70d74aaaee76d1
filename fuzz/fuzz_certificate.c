/* Certificates, keys and OCSP responses as a person uploads them: what is read is within its bounds and says of itself what it
 * covers; the rest is refused with a sentence. */
#include <stdint.h>

#include "io/certificate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_info(const struct dm_certificate_info *info)
{
    check(info->n_chain >= 1 && info->n_chain <= DM_CERTIFICATE_CHAIN_MAX);
    check(info->n_names <= DM_CERTIFICATE_NAMES_MAX);
    check(strlen(info->subject) < sizeof(info->subject) && strlen(info->issuer) < sizeof(info->issuer));
    check(strlen(info->fingerprint) == 64);
    for (unsigned i = 0; i < info->n_names; i++) {
        struct dm_str name = dm_str_of(info->names[i]);
        check(name.len > 0 && dm_certificate_covers(info, name));
        check(dm_str_find(dm_str_skip(name, 1), '*') == name.len - 1);
    }
}

static void check_refusal(int rc, const struct dm_err *err)
{
    check(rc == 0 || (rc < 0 && err->code == rc && err->message[0]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct dm_certificate_info info;
    struct dm_str in = dm_str_n((const char *)data, size);
    struct dm_err err = {0};
    int64_t next_s;
    int rc;

    if ((rc = dm_certificate_read(in, &info, &err)) == 0)
        check_info(&info);
    check_refusal(rc, &err);
    check_refusal(dm_certificate_ca_bundle_check(in, &err), &err);
    check_refusal(dm_certificate_key_check(in, in, &err), &err);
    check_refusal(dm_certificate_ocsp_check(in, in, &next_s, &err), &err);
    return 0;
}
