"""The boards' own processors and library versions, on this machine: 32-bit ARM under an emulator, and i386."""
