"""How quick the service is on this machine: against the engine alone, and against what is promised."""
