"""The spiking op: one readable reference, and what makes it fast."""
