"""Nodes in Tiled: the one place that writes them.

`states` and `names` are the vocabulary, `record` what is read, `nodes` creates, `claims` decides who
works, `writer` is what the claim's holder may do.
"""
