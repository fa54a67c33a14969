"""Compiled kernels of the Fourier method: loaded when a plan is executed, not before.

Everything works on *cells*: 16 float32 numbers in one cache line, the real parts of eight complex numbers and
then their imaginary parts. A cell holds the same place of 16 slices: slice k is the real part of number k,
slice k + 8 its imaginary part. So the geometry, which is the same for all slices, is worked out once, and
every instruction handles 16 slices without moving numbers within a register.

Kernels take addresses (integers) of arrays that their caller keeps alive, and working space that begins with
a cache line. They are compiled at their first call and kept on disk (see `tomoservice.compiling`).
"""
