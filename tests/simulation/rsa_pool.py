"""RSA keys of the simulation: the same ones in the same order in every history, on every machine.

The library takes no randomness of ours for RSA keys, so they are made here, from nothing but their number,
and kept for later histories of the process: making one costs a second. They are worthless.
"""

from __future__ import annotations

import random
from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa

EXPONENT = 65537
_SMALL = tuple(n for n in range(3, 2000, 2) if all(n % d for d in range(3, int(n**0.5) + 1, 2)))


@cache
def key(size: int, number: int) -> rsa.RSAPrivateKey:
    """Return one key of the pool; a history takes them from number one on, and none of them twice."""
    rng = random.Random(f"rsa {size} {number}")
    p, q = _prime(rng, size // 2), _prime(rng, size // 2)
    d = pow(EXPONENT, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(EXPONENT, p * q)
    return rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), public
    ).private_key()


def _prime(rng: random.Random, bits: int) -> int:
    # The two highest bits are set, so that a product of two has twice as many bits.
    number = rng.getrandbits(bits) | 3 << (bits - 2) | 1
    while not _is_prime(rng, number):
        number += 2
    return number


def _is_prime(rng: random.Random, number: int) -> bool:
    """Miller and Rabin, with as many witnesses as random numbers of this length need."""
    if any(number % small == 0 for small in _SMALL) or number % EXPONENT == 1:
        return False
    twos = (number - 1 & 1 - number).bit_length() - 1
    odd = number - 1 >> twos
    for _ in range(8):
        x = pow(rng.randrange(2, number - 1), odd, number)
        if x in {1, number - 1}:
            continue
        if not any((x := x * x % number) == number - 1 for _ in range(twos - 1)):
            return False
    return True
