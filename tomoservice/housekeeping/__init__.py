"""What lies on disk beside the catalogue: records, leftovers, space, and a catalogue made anew from it."""
