"""The stages of a reconstruction, a module each; most are a union told apart by the key `method`."""
