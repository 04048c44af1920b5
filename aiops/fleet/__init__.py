"""Who the fleet is and what it has shown: admission, epochs, memory, checkpoints."""
