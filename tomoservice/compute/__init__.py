"""Where slabs are computed: in this process, or by Dask on this machine or a cluster.

`orders` says what is wanted, `tasks` does it, with what a `workbench` keeps ready; `base` is what every place
of work offers, `local` and `cluster` are two of them.
"""
