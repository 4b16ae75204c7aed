"""What the local edge plays: the ready-made loop, a test picture made with PyAV, or a file of one's own."""
