"""What holds for all tests."""

from __future__ import annotations

import signal

# A shell starts what runs in its background deaf to Ctrl-C, and nohup deaf to the terminal's end; so would be all that
# tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
