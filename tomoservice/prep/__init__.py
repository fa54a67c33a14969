"""Corrections of the recorded frames, on arrays: pure functions, no input or output.

Every stage names the scope it needs in its docstring: *pointwise*, *rows* (each detector row on its own), or
*frames* (statistics over frames). A slab of rows may be cut anywhere for the first two.
"""
