"""What the trainer's command line can do: a module for each command, with `register` and the work itself."""
