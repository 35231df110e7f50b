"""What the machine has and how it is used: its device, memory, processors and threads, precision, and compilations."""
