"""This machine: its devices, its memory, what a number was computed on, one workflow per folder."""
