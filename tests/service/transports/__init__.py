"""How runs that end elsewhere are reconstructed here."""
