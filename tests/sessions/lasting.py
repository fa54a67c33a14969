"""A process that lasts as long as the one that started it."""

from __future__ import annotations

from profiles.child import say_ready

if __name__ == "__main__":
    say_ready().wait()
