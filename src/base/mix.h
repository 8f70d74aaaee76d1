/* The finaliser of MurmurHash3 (Appleby 2011): a permutation of 64 bits in which each bit in flips half of those out. Between two
 * secret words it hides numbers that nobody outside chooses. It is no MAC: what an attacker names is hashed with SipHash
 * (base/crypto.h). */
#ifndef DM_BASE_MIX_H
#define DM_BASE_MIX_H

#include "base/defs.h"

static inline uint64_t dm_mix64(uint64_t x)
{
    x = (x ^ x >> 33) * UINT64_C(0xff51afd7ed558ccd);
    x = (x ^ x >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

#endif
