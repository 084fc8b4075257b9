"""The study's phases, measured on the machine that this runs on."""
