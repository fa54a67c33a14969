"""The service: Tiled with our nodes, and a conductor that works on them, in one command."""
