"""CRC-32 of a whole from those of its parts, so that parts can be checked side by side."""

from __future__ import annotations

from functools import lru_cache

#: The polynomial of zip's CRC-32 but for its highest power. Polynomials are whole numbers of 32 bits whose highest bit
#: is the coefficient of x⁰ and whose lowest that of x³¹, as the checksum itself is written.
_POLYNOMIAL = 0xEDB88320

#: The polynomials 1 and x⁸.
_ONE, _BYTE = 1 << 31, 1 << 23


def join_checksums(first: int, second: int, length: int) -> int:
    """Give the CRC-32 of two pieces of bytes, one behind the other; `length` is that of the second.

    The checksum of a piece is its polynomial modulo zip's; putting `length` bytes behind it multiplies it by x to the
    power of 8 · `length`.

    >>> import zlib
    >>> join_checksums(zlib.crc32(b"medzoo "), zlib.crc32(b"weights"), 7) == zlib.crc32(b"medzoo weights")
    True
    """
    return _multiply(_power_of_bytes(length), first) ^ second


@lru_cache(maxsize=64)
def _power_of_bytes(length: int) -> int:
    """Give x to the power of 8 · `length`, by squaring."""
    power, square = _ONE, _BYTE
    while length:
        if length & 1:
            power = _multiply(power, square)
        square = _multiply(square, square)
        length >>= 1
    return power


def _multiply(one: int, other: int) -> int:
    """Multiply two polynomials modulo zip's: a power of x at a time, from x⁰."""
    product = 0
    while one:
        if one & _ONE:
            product ^= other
        one = one << 1 & 0xFFFFFFFF
        other = other >> 1 ^ (_POLYNOMIAL if other & 1 else 0)
    return product
